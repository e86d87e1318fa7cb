"""`defectaug.transfer`: put the defect of one image on another, or take a defect away."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from defectaug.bundle import as_model
from defectaug.errors import ConfigError, DataError, OutputError, at_least
from defectaug.io import windows
from defectaug.io.files import expanded, real
from defectaug.io.images import NativeImage, read_image, white_of, write_png
from defectaug.io.masks import VISIBLE, magnitude, write_mask
from defectaug.io.progress import Log, Progress
from defectaug.methods.inference import painting
from defectaug.methods.native import (
    Change,
    View,
    compose,
    restoration_change,
    seen_size,
    stack,
    to_numpy,
    view_of,
)
from defectaug.methods.placement import Placement, paint_placed
from defectaug.synthesis.control.options import Control, Factors
from defectaug.synthesis.control.regions import Regions, choose_regions, resized_mask, seen_region
from defectaug.synthesis.plan import derive_seed
from defectaug.synthesis.render import CLOSE, class_indices, confined, reference_view
from defectaug.synthesis.sources import class_of_folder, known_name, product_of, unfit
from defectaug.synthesis.transfer_jobs import Job, UnfinishedTransfer, plan_jobs, refuse_existing

if TYPE_CHECKING:
    from defectaug.methods.base import Codes, DefectModel, Model, SourceFeatures

Bools = NDArray[np.bool_]
FREE = Control("none")
MOST_STYLES = 10_000
BATCH = 16  # styles a pass, which bounds the memory
logger = logging.getLogger("defectaug")


@dataclass(frozen=True)
class TransferSettings:
    """What a transfer is asked for, as of :func:`transfer`.

    Raises:
        ConfigError: a number of styles, or a seed, that cannot be.
    """

    defect: str | None = None
    n_styles: int | None = None
    seed: int = 0
    control: Control = FREE

    def __post_init__(self) -> None:
        at_least(0, seed=self.seed)
        if self.n_styles is not None and not 1 <= self.n_styles <= MOST_STYLES:
            raise ConfigError(f"--n-styles {self.n_styles}: must be from 1 to {MOST_STYLES:,}")

    def known_to(self, model: DefectModel) -> TransferSettings:
        """The settings with the defect as the model writes it.

        Raises:
            ConfigError: it does not know the defect, or the normal class is asked for in styles.
        """
        if self.defect is None:
            return self
        defect = known_name("--defect", self.defect, model.info.defects, f"model {model.info.name}")
        given = self.control.wish if self.n_styles is None else f"--n-styles {self.n_styles}"
        if defect == model.info.normal and given:
            raise ConfigError(f"{given}: --defect {defect} restores the image, and paints nothing that could have one")
        return replace(self, defect=defect)

    def factors(self, job: Job, count: int) -> list[tuple[float, float]]:
        """Strength and size of each of the images of a job."""
        names = job.source.path.name, job.reference.path.name
        return [
            (
                self.control.strength.draw(derive_seed("strength", self.seed, *names, k)),
                self.control.size.draw(derive_seed("size", self.seed, *names, k)),
            )
            for k in range(count)
        ]

    def style_seeds(self) -> list[int] | None:
        """A seed for each style; None for the reference's own style."""
        return None if self.n_styles is None else [derive_seed("style", self.seed, k) for k in range(self.n_styles)]


def transfer(
    src: str | Path,
    ref: str | Path,
    *,
    model: str | Path | Model | None = None,
    defect: str | None = None,
    out: str | Path | None = None,
    mask: str | Path | None = None,
    n_styles: int | None = None,
    region: str | Path = "none",
    strength: Factors = "1:1",
    size: Factors = "1:1",
    overwrite: bool = False,
    seed: int = 0,
    device: str = "auto",
    progress: Progress | None = None,
    log: Log | None = None,
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
        region: what of SRC a defect may cover, as of `synthesize`; "auto" finds the product in the images of SRC,
            in a single one where its surroundings end at a clear edge.
        strength: factors on the contrast of the defect, drawn from LO:HI; 1 = as REF shows it.
        size: the same for its sides.
        overwrite: replace files of these names; SRC and REF never.
        seed: of styles and factors.
        device: "auto", "cpu", "cuda" or "cuda:N"; not used where `model` is loaded already.
        progress: called with (pairs done, pairs in all).
        log: takes lines for the user; None sends them to the logger "defectaug".

    Returns:
        The images written, in order.

    Raises:
        ConfigError: an unknown defect, a reference that shows none, a model whose method has no references, options
            that do not go together.
        BundleError: no model, or a damaged one.
        DataError: an image that cannot be read or is smaller than the model's, or a region mask that does not fit.
        OutputError: a file is there already, or cannot be written.
    """
    asked = TransferSettings(defect, n_styles, seed, Control.of(region, strength, size, 1, "all"))
    log = log or logger.info
    src, ref = expanded(src), expanded(ref)
    jobs = plan_jobs(src, ref, _path(out), _path(mask), n_styles)
    target = jobs[0].images[0].parent
    if src.is_dir() and real(target).is_relative_to(real(src)):
        raise OutputError(f"--out {target}: lies in SRC {src}; choose a folder outside")
    journal = UnfinishedTransfer(target) if len(jobs) > 1 else None
    refuse_existing(jobs, overwrite or (journal is not None and journal.found))
    loaded = painting(as_model(model, device), f"SRC {src}")
    info, asked = loaded.info, asked.known_to(loaded)
    if asked.defect != info.normal:
        info.check_references(f"REF {ref}")
    if n_styles is not None:
        info.check_styles(f"--n-styles {n_styles}")
    for job in jobs:
        if reason := unfit(job.source.path, info, product_of(job.source, info)):
            raise DataError(reason)
    root = src if src.is_dir() else src.parent
    regions = choose_regions(asked.control.region, {"": [job.source for job in jobs]}, root, log)
    left: Sequence[Job] = jobs
    if journal is not None:
        settings = {"model": info.weights_sha256, "defect": asked.defect, "n_styles": n_styles, "seed": seed}
        settings |= {name: str(value) for name, value in vars(asked.control).items()}
        request = settings | {"overwrite": overwrite, "jobs": [job.names() for job in jobs]}
        if journal.was(request) and not overwrite:
            left = [job for job in jobs if not job.is_done()]
        else:
            refuse_existing(jobs, overwrite)
            journal.begin(request)
    done = len(jobs) - len(left)
    try:
        for job in left:
            if progress:
                progress(done, len(jobs))
            _run(job, loaded, asked, regions, log)
            done += 1
    except KeyboardInterrupt:
        if journal is not None:
            log(f"{done} of {len(jobs)} pairs are done; the same command does the rest")
        raise
    if progress:
        progress(len(jobs), len(jobs))
    if journal is not None:
        journal.end()
    return [path for job in jobs for path in job.images]


def _path(value: str | Path | None) -> Path | None:
    return None if value is None else expanded(value)


def _run(job: Job, model: DefectModel, asked: TransferSettings, regions: Regions, log: Log) -> None:
    native = read_image(job.source.path)
    changes: Iterator[Change]
    region = None
    factors, product = asked.factors(job, len(job.images)), product_of(job.source, model.info)
    if asked.defect == model.info.normal:
        changes = iter([Change(restoration_change(native, model, product))])
    else:
        region = regions.of(job.source, native)
        changes = _changes(native, job, region, model, asked, factors, log)
    white = white_of(native, model.info.white)
    for k, change in enumerate(changes):
        if job.masks:
            seen = seen_size(model.info, product, native.size)
            mask = change.mask(seen, factors[k][1])
            write_mask(job.masks[k], mask if region is None else mask & resized_mask(region, native.size))
        write_png(job.images[k], compose(native, change.values, white))
        if asked.defect != model.info.normal and float(magnitude(change.values).max(initial=0)) <= VISIBLE:
            log(
                f"{job.images[k]}: shows no visible defect: the model sees hardly any in {job.reference.path}, or "
                "--region, --strength or --size leave nothing of it"
            )


def _changes(
    native: NativeImage,
    job: Job,
    region: Bools | None,
    model: DefectModel,
    asked: TransferSettings,
    factors: Sequence[tuple[float, float]],
    log: Log,
) -> Iterator[Change]:
    """What the reference's defect changes of the source: one change, or one a style."""
    reference = job.reference
    shown = reference_view(read_image(reference.path), reference, model, derive_seed("reference"))
    defect = asked.defect or _defect_of(reference.path, shown, model, log)
    source = _view_like(native, product_of(job.source, model.info), shown, model)
    normal = class_of_folder(job.source.path, model.info) in (None, model.info.normal)
    with torch.inference_mode():
        features = model.source_features(stack([source.pixels], model), normal)[0]
    seeds = asked.style_seeds()
    with torch.inference_mode():
        defects = class_indices([defect], model)
        alike = product_of(job.source, model.info) == product_of(reference, model.info)
        codes = model.reference_codes(stack([shown.pixels], model), defects, [shown.photograph(CLOSE)], [alike])
    if seeds is None:
        yield from _painted(source, features, codes, region, factors, model)
        return
    for start in range(0, len(seeds), BATCH):
        some = seeds[start : start + BATCH]
        with torch.inference_mode():
            styled = model.with_style(codes[torch.zeros(len(some), dtype=torch.long)], some)
        yield from _painted(source, features, styled, region, factors[start : start + BATCH], model)


def _painted(
    source: View,
    features: SourceFeatures,
    codes: Codes,
    region: Bools | None,
    factors: Sequence[tuple[float, float]],
    model: DefectModel,
) -> Iterator[Change]:
    side, count = model.info.image_size, len(codes)
    seen = np.ones((side, side), bool) if region is None else seen_region(region, source, side)
    wishes = Placement(
        torch.from_numpy(seen.astype(np.float32)).expand(count, 1, -1, -1).to(model.device),
        *torch.tensor(factors, device=model.device).unbind(1),
    )
    with torch.inference_mode():
        painted = paint_placed(model, [features] * count, codes, wishes)
    for change in map(source.change, to_numpy(painted.delta), painted.changes()):
        yield confined(change, source, region)


def _view_like(native: NativeImage, product: str, shown: View, model: DefectModel) -> View:
    """The part of the source at the place that the reference's part has in its own image."""
    side = model.info.window(product, native.size)
    if side is None:
        return view_of(native, windows.whole(native.size), model.info)
    part, (height, width), (other_height, other_width) = shown.window, native.size, shown.native.size
    centre = ((part.top + part.height / 2) * height / other_height, (part.left + part.width / 2) * width / other_width)
    return view_of(native, windows.square(native.size, side, centre), model.info)


def _defect_of(path: Path, shown: View, model: DefectModel, log: Log) -> str:
    """The defect of a reference by its folder, else by the model.

    Raises:
        ConfigError: it shows none.
    """
    info = model.info
    named, why = class_of_folder(path, info), "by its folder"
    if named is not None:
        name = named
    else:
        with torch.inference_mode():
            name = info.defects[int(model.name_defect(stack([shown.pixels], model))[0])]
        why = f"by model {info.name}"
        log(f"{path}: taken for '{name}' {why}; --defect NAME says otherwise")
    if name == info.normal:
        raise ConfigError(
            f"{path}: shows no defect ('{name}' {why}); name one with --defect (--defect {name} restores)"
        )
    return name
