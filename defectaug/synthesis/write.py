"""The output folder: files that appear whole, a manifest, and runs that can be finished. No torch.

While a run is under way the folder holds a record of it (`.defectaug-run.json`): what was asked for, and
every planned file. By it an interrupted run is known again, and `--overwrite` knows which files are ours.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TextIO

import numpy as np

from defectaug.data.images import NativeImage, probe, read_mask, write_atomic, write_mask, write_png
from defectaug.errors import OutputError
from defectaug.synthesis import manifest
from defectaug.synthesis.plan import Item, Plan

RECORD = ".defectaug-run.json"
_MANIFEST = re.compile(r"manifest(\.\d+-of-\d+)?\.jsonl")


@dataclass(frozen=True)
class Request:
    """What makes two runs the same run.

    Args:
        settings: what the user asked for, by option; shown where an interrupted run asked for something else.
        plan: all items of all shards.
        normal: name of the normal class.
        shard: this run's part, from 1, and the number of parts.
        masks: whether masks are written.
    """

    settings: Mapping[str, Any]
    plan: Plan
    normal: str
    shard: tuple[int, int] = (1, 1)
    masks: bool = False

    def record(self) -> dict[str, Any]:
        """The record's content; the same for all shards."""
        digest = hashlib.sha256()
        for item in self.plan.items:
            reference = item.reference.path if item.reference else None
            digest.update(
                f"{item.file}\0{item.seed}\0{item.source.path}\0{reference}\n".encode(errors="replace")
            )
        files = [item.file for item in self.plan.items]
        return {"settings": dict(self.settings), "plan": digest.hexdigest(), "files": files}


class OutputFolder:
    """One output folder, open for one shard. Methods may be called from several threads; close after use.

    Raises:
        OutputError: the folder is not empty and not ours to finish, or cannot be written.
    """

    def __init__(self, out: Path, request: Request, *, overwrite: bool = False) -> None:
        self.out = out
        self.masks = mask_folder(out)
        self._request = request
        self._lock = threading.Lock()
        self._created = not out.exists()
        self._part = out / manifest.part_name(*request.shard)
        with _explained(out):
            self._open(overwrite)
            self._guard = _lock(out / f".{self._part.name}.lock")
            done = [line for line in manifest.read_lines(self._part) if (out / line["file"]).is_file()]
            self.done = frozenset(line["file"] for line in done)
            if self.done or self._part.exists():
                manifest.write_lines(self._part, done)  # drops a line that was cut short
            self._lines: TextIO = self._part.open("a", encoding="utf-8")

    def pending(self) -> Iterator[Item]:
        """Items of this shard that are not there yet."""
        return (item for item in self._request.plan.shard(*self._request.shard) if item.file not in self.done)

    def save(self, item: Item, image: NativeImage, mask: np.ndarray, details: Mapping[str, Any]) -> None:
        """Writes a synthetic image, its mask and its line, in this order."""
        if self._request.masks:
            write_mask(self.masks / _mask_file(item), mask)
        write_png(self.out / item.file, image)
        self._add(item, details)

    def copy(self, item: Item) -> None:
        """Copies a real image byte for byte, and writes the mask that is known: the true one, or for normal
        images an empty one."""
        if self._request.masks:
            mask = _true_mask(item, self._request.normal)
            if mask is not None:
                write_mask(self.masks / _mask_file(item), mask)
        copy_file(item.source.path, self.out / item.file)
        self._add(item, {})

    def finish(self) -> bool:
        """Joins the parts if all are there: the manifest in order, the record gone. Whether that was so."""
        self._lines.close()
        count = self._request.shard[1]
        parts = [self.out / manifest.part_name(number, count) for number in range(1, count + 1)]
        with _explained(self.out):
            lines = [line for part in parts for line in manifest.read_lines(part)]
            planned = {item.file for item in self._request.plan.items}
            if {line["file"] for line in lines} >= planned:
                manifest.write_lines(self.out / manifest.NAME, lines)
                for part in parts if count > 1 else []:
                    part.unlink(missing_ok=True)
                (self.out / RECORD).unlink(missing_ok=True)
                return True
        # Another shard may have joined all parts, and removed them, while these were read.
        return not (self.out / RECORD).exists()

    def close(self) -> None:
        """Closes and unlocks the folder; of a run that failed before its first image nothing stays."""
        self._lines.close()
        Path(self._guard.name).unlink(missing_ok=True)
        self._guard.close()
        if self._part.exists() and self._part.stat().st_size == 0:
            self._part.unlink()
            if not any(_MANIFEST.fullmatch(path.name) for path in self.out.iterdir()):
                (self.out / RECORD).unlink(missing_ok=True)
                if self._created and not _has_entries(self.out):
                    self.out.rmdir()

    def _add(self, item: Item, details: Mapping[str, Any]) -> None:
        line = {
            "file": item.file,
            "product": item.product,
            "defect": item.defect,
            "synthetic": item.synthetic,
            "source": str(item.source.path.absolute()),
            "reference": None,
            "guide": None,
            "seed": None,
            "index": item.index,
            "model": None,
            **details,
        }
        with self._lock, _explained(self._part):
            self._lines.write(manifest.encode(line))
            self._lines.flush()

    def _open(self, overwrite: bool) -> None:
        if self.out.exists() and not self.out.is_dir():
            raise OutputError(f"--out {self.out}: is a file, not a folder")
        record = self._request.record()
        earlier = _read_record(self.out)
        if earlier == record:
            return  # the same run: finish it
        if overwrite:
            _remove_ours(self.out, self.masks, earlier)
            _refuse_clashes(self.out, record["files"])
        elif _has_entries(self.out):
            raise OutputError(f"--out {self.out}: {_why_refused(self.out, earlier, record)}")
        elif self._request.masks and _has_entries(self.masks):
            raise OutputError(
                f"--out {self.out}: {self.masks} is not empty; choose another folder, or --overwrite"
            )
        self.out.mkdir(parents=True, exist_ok=True)
        content = json.dumps(record, ensure_ascii=False).encode()
        write_atomic(self.out / RECORD, lambda file: file.write(content))


def _lock(path: Path) -> TextIO:
    """Holds a lock while the file is open, also if the process is killed: two runs would mix their lines.

    Raises:
        OutputError: another run holds it.
    """
    file = path.open("w")
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise OutputError(f"--out {path.parent}: another run is writing there; wait for its end") from error
    except (ImportError, OSError):
        pass  # a system or a network drive without locks: the user must see to it
    return file


def mask_folder(out: Path) -> Path:
    """The folder beside `out` that holds the masks."""
    return out.with_name(f"{out.name}.masks")


def copy_file(source: Path, target: Path) -> None:
    """Copies a file byte for byte; the copy appears whole or not at all.

    Raises:
        OutputError: it cannot be read or written.
    """

    def fill(file: Any) -> None:
        with source.open("rb") as original:
            shutil.copyfileobj(original, file, 1 << 20)

    write_atomic(target, fill)


def refuse_source(out: Path, sources: Path) -> None:
    """Raises OutputError where new images would land among the images they are made from."""
    here, there = out.resolve(), sources.resolve()
    if here == there or here in there.parents or there in here.parents:
        raise OutputError(f"--out {out}: overlaps the source images in {sources}; choose a folder outside")


def _mask_file(item: Item) -> str:
    return str(PurePosixPath(item.file).with_suffix(".png"))


def _true_mask(item: Item, normal: str) -> np.ndarray | None:
    if item.source.mask is not None:
        return read_mask(item.source.mask)
    if item.defect == normal:
        width, height = probe(item.source.path).size
        return np.zeros((height, width), np.uint8)
    return None


def _read_record(out: Path) -> dict[str, Any] | None:
    try:
        record = json.loads((out / RECORD).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}


def _why_refused(out: Path, earlier: dict[str, Any] | None, record: dict[str, Any]) -> str:
    if not earlier:
        return "the folder is not empty; choose another one, or replace an earlier run with --overwrite"
    old, new = earlier.get("settings", {}), record["settings"]
    other = [f"{name} {old.get(name)}, now {new[name]}" for name in new if old.get(name) != new[name]]
    changed = "; ".join(other) or "other source images"
    return f"holds an interrupted run with other settings ({changed}); repeat those, or give --overwrite"


def _has_entries(folder: Path) -> bool:
    return folder.is_dir() and next(folder.iterdir(), None) is not None


def _remove_ours(out: Path, masks: Path, earlier: Mapping[str, Any] | None) -> None:
    """Removes what a manifest or a record of ours lists, and folders that are empty then. Nothing else."""
    if not out.is_dir():
        return
    parts = [path for path in out.glob("manifest*.jsonl") if _MANIFEST.fullmatch(path.name)]
    files = {line["file"] for part in parts for line in manifest.read_lines(part)}
    files |= {file for file in (earlier or {}).get("files", ()) if isinstance(file, str)}
    for file in sorted(files):
        place = PurePosixPath(file)
        if place.is_absolute() or ".." in place.parts:
            continue  # not a line that we wrote
        for path, top in ((out / place, out), ((masks / place).with_suffix(".png"), masks)):
            path.unlink(missing_ok=True)
            _remove_empty(path.parent, top)
    for path in (*parts, out / RECORD):
        path.unlink(missing_ok=True)


def _remove_empty(folder: Path, top: Path) -> None:
    while folder != top and folder.is_dir() and not _has_entries(folder):
        folder.rmdir()
        folder = folder.parent


def _refuse_clashes(out: Path, files: list[str]) -> None:
    clash = next((file for file in files if (out / file).exists()), None)
    if clash is not None:
        raise OutputError(f"{out / clash}: is there already and is not ours to replace; choose another --out")


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turns failures of the file system into an OutputError that names the path."""
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"{error.filename or path}: cannot be written ({error.strerror or error}); free space, "
            "change the rights, or choose another --out"
        ) from error
