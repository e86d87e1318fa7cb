"""Which image of a transfer gets which one's defect, the files that come of it, and the record of one that was
stopped: the same command does the rest. No torch."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from defectaug.data.sample import Sample
from defectaug.errors import ConfigError, DataError, OutputError
from defectaug.io.atomic import write_atomic
from defectaug.io.files import IMAGE_SUFFIXES, images_with_masks, real

RECORD = ".defectaug-transfer.json"


@dataclass(frozen=True)
class Job:
    """One source, one reference, and the files that come of it: one, or one a style."""

    source: Sample
    reference: Sample
    images: tuple[Path, ...]
    masks: tuple[Path, ...] = ()

    def names(self) -> list[str]:
        """The files of the job, by which it is known again."""
        return [str(path.absolute()) for path in (self.source.path, self.reference.path, *self.images, *self.masks)]

    def is_done(self) -> bool:
        """Whether all of its files are there."""
        return all(path.is_file() for path in (*self.images, *self.masks))


def plan_jobs(src: Path, ref: Path, out: Path | None, mask: Path | None, n_styles: int | None) -> list[Job]:
    """Pairs of files and where their results go.

    Raises:
        DataError: SRC or REF is not there, or a folder without images.
        ConfigError: one output file for several images, or one that is no PNG.
    """
    sources, references = _images(src, "SRC"), _images(ref, "REF")
    count = len(sources) if src.is_dir() else len(references)
    pairs = [(sources[k % len(sources)], references[k % len(references)]) for k in range(count)]
    several = src.is_dir() or ref.is_dir()
    if out is None and several:
        out = Path("out") / "transfer"
    stems = list(_stems(pairs))
    images = [_target("--out", out, stem, several) for stem in stems]
    masks = [_target("--mask", mask, stem, several) for stem in stems] if mask is not None else []
    return [
        Job(source, reference, tuple(_styled(images[k], n_styles)), tuple(_styled(masks[k], n_styles)) if masks else ())
        for k, (source, reference) in enumerate(pairs)
    ]


def _images(path: Path, name: str) -> list[Sample]:
    if path.is_dir():
        found = [Sample(file, "", "", mask) for file, mask in images_with_masks(path)]
        if not found:
            raise DataError(f"{name} {path}: no images in this folder")
        return found
    if not path.exists():
        raise DataError(f"{name} {path}: no such file or folder")
    return [Sample(path, "", "")]


def _stems(pairs: Iterable[tuple[Sample, Sample]]) -> Iterator[str]:
    taken: set[str] = set()
    for source, reference in pairs:
        stem = first = f"{source.path.stem}__{reference.path.stem}"
        number = 1
        while stem.casefold() in taken:
            stem, number = f"{first}-{number}", number + 1
        taken.add(stem.casefold())
        yield stem


def _target(option: str, given: Path | None, stem: str, several: bool) -> Path:
    if given is None:
        return Path(f"{stem}.png")
    suffix = given.suffix.casefold()
    if given.is_dir() or suffix not in IMAGE_SUFFIXES:
        return given / f"{stem}.png"
    if several:
        raise ConfigError(f"{option} {given}: several images are made, so this must be a folder")
    if suffix != ".png":
        raise ConfigError(f"{option} {given}: images are written as PNG; give a name that ends in .png")
    return given


def _styled(path: Path, n_styles: int | None) -> Iterator[Path]:
    if n_styles is None:
        yield path
    else:
        yield from (path.with_name(f"{path.stem}_style{k:02d}.png") for k in range(n_styles))


def refuse_existing(jobs: Sequence[Job], overwrite: bool) -> None:
    inputs = {real(sample.path) for job in jobs for sample in (job.source, job.reference)}
    targets = [path for job in jobs for path in (*job.images, *job.masks)]
    if len({real(path) for path in targets}) < len(targets):
        raise ConfigError("--out and --mask name the same file")
    for path in targets:
        if real(path) in inputs:
            raise OutputError(f"{path}: is SRC or REF itself; choose another --out")
        if path.exists() and not overwrite:
            raise OutputError(f"{path}: is there already; choose another name, or give --overwrite")


class UnfinishedTransfer:
    """The record of a transfer in its output folder, which is there while the transfer is under way.

    Args:
        folder: where the images go.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / RECORD
        self._known = self._read()

    @property
    def found(self) -> bool:
        """Whether an earlier transfer was stopped there."""
        return self._known is not None

    def was(self, request: Mapping[str, Any]) -> bool:
        """Whether the transfer that was stopped is this one."""
        return self._known == json.loads(json.dumps(request))

    def begin(self, request: Mapping[str, Any]) -> None:
        """Puts a transfer on record.

        Raises:
            OutputError: the record cannot be written.
        """
        content = json.dumps(request).encode()
        write_atomic(self._path, lambda file: file.write(content))

    def end(self) -> None:
        """All images are there."""
        self._path.unlink(missing_ok=True)

    def _read(self) -> Any:
        try:
            return json.loads(self._path.read_text(encoding="utf-8"))
        except OSError:
            return None
        except (ValueError, RecursionError):
            return {}
