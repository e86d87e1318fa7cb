"""What is written beside a finished output folder: which forms there are, and folders that appear whole. No torch.

A folder written here holds a list of its files, by which a later run knows what it may replace.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from defectaug.errors import OutputError
from defectaug.io.atomic import cause, part_of
from defectaug.synthesis.formats import coco, mvtec, yolo
from defectaug.synthesis.formats.finished import Finished, Log
from defectaug.synthesis.settings import FORMATS

WRITERS: dict[str, Callable[[Finished, Path, Log], None]] = dict(
    zip(FORMATS, (coco.write, yolo.write, mvtec.write), strict=True)
)
LIST = ".defectaug-export.json"
CACHES = {".cache"}  # what Ultralytics leaves beside labels, and makes anew


def export_folder(out: Path, name: str) -> Path:
    """The folder beside an output folder that holds it in another format."""
    return out.parent / f"{out.name}.{name}"


@dataclass(frozen=True)
class Exports:
    """What is to be written beside an output folder.

    Args:
        formats: names in WRITERS.
        normal: name of the normal class.
        defects: names of the defects that the model knows, in its order.
        white: level of 16-bit images that is shown white.
        log: takes lines for the user.
    """

    formats: tuple[str, ...]
    normal: str
    defects: tuple[str, ...]
    white: int
    log: Log

    def check(self, out: Path, *, overwrite: bool) -> None:
        """Looks at what is there before anything long is begun.

        Raises:
            OutputError: a folder is there, and is not to be replaced or not ours to replace.
        """
        for name in self.formats:
            target = export_folder(out, name)
            if not target.exists() and not target.is_symlink():
                continue
            if not overwrite:
                raise OutputError(
                    f"--export {name}: {target} is there already; remove it, choose another --out, or --overwrite"
                )
            _refuse_foreign(name, target)

    def write(self, out: Path) -> None:
        """Reads a finished folder and writes all of it beside; folders of an earlier run are replaced.

        Raises:
            OutputError: a folder cannot be written, or holds files of others.
            DataError: an image or a mask has gone.
        """
        finished = Finished(out, self.normal, self.defects, self.white)
        for name in self.formats:
            _write_folder(name, finished, self.log)


def _write_folder(name: str, finished: Finished, log: Log) -> None:
    target = export_folder(finished.out, name)
    part = part_of(target)
    try:
        if part.exists():  # what a killed run left: the name is ours alone
            shutil.rmtree(part)
        WRITERS[name](finished, part, log)
        files = [path.relative_to(part).as_posix() for path in sorted(part.rglob("*")) if path.is_file()]
        (part / LIST).write_text(json.dumps(files), encoding="utf-8")
        if target.exists():
            _remove(name, target)
        part.replace(target)
    except OSError as error:
        raise OutputError(f"{target}: cannot be written ({cause(error)})") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    log(f"{name}: {target}")


def _refuse_foreign(name: str, target: Path) -> None:
    """Raises OutputError where a folder is not ours, or holds files of others."""
    files = (path for path in target.rglob("*") if not path.is_dir() and path.suffix not in CACHES)
    here = {path.relative_to(target).as_posix() for path in files}
    if target.is_symlink() or not target.is_dir() or here - {LIST, *_listed(target)}:
        raise OutputError(f"--export {name}: {target} holds files that are not ours; move them")


def _remove(name: str, target: Path) -> None:
    """Removes a folder that holds files of ours alone."""
    _refuse_foreign(name, target)
    shutil.rmtree(target)


def _listed(target: Path) -> list[str]:
    try:
        files = json.loads((target / LIST).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return []
    return [file for file in files if isinstance(file, str)] if isinstance(files, list) else []
