"""The output folder: files that appear whole, a manifest, and runs that can be finished. No torch.

While a run is under way the folder holds a record of it: what was asked for, and every planned file.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Protocol, TextIO

import numpy as np

from defectaug.errors import DataError, OutputError
from defectaug.io import manifest
from defectaug.io.atomic import write_atomic
from defectaug.io.files import real
from defectaug.io.images import NativeImage, probe, write_png
from defectaug.io.lock import Lock
from defectaug.io.masks import mask_folder, read_mask, write_mask
from defectaug.io.regions import boxes_and_area
from defectaug.synthesis import previous_run as earlier
from defectaug.synthesis.plan import Item, Plan


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
            source = item.source.path if item.source else None
            digest.update(f"{item.file}\0{item.seed}\0{source}\0{reference}\n".encode(errors="surrogatepass"))
        files = [item.file for item in self.plan.items]
        return {"settings": dict(self.settings), "plan": digest.hexdigest(), "files": files}


class Beside(Protocol):
    """What is written beside a finished output folder: annotations in other formats, a page."""

    def check(self, out: Path, *, overwrite: bool) -> None:
        """Raises OutputError where something is in the way; before anything long is begun."""

    def write(self, out: Path) -> None:
        """Reads the finished folder and writes; what an interrupted run has left there is replaced."""


class OutputFolder:
    """One output folder, open for one shard. Methods may be called from several threads; close after use.

    Args:
        out: the folder.
        request: what is to be in it.
        overwrite: replace what an earlier run left.
        beside: written when all images are there, by the shard that finishes last.

    Raises:
        OutputError: the folder is not empty and not ours to finish, or cannot be written.
    """

    def __init__(self, out: Path, request: Request, *, overwrite: bool = False, beside: Sequence[Beside] = ()) -> None:
        self.out = out
        self._beside = beside
        self.masks = mask_folder(out)
        self._request = request
        self._lock = threading.Lock()
        self._created = not out.exists()
        self._part = out / manifest.part_name(*request.shard)
        with _explained(out):
            with _one_at_a_time(out):
                self._open(overwrite)
            busy = f"--out {out}: another run is writing there; wait for its end"
            self._guard = Lock(out / f".{self._part.name}.lock", busy)
            done = self._written()
            self.done = frozenset(line["file"] for line in done)
            if self.done or self._part.exists():
                manifest.write_lines(self._part, done)  # drops a line that was cut short
            self._lines: TextIO = self._part.open("a", encoding="utf-8")

    def _written(self) -> list[dict[str, Any]]:
        """Lines of the images of this shard that are there. A run that was stopped while it joined the parts has
        them in the manifest."""
        own = {item.file for item in self._request.plan.shard(*self._request.shard)}
        lines = [*manifest.read_lines(self.out / manifest.NAME), *manifest.read_lines(self._part)]
        return [line for line in lines if line["file"] in own and (self.out / line["file"]).is_file()]

    def pending(self) -> Iterator[Item]:
        """Items of this shard that are not there yet."""
        return (item for item in self._request.plan.shard(*self._request.shard) if item.file not in self.done)

    def save(self, item: Item, image: NativeImage, mask: np.ndarray | None, details: Mapping[str, Any]) -> None:
        """Writes a synthetic image, its mask where masks are written, and its line; the mask first."""
        if self._request.masks and mask is not None:
            write_mask(self.masks / _mask_file(item), mask)
        write_png(self.out / item.file, image)
        self._add(item, details)

    def copy(self, item: Item) -> None:
        """Copies a real image byte for byte, and writes the mask that is known: the true one, or for normal
        images an empty one."""
        details: dict[str, Any] = {}
        if self._request.masks:
            mask = _true_mask(item, self._request.normal)
            if mask is not None:
                write_mask(self.masks / _mask_file(item), mask)
                details = boxes_and_area(mask)
        copy_file(item.given.path, self.out / item.file)
        self._add(item, details)

    def finish(self) -> bool:
        """Joins the parts if all are there: the manifest in order, the record gone. Whether that was so."""
        self._lines.close()
        count = self._request.shard[1]
        parts = [self.out / manifest.part_name(number, count) for number in range(1, count + 1)]
        with _explained(self.out), _one_at_a_time(self.out):
            lines = [line for part in (self.out / manifest.NAME, *parts) for line in manifest.read_lines(part)]
            planned = {item.file for item in self._request.plan.items}
            if {line["file"] for line in lines} >= planned:
                manifest.write_lines(self.out / manifest.NAME, lines)
                for writer in self._beside:
                    writer.write(self.out)
                for part in parts if count > 1 else []:
                    part.unlink(missing_ok=True)
                (self.out / earlier.RECORD).unlink(missing_ok=True)
                return True
        # Another shard may have joined all parts, and removed them, while these were read.
        return (self.out / manifest.NAME).is_file() and not (self.out / earlier.RECORD).exists()

    def close(self) -> None:
        """Closes and unlocks the folder; of a run that failed before its first image nothing stays."""
        self._lines.close()
        self._guard.release()
        if self._part.exists() and self._part.stat().st_size == 0:
            self._part.unlink()
            if not earlier.manifests(self.out):
                (self.out / earlier.RECORD).unlink(missing_ok=True)
                if self._created and earlier.is_empty(self.out):
                    self.out.rmdir()

    def _add(self, item: Item, details: Mapping[str, Any]) -> None:
        line = {
            "file": item.file,
            "product": item.product,
            "defect": item.defect,
            "synthetic": item.synthetic,
            "source": str(item.source.path.absolute()) if item.source else None,
            "reference": None,
            "guide": None,
            "seed": None,
            "index": item.index,
            "model": None,
            "boxes": None,
            "area": None,
            **details,
        }
        with self._lock, _explained(self._part):
            self._lines.write(manifest.encode(line))
            self._lines.flush()

    def _open(self, overwrite: bool) -> None:
        if self.out.exists() and not self.out.is_dir():
            raise OutputError(f"--out {self.out}: is a file, not a folder")
        record = self._request.record()
        known = earlier.read_record(self.out)
        earlier.refuse_links(self.out, record["files"])
        if self._request.masks:
            earlier.refuse_links(self.masks, record["files"])
        if known == record:
            return  # the same run: finish it
        for writer in self._beside:
            writer.check(self.out, overwrite=overwrite)
        if overwrite:
            earlier.remove_ours(self.out, self.masks, known)
            earlier.refuse_clashes(self.out, record["files"])
        elif earlier.has_entries(self.out):
            raise OutputError(f"--out {self.out}: {earlier.why_refused(self.out, known, record)}")
        elif self._request.masks and earlier.has_entries(self.masks):
            raise OutputError(f"--out {self.out}: {self.masks} is not empty; choose another folder, or --overwrite")
        self.out.mkdir(parents=True, exist_ok=True)
        content = json.dumps(record).encode()
        write_atomic(self.out / earlier.RECORD, lambda file: file.write(content))


@contextmanager
def _one_at_a_time(out: Path) -> Iterator[None]:
    """Shards open a folder in turn, and join their parts in turn: the first clears it and writes the record, which the
    others then find."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        lock: AbstractContextManager[object] = Lock(out.with_name(f".{out.name}.opening"))
    except OSError:
        lock = nullcontext()  # nothing may be written beside the folder: while it exists, a run of one part needs none
    with lock:
        yield


def copy_file(source: Path, target: Path) -> None:
    """Copies a file byte for byte; the copy appears whole or not at all.

    Raises:
        DataError: it cannot be read.
        OutputError: it cannot be written.
    """

    def fill(file: Any) -> None:
        try:
            original = source.open("rb")
        except OSError as error:
            raise DataError(f"{source}: cannot be read ({error.strerror})") from error
        with original:
            shutil.copyfileobj(original, file, 1 << 20)

    write_atomic(target, fill)


def refuse_source(out: Path, sources: Path) -> None:
    """Raises OutputError where new images would land among the images they are made from."""
    here, there = real(out), real(sources)
    if here == there or here in there.parents or there in here.parents:
        raise OutputError(f"--out {out}: overlaps the source images in {sources}; choose a folder outside")


def _mask_file(item: Item) -> str:
    return str(PurePosixPath(item.file).with_suffix(".png"))


def _true_mask(item: Item, normal: str) -> np.ndarray | None:
    if item.given.mask is not None:
        return read_mask(item.given.mask)
    if item.defect == normal:
        width, height = probe(item.given.path).size
        return np.zeros((height, width), np.uint8)
    return None


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
