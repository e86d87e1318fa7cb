"""What is written beside a finished output folder: which forms there are, and folders that appear whole. No torch.

A folder written here holds a list of its files, by which a later run knows what it may replace.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from defectaug.errors import OutputError
from defectaug.io.atomic import cause, part_of, write_atomic
from defectaug.io.files import real
from defectaug.io.progress import Log
from defectaug.io.targets import file_target
from defectaug.synthesis.formats import coco, mvtec, yolo
from defectaug.synthesis.formats.finished import Finished
from defectaug.synthesis.formats.page import is_page, thumbnails_of, write_page
from defectaug.synthesis.settings import FORMATS

WRITERS: dict[str, Callable[[Finished, Log, Path], None]] = dict(
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
        report: the file of a page, or None.
        normal: name of the normal class.
        defects: names of the defects that the model knows, in its order.
        white: level of 16-bit images that is shown white.
        log: takes lines for the user.
    """

    formats: tuple[str, ...]
    report: Path | None
    normal: str
    defects: tuple[str, ...]
    white: int
    log: Log

    def check(self, out: Path, *, overwrite: bool) -> None:
        """Looks at what is there before anything long is begun.

        Raises:
            OutputError: a folder is there, and is not to be replaced or not ours to replace; or so is the page.
        """
        for name in self.formats:
            target = export_folder(out, name)
            if not target.exists() and not target.is_symlink():
                continue
            if not overwrite:
                raise OutputError(
                    f"--export {name}: {target} is there already; remove it, choose another --out, or --overwrite"
                )
            _refuse_foreign(f"--export {name}", target)
        if self.report is not None:
            _check_report(self.report, out)

    def write(self, out: Path) -> None:
        """Reads a finished folder and writes all of it beside; what an earlier run left is replaced.

        Raises:
            OutputError: a folder or the page cannot be written, or a folder holds files of others.
            DataError: an image or a mask has gone.
        """
        finished = Finished(out, self.normal, self.defects, self.white)
        for name in self.formats:
            target = export_folder(out, name)
            _write_folder(target, f"--export {name}", partial(WRITERS[name], finished, self.log))
            self.log(f"{name}: {target}")
        if self.report is not None:
            self._write_report(finished, self.report)

    def _write_report(self, finished: Finished, report: Path) -> None:
        content = b""

        def fill(folder: Path) -> None:
            nonlocal content
            content = write_page(finished, report, folder)

        _write_folder(thumbnails_of(report), f"--report {report}", fill)
        write_atomic(report, lambda file: file.write(content))
        self.log(f"page: {report}")


def _check_report(report: Path, out: Path) -> None:
    file_target("--report", report)
    if real(report).is_relative_to(real(out)):
        raise OutputError(f"--report {report}: lies in --out {out}, among the images; name a file outside")
    if report.exists() and not is_page(report):
        raise OutputError(f"--report {report}: is there already and no synthesis has left it; choose another name")
    if thumbnails_of(report).exists():
        _refuse_foreign(f"--report {report}", thumbnails_of(report))


def _write_folder(target: Path, option: str, fill: Callable[[Path], object]) -> None:
    """Lets `fill` write a folder, which appears whole; one that an earlier run left is replaced.

    Raises:
        OutputError: it cannot be written, or holds files of others.
    """
    part = part_of(target)
    try:
        if part.exists():  # what a killed run left: the name is ours alone
            shutil.rmtree(part)
        fill(part)
        files = [path.relative_to(part).as_posix() for path in sorted(part.rglob("*")) if path.is_file()]
        (part / LIST).write_text(json.dumps(files), encoding="utf-8")
        if target.exists():
            _refuse_foreign(option, target)
            shutil.rmtree(target)
        part.replace(target)
    except OSError as error:
        raise OutputError(f"{target}: cannot be written ({cause(error)})") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _refuse_foreign(option: str, target: Path) -> None:
    """Raises OutputError where a folder is not ours, or holds files of others."""
    files = (path for path in target.rglob("*") if not path.is_dir() and path.suffix not in CACHES)
    here = {path.relative_to(target).as_posix() for path in files}
    if target.is_symlink() or not target.is_dir() or here - {LIST, *_listed(target)}:
        raise OutputError(f"{option}: {target} holds files that are not ours; move them")


def _listed(target: Path) -> list[str]:
    try:
        files = json.loads((target / LIST).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return []
    return [file for file in files if isinstance(file, str)] if isinstance(files, list) else []
