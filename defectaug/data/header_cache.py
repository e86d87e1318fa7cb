"""Headers of a large folder's files, kept between runs: a million files are then looked at, but not opened. No torch.

What is kept of a file counts so long as its size and its time of change are the same. It takes about 60 bytes.
"""

from __future__ import annotations

import hashlib
import io
import os
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from defectaug.errors import DataError, OutputError
from defectaug.io.atomic import write_atomic
from defectaug.io.images import Header, probe

LEAST = 10_000  # files from which on it pays to keep anything

_KIND = np.dtype(
    [
        ("key", "u8"),
        ("bytes", "i8"),
        ("changed", "i8"),
        ("width", "i4"),
        ("height", "i4"),
        ("mode", "U5"),
        ("bits", "u1"),
        ("channels", "u1"),
    ]
)


class Headers:
    """Headers of the files below a folder, from the last run where they have not changed since.

    Args:
        root: the data folder.
        count: files in it; for a small one nothing is kept.
        store: folder that holds what is kept; None for the user's cache.
    """

    def __init__(self, root: Path, count: int, store: Path | None = None) -> None:
        self.root = os.path.realpath(root)
        name = hashlib.sha256(os.fsencode(self.root)).hexdigest()[:16]
        self.path = (store or _user_cache()) / "headers" / f"{name}.npy" if count >= LEAST else None
        self._known = _load(self.path)
        self._found: list[tuple] = []
        self._distinct: dict[Header, Header] = {}  # a large folder has few kinds of images

    def __getitem__(self, path: Path) -> Header:
        """A file's header.

        Raises:
            DataError: it cannot be read.
        """
        if self.path is None:
            return probe(path)
        try:
            status = os.stat(path)
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror})") from error
        key, state = self._key(path), (status.st_size, status.st_mtime_ns)
        header = self._unchanged(key, state)
        if header is None:
            header = probe(path)
        self._found.append((key, *state, *header.size, header.mode, header.bits, header.channels))
        return self._distinct.setdefault(header, header)

    def keep(self) -> None:
        """Keeps what was found for the next run; does without where it cannot."""
        if self.path is None:
            return
        rows = np.sort(np.array(self._found, _KIND), order="key")
        content = io.BytesIO()
        np.save(content, rows, allow_pickle=False)
        with suppress(OutputError, OSError):
            write_atomic(self.path, lambda file: file.write(content.getvalue()))

    @staticmethod
    def _key(path: Path) -> int:
        return int.from_bytes(hashlib.blake2b(os.fsencode(path), digest_size=8).digest(), "big")

    def _unchanged(self, key: int, state: tuple[int, int]) -> Header | None:
        place = int(np.searchsorted(self._known["key"], np.uint64(key)))
        if place == len(self._known):
            return None
        row = self._known[place].item()
        if row[0] != key or row[1:3] != state:
            return None
        return Header(row[3:5], *row[5:])


def _load(path: Path | None) -> NDArray:
    """What was kept; nothing where there is no such file, or none that is whole."""
    with suppress(OSError, ValueError, EOFError):
        rows = np.load(path, allow_pickle=False) if path is not None else None
        if rows is not None and rows.dtype == _KIND and rows.ndim == 1:
            return rows
    return np.zeros(0, _KIND)


def _user_cache() -> Path:
    """Where programs keep what they can find out again."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(home) / "defectaug"


def edges_digest(path: Path, edge: int = 4096) -> str:
    """Digest of a file's beginning and end: files that differ in it differ.

    Raises:
        OSError: it cannot be read.
    """
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        digest.update(file.read(edge))
        with suppress(OSError):
            file.seek(-edge, os.SEEK_END)
            digest.update(file.read(edge))
    return digest.hexdigest()
