"""`defectaug.transfer`: put the defect of one image on another, or take a defect away."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from defectaug.bundle import as_model
from defectaug.data.sample import Sample
from defectaug.errors import ConfigError, DataError, OutputError
from defectaug.io import windows
from defectaug.io.files import IMAGE_SUFFIXES, expanded, images_with_masks, nfc, real
from defectaug.io.images import NativeImage, read_image, write_png
from defectaug.io.masks import defect_mask, write_mask
from defectaug.methods.native import (
    Floats,
    View,
    compose,
    restoration_change,
    seen_size,
    stack,
    to_numpy,
    view_of,
    white_level,
)
from defectaug.synthesis.plan import derive_seed
from defectaug.synthesis.render import class_indices, reference_view
from defectaug.synthesis.sources import known_name, unfit
from defectaug.synthesis.transfer_journal import UnfinishedTransfer

if TYPE_CHECKING:
    from defectaug.methods.base import DefectModel

Progress = Callable[[int, int], None]
Say = Callable[[str], None]
MOST_STYLES = 10_000
log = logging.getLogger("defectaug")


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


def transfer(
    src: str | Path,
    ref: str | Path,
    *,
    model: str | Path | DefectModel | None = None,
    defect: str | None = None,
    out: str | Path | None = None,
    mask: str | Path | None = None,
    n_styles: int | None = None,
    overwrite: bool = False,
    seed: int = 0,
    device: str = "auto",
    progress: Progress | None = None,
    say: Say | None = None,
) -> list[Path]:
    """Put REF's defect on SRC at the same place, and keep SRC's background, size, colour mode and bit depth.

    Args:
        src: the image that gets the defect, or a folder: each image gets the defect of one of REF, in turn.
        ref: the image that shows the defect, or a folder; with one SRC, each of its defects is put there.
        model: a model folder, a loaded model, or None for the only or newest one under `./models`.
        defect: the defect that REF shows; the normal class restores SRC instead. None takes the name of REF's
            folder where it is a known defect, else what the model recognises.
        out: file (PNG) or folder; None for `SRC__REF.png` here, for folders in `out/transfer`.
        mask: file (or folder, where several images are made) for the defect masks, 8 bit, 255 = defect.
        n_styles: keep REF's shape, draw this many styles, and write an image of each (`_style00`, ...).
        overwrite: replace files of these names; SRC and REF never.
        seed: of the styles.
        device: "auto", "cpu", "cuda" or "cuda:N"; not used where `model` is loaded already.
        progress: called with (pairs done, pairs in all).
        say: takes lines for the user; None sends them to the logger "defectaug".

    Returns:
        The images written, in order.

    Raises:
        ConfigError: an unknown defect, a reference that shows none, options that do not go together.
        BundleError: no model, or a damaged one.
        DataError: an image that cannot be read or is smaller than the model's.
        OutputError: a file is there already, or cannot be written.
    """
    if n_styles is not None and not 1 <= n_styles <= MOST_STYLES:
        raise ConfigError(f"--n-styles {n_styles}: must be from 1 to {MOST_STYLES:,}")
    say = say or log.info
    jobs = plan_jobs(Path(src), Path(ref), _path(out), _path(mask), n_styles)
    target = jobs[0].images[0].parent
    if Path(src).is_dir() and real(target).is_relative_to(real(Path(src))):
        raise OutputError(f"--out {target}: lies in SRC {src}; choose a folder outside")
    run = UnfinishedTransfer(target) if len(jobs) > 1 else None
    _refuse_existing(jobs, overwrite or (run is not None and run.found))
    painter = as_model(model, device)
    info = painter.info
    if defect is not None:
        defect = known_name("--defect", defect, info.defects, f"model {info.name}")
    if defect == info.normal and n_styles is not None:
        raise ConfigError(f"--n-styles {n_styles}: --defect {defect} restores the image, which has no style")
    side = info.image_size if info.framing == "whole" else None
    for job in jobs:
        if reason := unfit(job.source.path, side):
            raise DataError(reason)
    left: Sequence[Job] = jobs
    if run is not None:
        settings = {"model": info.weights_sha256, "defect": defect, "n_styles": n_styles, "seed": seed}
        request = settings | {"overwrite": overwrite, "jobs": [job.names() for job in jobs]}
        if run.was(request) and not overwrite:
            left = [job for job in jobs if not job.is_done()]
        else:
            _refuse_existing(jobs, overwrite)
            run.begin(request)
    done = len(jobs) - len(left)
    try:
        for job in left:
            if progress:
                progress(done, len(jobs))
            _run(job, painter, defect, n_styles, seed, say)
            done += 1
    except KeyboardInterrupt:
        if run is not None:
            say(f"{done} of {len(jobs)} pairs are done; the same command does the rest")
        raise
    if progress:
        progress(len(jobs), len(jobs))
    if run is not None:
        run.end()
    return [path for job in jobs for path in job.images]


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
        Job(
            source,
            reference,
            tuple(_styled(images[k], n_styles)),
            tuple(_styled(masks[k], n_styles)) if masks else (),
        )
        for k, (source, reference) in enumerate(pairs)
    ]


def _path(value: str | Path | None) -> Path | None:
    return None if value is None else expanded(value)


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


def _refuse_existing(jobs: Sequence[Job], overwrite: bool) -> None:
    inputs = {real(sample.path) for job in jobs for sample in (job.source, job.reference)}
    targets = [path for job in jobs for path in (*job.images, *job.masks)]
    if len({real(path) for path in targets}) < len(targets):
        raise ConfigError("--out and --mask name the same file")
    for path in targets:
        if real(path) in inputs:
            raise OutputError(f"{path}: is SRC or REF itself; choose another --out")
        if path.exists() and not overwrite:
            raise OutputError(f"{path}: is there already; choose another name, or give --overwrite")


def _run(job: Job, model: DefectModel, defect: str | None, n_styles: int | None, seed: int, say: Say) -> None:
    native = read_image(job.source.path)
    if defect == model.info.normal:
        changes = [restoration_change(native, model)]
    else:
        seeds = None if n_styles is None else [derive_seed("style", seed, k) for k in range(n_styles)]
        changes = _changes(native, job.reference, model, defect, seeds, say)
    white = white_level(native, model.info.white)
    for k, change in enumerate(changes):
        if job.masks:
            write_mask(job.masks[k], defect_mask(change, seen_size(model.info)))
        write_png(job.images[k], compose(native, change, white))


def _changes(
    native: NativeImage,
    reference: Sample,
    model: DefectModel,
    defect: str | None,
    style_seeds: Sequence[int] | None,
    say: Say,
) -> list[Floats]:
    shown = reference_view(read_image(reference.path), reference, model, derive_seed("reference"))
    defect = defect or _defect_of(reference.path, shown, model, say)
    source = _view_like(native, shown, model)
    with torch.inference_mode():
        codes = model.reference_codes(stack([shown.pixels], model), class_indices([defect], model))
        if style_seeds is not None:
            codes = model.with_style(codes[torch.zeros(len(style_seeds), dtype=torch.long)], style_seeds)
        sources = stack([source.pixels] * len(codes), model)
        deltas = to_numpy(model.paint(sources, codes).delta)
    return [source.change(delta) for delta in deltas]


def _view_like(native: NativeImage, shown: View, model: DefectModel) -> View:
    """The part of the source at the place that the reference's part has in its own image."""
    if model.info.framing != "crop":
        return view_of(native, windows.whole(native.size), model.info)
    part, (height, width), (other_height, other_width) = shown.window, native.size, shown.native.size
    centre = (
        (part.top + part.height / 2) * height / other_height,
        (part.left + part.width / 2) * width / other_width,
    )
    return view_of(native, windows.square(native.size, model.info.image_size, centre), model.info)


def _defect_of(path: Path, shown: View, model: DefectModel, say: Say) -> str:
    """The defect of a reference by its folder, else by the model.

    Raises:
        ConfigError: it shows none.
    """
    info = model.info
    folder = nfc(real(path).parent.name)
    if folder in info.defects:
        name, why = folder, "by its folder"
    else:
        with torch.inference_mode():
            name = info.defects[int(model.name_defect(stack([shown.pixels], model))[0])]
        why = f"by model {info.name}"
        say(f"{path}: taken for '{name}' {why}; --defect NAME says otherwise")
    if name == info.normal:
        raise ConfigError(
            f"{path}: shows no defect ('{name}' {why}); name one with --defect (--defect {name} restores)"
        )
    return name
