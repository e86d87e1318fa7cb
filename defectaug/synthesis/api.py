"""`defectaug.synthesize`: paint new defects on normal images, by cell or as a whole balanced data set."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from defectaug.bundle import as_model
from defectaug.errors import ConfigError, OutputError
from defectaug.io.launcher import launched_as
from defectaug.io.masks import mask_folder
from defectaug.synthesis.choose import make_plan, output_folder
from defectaug.synthesis.plan import Plan, parse_shard
from defectaug.synthesis.render import Rendered, Renderer
from defectaug.synthesis.threads import in_threads, threads
from defectaug.synthesis.write import OutputFolder, Request, refuse_source

if TYPE_CHECKING:
    from defectaug.data.class_map import ClassMap
    from defectaug.methods.base import BundleInfo, DefectModel

Progress = Callable[[int, int], None]
Say = Callable[[str], None]
log = logging.getLogger("defectaug")


@dataclass(frozen=True)
class SynthesisSummary:
    """What a run has left.

    Args:
        out: the folder of images.
        masks: the folder of masks, or None.
        real, synthetic: images copied and made by this run.
        kept: images that an interrupted run had left.
        faint: synthetic images on which no defect is visible, after several tries.
        complete: False while other shards are missing.
        seconds: time taken.
    """

    out: Path
    masks: Path | None
    real: int
    synthetic: int
    kept: int
    faint: int
    complete: bool
    seconds: float

    def describe(self) -> str:
        """One line for people."""
        rate = self.synthetic / self.seconds if self.seconds > 0 else 0.0
        parts = [f"{self.synthetic:,} synthetic images in {self.seconds:.0f} s ({rate:.1f} a second)"]
        if self.real:
            parts.append(f"{self.real:,} real ones copied")
        if self.kept:
            parts.append(f"{self.kept:,} were there already")
        if self.faint:
            parts.append(f"{self.faint:,} show no visible defect (their masks are empty)")
        if not self.complete:
            parts.append("other shards are still to come; the last one joins the manifest")
        return "; ".join(parts)


def synthesize(
    *,
    model: str | Path | DefectModel | None = None,
    source: str | Path | None = None,
    product: str | None = None,
    defect: str | None = None,
    n: int | None = None,
    balance: bool = False,
    reference: str | Path | None = None,
    out: str | Path | None = None,
    masks: bool = False,
    overwrite: bool = False,
    seed: int = 0,
    device: str = "auto",
    shard: str | None = None,
    batch_size: int = 16,
    class_map: str | Path | ClassMap | None = None,
    normal: str | None = None,
    progress: Progress | None = None,
    say: Say | None = None,
) -> SynthesisSummary:
    """Paint new defects on normal images and write them as `OUT/<product>/<defect>/*.png` with a manifest.

    With `product` or `defect`, `n` new images of every cell that they name. Without, or with `balance`, a
    whole data set: the real images untouched, and new ones until every cell holds as many as the fullest, or
    `n`. The image of an index depends on seed, index, model and source images alone. A run that was
    interrupted is finished by the same call.

    Args:
        model: a model folder, a loaded model, or None for the only or newest one under `./models`.
        source: folder whose normal images are painted on; None for the data the model was trained on.
        product: the only product to make; also names the product of a source folder that does not tell.
        defect: the only defect to make.
        n: images a cell; real ones included when balancing. None: 100, or when balancing the fullest cell.
        balance: give back a whole data set.
        reference: folder of real defective images to take shape and style from; None draws latent codes.
        out: folder for the images; None for `out/NAME`, named after model and cell.
        masks: also write defect masks to `OUT.masks`, 8 bit, 255 = defect.
        overwrite: replace what an earlier run left in `out`; files of other origin stay.
        seed: of all random choices.
        device: "auto", "cpu", "cuda" or "cuda:N"; not used where `model` is loaded already.
        shard: "I/N" makes the I-th of N parts, which share `out`; None: all, or under a launcher such as
            `torchrun` the part of this process.
        batch_size: images a pass.
        class_map: renames the classes of `source`, as for training.
        normal: name of the normal folder in `source`, as for training.
        progress: called with (images done, images in all).
        say: takes lines for the user; None sends them to the logger "defectaug".

    Returns:
        A summary of what was written.

    Raises:
        ConfigError: an option that cannot be used, an unknown product or defect.
        BundleError: no model, or a damaged one.
        DataError: no usable source or reference images.
        OutputError: `out` is not empty, overlaps the source, or cannot be written.
    """
    part = parse_shard(shard) if shard is not None else _launched_part()
    for option, value in (("--n", n), ("--batch-size", batch_size)):
        if value is not None and value < 1:
            raise ConfigError(f"{option} {value}: must be 1 or more")
    say = say or log.info
    painter = as_model(model, device)
    info = painter.info
    balance = balance or (product is None and defect is None)
    root, plan = make_plan(
        info,
        source=None if source is None else Path(source),
        product=product,
        defect=defect,
        n=n,
        balance=balance,
        reference=None if reference is None else Path(reference),
        seed=seed,
        class_map=class_map,
        normal=normal,
        say=say,
    )
    target = output_folder(out, info, [product, defect, "balanced" if balance else None], seed)
    for place in (target, mask_folder(target)) if masks else (target,):
        refuse_source(place, root)
        if reference is not None:
            refuse_source(place, Path(reference))
    settings: dict[str, Any] = {
        "model": info.weights_sha256,
        "balance": balance,
        "product": product,
        "defect": defect,
        "n": n,
        "reference": None if reference is None else str(reference),
        "seed": seed,
        "masks": masks,
        "shards": part[1],
    }
    started = time.monotonic()
    folder = OutputFolder(target, Request(settings, plan, info.normal, part, masks), overwrite=overwrite)
    try:
        counts = _fill(folder, painter, plan, part, seed, batch_size, progress or _silent, say)
        complete = folder.finish()
        if not complete and part == (1, 1):
            raise OutputError(f"{target}: images of this run are gone; is the drive still there? Run it again")
    except KeyboardInterrupt:
        say(f"{target}: not complete yet; the same command finishes it")
        raise
    finally:
        folder.close()
    return SynthesisSummary(
        out=target,
        masks=mask_folder(target) if masks else None,
        kept=len(folder.done),
        complete=complete,
        seconds=time.monotonic() - started,
        **counts,
    )


def _launched_part() -> tuple[int, int]:
    rank, size = launched_as()
    return rank + 1, size


def _silent(done: int, total: int) -> None:
    pass


def _fill(
    folder: OutputFolder,
    model: DefectModel,
    plan: Plan,
    part: tuple[int, int],
    seed: int,
    batch_size: int,
    progress: Progress,
    say: Say,
) -> dict[str, int]:
    """Copies and renders what the folder still lacks."""
    pending = list(folder.pending())
    copies = [item for item in pending if not item.synthetic]
    total, done = len(plan.shard(*part)), len(folder.done)
    faint = 0

    def save(finish: Callable[[], Rendered]) -> bool:
        rendered = finish()
        details = _details(rendered, model.info, seed)
        folder.save(rendered.item, rendered.image, rendered.mask, details)
        return bool(rendered.mask.any())

    with threads() as pool:
        renderer = Renderer(model, plan, pool, batch_size=batch_size, say=say)
        images = renderer.render(item for item in pending if item.synthetic)
        progress(done, total)
        for _ in in_threads(pool, folder.copy, copies, ahead=32):
            progress(done := done + 1, total)
        for visible in in_threads(pool, save, images, ahead=2 * batch_size):
            faint += not visible
            progress(done := done + 1, total)
    return {"real": len(copies), "synthetic": len(pending) - len(copies), "faint": faint}


def _details(rendered: Rendered, info: BundleInfo, seed: int) -> dict[str, Any]:
    """What a manifest line tells of a synthetic image beyond its cell."""
    item, window = rendered.item, rendered.window
    details: dict[str, Any] = {
        "source": str(rendered.source.path.absolute()),
        "reference": str(rendered.reference.path.absolute()) if rendered.reference else None,
        "guide": "reference" if rendered.reference else "latent",
        "seed": seed,
        "item_seed": item.seed,
        "model": info.weights_sha256,
    }
    if rendered.reference and rendered.reference.mask:
        details["reference_mask"] = str(rendered.reference.mask.absolute())
    if rendered.redraws:
        details["redraws"] = rendered.redraws
    if window is not None:
        details["window"] = [window.top, window.left, window.height, window.width]
    return details
