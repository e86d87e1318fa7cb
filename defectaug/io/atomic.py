"""Files that appear whole or not at all, also after a power cut."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from defectaug.errors import OutputError


def write_atomic(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Lets `write` fill a temporary file beside `path` and moves it there when all of it is on disk.

    Raises:
        OutputError: no space, no permission or another failure of the file system; nothing is left then.
    """
    part = part_of(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({cause(error)})") from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def part_of(path: Path) -> Path:
    """Where `path` is written before it is whole: always the same name, so that the next run replaces what a
    killed one left."""
    digest = hashlib.sha1(os.fsencode(path.name), usedforsecurity=False)
    return path.with_name(f".{digest.hexdigest()[:12]}.part")


def is_part(path: Path) -> bool:
    """Whether this is an unfinished file of ours."""
    return path.name.startswith(".") and path.suffix == ".part"


def sync(path: Path) -> None:
    """Waits until a file, or the entries of a folder, are on disk, where the system can do it for folders."""
    with suppress(OSError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def cause(error: OSError) -> str:
    """Why a file cannot be written, and what helps."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "no space left: free some, or choose another folder"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "no write permission: change the rights, or choose another folder"
    if error.errno == errno.ENOENT:  # a folder that was just made, or was there before
        return "its folder is gone; is the drive still there? Run it again"
    return error.strerror or str(error)
