"""`defectaug.synthesize`: paint new defects on normal images, by category or as a whole balanced data set."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from defectaug.bundle import as_model
from defectaug.data.sample import Category
from defectaug.errors import BundleError, OutputError
from defectaug.io.files import expanded
from defectaug.io.masks import mask_folder
from defectaug.io.progress import Log, Progress, unheard
from defectaug.io.regions import boxes_and_area
from defectaug.io.targets import page_target
from defectaug.methods.base import GenerativeModel
from defectaug.synthesis.choose import make_plan
from defectaug.synthesis.control.options import Factors
from defectaug.synthesis.control.regions import Anywhere, Regions, choose_regions
from defectaug.synthesis.formats.export import Exports
from defectaug.synthesis.plan import Plan
from defectaug.synthesis.refill import Memory, Refill, begin_refill
from defectaug.synthesis.render import Rendered, Renderer, WholeImages
from defectaug.synthesis.settings import SynthesisSettings
from defectaug.synthesis.threads import in_threads, threads
from defectaug.synthesis.write import OutputFolder, Request, refuse_source

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from defectaug.data.class_map import ClassMap
    from defectaug.methods.base import BundleInfo, Model

logger = logging.getLogger("defectaug")
NOTHING_LEARNT = (
    "--region, --strength or --size leave nothing of the defect, or the model has hardly found it in its training "
    "images: look at the model's samples/, train to the end (train --resume) or for longer, and see that defective "
    "images differ from normal ones where the defect is"
)
LOOK_FIRST = (
    "look at them before you train on them (--report), and at the model's samples/, which show what it has found"
)


@dataclass(frozen=True)
class SynthesisSummary:
    """What a run has left.

    Args:
        out: the folder of images.
        masks: the folder of masks, or None.
        real, synthetic: images copied and made by this run.
        kept: images that an interrupted run had left.
        faint: synthetic images on which no defect is visible, after several tries.
        redrawn: defects that the acceptance test rejected and that were drawn anew.
        doubtful: synthetic images that were kept though the test does not accept them, by its reasons.
        poor: categories of which the test does not accept most, with how many these are, and of how many.
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
    redrawn: int = 0
    doubtful: Mapping[str, int] = field(default_factory=dict)
    poor: Mapping[Category, tuple[int, int]] = field(default_factory=dict)

    def describe(self) -> str:
        """One line for people."""
        rate = self.synthetic / self.seconds if self.seconds > 0 else 0.0
        parts = [f"{_counted(self.synthetic, 'synthetic image')} in {self.seconds:.0f} s ({rate:.1f} a second)"]
        if self.real:
            parts.append(f"{_counted(self.real, 'real one')} copied")
        if self.kept:
            parts.append(f"{self.kept:,} {'was' if self.kept == 1 else 'were'} there already")
        if self.faint:
            show, masks = ("shows", "its mask is") if self.faint == 1 else ("show", "their masks are")
            parts.append(f"{self.faint:,} {show} no visible defect ({masks} empty)")
        if 2 * self.faint > self.synthetic:
            parts.append(NOTHING_LEARNT)
        if self.redrawn:
            were = "was" if self.redrawn == 1 else "were"
            parts.append(f"{_counted(self.redrawn, 'defect')} {were} rejected and drawn anew")
        if self.doubtful:
            reasons = ", ".join(f"{count:,} {reason}" for reason, count in self.doubtful.items())
            parts.append(f"{sum(self.doubtful.values()):,} kept that the acceptance test does not accept ({reasons})")
        if self.poor and 2 * self.faint <= self.synthetic:
            most = ", ".join(f"{category} ({refused:,} of {made:,})" for category, (refused, made) in self.poor.items())
            parts.append(f"among them most of {most}: {LOOK_FIRST}")
        if not self.complete:
            parts.append("other shards are still to come; the last one joins the manifest")
        return "; ".join(parts)


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'s' * (count != 1)}"


def synthesize(
    *,
    model: str | Path | Model | None = None,
    source: str | Path | None = None,
    product: str | None = None,
    defect: str | None = None,
    n: int | None = None,
    balance: bool = False,
    reference: str | Path | None = None,
    out: str | Path | None = None,
    masks: bool = False,
    export: str | None = None,
    report: str | Path | None = None,
    region: str | Path = "auto",
    strength: Factors = "1:1",
    size: Factors = "1:1",
    max_defects: int = 1,
    keep: str = "good",
    overwrite: bool = False,
    seed: int = 0,
    device: str = "auto",
    shard: str | None = None,
    batch_size: int = 16,
    class_map: str | Path | ClassMap | None = None,
    normal: str | None = None,
    progress: Progress | None = None,
    log: Log | None = None,
) -> SynthesisSummary:
    """Paint new defects on normal images, or make whole ones, and write `OUT/<product>/<defect>/*.png` and a manifest.

    With `product` or `defect`, `n` new images of every category that they name. Without, or with `balance`, a
    whole data set: the real images untouched, and new ones until every category holds as many as the fullest, or
    `n`. The image of an index depends on seed, index, model and source images alone. A run that was
    interrupted is finished by the same call.

    Args:
        model: a model folder, a loaded model, or None for the only or newest one under `./models`.
        source: folder whose normal images are painted on; None for the data the model was trained on. A model that
            makes whole images takes from it only the real ones of a balanced set.
        product: the only product to make; also names the product of a source folder that does not tell.
        defect: the only defect to make.
        n: images a category; real ones included when balancing. None: 100, or when balancing the fullest category.
        balance: give back a whole data set.
        reference: folder of real defective images to take shape and style from; None draws latent codes.
        out: folder for the images; None for `out/NAME`, named after model and category.
        masks: also write defect masks to `OUT.masks`, 8 bit, 255 = defect; a model that makes whole images has none.
        export: annotations in further formats beside `out`, of "coco", "yolo" and "mvtec", joined by commas; writes
            masks, too.
        report: a page (HTML) to look the images through, with a folder of thumbnails beside it; writes masks, too.
        region: where a defect may lie: "auto" on the product, not on what surrounds it, "none" anywhere, or a folder of
            masks named as the sources are (255 = allowed), or one mask for all.
        strength: factors on the contrast of defects, drawn from LO:HI; 1 = as learnt. Also a pair, or one number.
        size: the same for their sides.
        max_defects: up to so many defects on one image, apart from one another.
        keep: "good" rejects what fails the acceptance test and draws it anew, "all" keeps it.
        overwrite: replace what an earlier run left in `out`; files of other origin stay.
        seed: of all random choices.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps"; not used where `model` is loaded already.
        shard: "I/N" makes the I-th of N parts, which share `out`; None: all, or under a launcher such as
            `torchrun` the part of this process.
        batch_size: images a pass.
        class_map: renames the classes of `source`, as for training.
        normal: name of the normal folder in `source`, as for training.
        progress: called with (images done, images in all).
        log: takes lines for the user; None sends them to the logger "defectaug".

    Returns:
        A summary of what was written.

    Raises:
        ConfigError: an option that cannot be used, an unknown product or defect.
        BundleError: no model, or a damaged one.
        DataError: no usable source or reference images, or region masks that do not fit.
        OutputError: `out` is not empty, overlaps the source, or cannot be written.
    """
    asked = SynthesisSettings(
        source=source, product=product, defect=defect, n=n, balance=balance, reference=reference, masks=masks,
        export=export, report=report, region=region, strength=strength, size=size, max_defects=max_defects, keep=keep,
        seed=seed, shard=shard, batch_size=batch_size, class_map=class_map, normal=normal,
    )  # fmt: skip
    if report is not None:
        page_target("--report", report)
    log = log or logger.info
    loaded = as_model(model, device)
    root, plan = make_plan(loaded.info, asked, log)
    return produce(asked, loaded, root, plan, asked.folder(out, loaded.info), overwrite, progress, log)


def produce(
    asked: SynthesisSettings,
    loaded: Model,
    root: Path | None,
    plan: Plan,
    target: Path,
    overwrite: bool,
    progress: Progress | None,
    log: Log,
    refill: Refill | None = None,
) -> SynthesisSummary:
    """Makes the images of a plan, with what belongs beside them; arguments and errors as of `synthesize`.

    Args:
        root: the folder of sources; None for none.
        refill: what is taken away first.
    """
    reference = asked.reference
    for place in (target, mask_folder(target)) if asked.masks else (target,):
        if root is not None:
            refuse_source(place, root)
        if reference is not None:
            refuse_source(place, Path(reference))
    started = time.monotonic()
    painted_on = {item.product for item in plan.items if item.synthetic}
    normals = {product: samples for product, samples in plan.normals.items() if product in painted_on}
    regions = Anywhere() if root is None else choose_regions(asked.control.region, normals, root, log)
    request = Request(asked.record(loaded.info.weights_sha256), plan, loaded.info.normal, asked.part, asked.masks)
    exports, memory = _exports(loaded.info, asked, log), Memory(asked, loaded.info.path)
    if refill is not None:
        exports.check(target, overwrite=True)
        request, memory = refill.take_away(request), refill.memory
    folder = OutputFolder(target, request, overwrite=overwrite, beside=[exports, memory])
    try:
        tally = _fill(folder, loaded, plan, regions, asked, progress or unheard, log)
        complete = folder.finish()
        if not complete and asked.part == (1, 1):
            raise OutputError(f"{target}: images of this run are gone; is the drive still there? Run it again")
    except KeyboardInterrupt:
        log(f"{target}: not complete yet; the same command finishes it")
        raise
    finally:
        folder.close()
    written = mask_folder(target) if asked.masks else None
    seconds = time.monotonic() - started
    return SynthesisSummary(
        target, written, tally.real, tally.synthetic, len(folder.done), tally.faint, complete, seconds, tally.redrawn,
        dict(tally.doubtful), tally.poor(),
    )  # fmt: skip


def refill(
    listed: str | Path,
    out: str | Path,
    *,
    model: str | Path | Model | None = None,
    device: str = "auto",
    progress: Progress | None = None,
    log: Log | None = None,
) -> SynthesisSummary:
    """Takes images that a person rejects away from a folder that `synthesize` left, and makes others in their place.

    Masks, annotations and page follow. If it is interrupted, the same call finishes it.

    Args:
        listed: text file that names them, one a line, as the manifest does.
        out: the folder.
        model: where the model is now, if it was moved.
        device, progress, log: as of `synthesize`.

    Raises:
        DataError: the list names what is not a synthetic image of `out`.
        OutputError: `out` holds no finished run.
        BundleError, ConfigError: as of `synthesize`; also another model than the one that made the images.
    """
    log = log or logger.info
    target = expanded(out)
    begun = begin_refill(expanded(listed), target)
    asked = begun.memory.asked
    loaded = as_model(model or begun.memory.model, device)
    if other := {line["model"] for line in begun.lines if line["synthetic"]} - {loaded.info.weights_sha256}:
        raise BundleError(
            f"{loaded.info.path}: is not the model that made {out} (sha256 {min(other)[:12]}...); name it by --model"
        )
    root, plan = make_plan(loaded.info, asked, log)
    return produce(asked, loaded, root, begun.plan(plan), target, False, progress, log, begun)


def _exports(info: BundleInfo, asked: SynthesisSettings, log: Log) -> Exports:
    defects = tuple(name for name in info.defects if name != info.normal)
    report = None if asked.report is None else expanded(asked.report)
    return Exports(asked.formats, report, info.normal, defects, info.white, log)


@dataclass
class _Tally:
    """What a run has done so far, as of :class:`SynthesisSummary`."""

    real: int = 0
    synthetic: int = 0
    faint: int = 0
    redrawn: int = 0
    doubtful: Counter[str] = field(default_factory=Counter)
    made: Counter[Category] = field(default_factory=Counter)
    refused: Counter[Category] = field(default_factory=Counter)

    def add(self, category: Category, visible: bool, rejections: int, reason: str | None) -> None:
        """Counts a synthetic image, and why the acceptance test does not accept it."""
        self.synthetic += 1
        self.made[category] += 1
        self.refused[category] += reason is not None
        self.faint += not visible
        self.redrawn += rejections
        if reason is not None:
            self.doubtful[reason] += 1

    def poor(self) -> dict[Category, tuple[int, int]]:
        """As of :class:`SynthesisSummary`."""
        return {one: (self.refused[one], made) for one, made in self.made.items() if 2 * self.refused[one] > made}


def _fill(
    folder: OutputFolder, model: Model, plan: Plan, regions: Regions, asked: SynthesisSettings, progress: Progress,
    log: Log,
) -> _Tally:  # fmt: skip
    """Copies and renders what the folder still lacks."""
    pending = list(folder.pending())
    copies = [item for item in pending if not item.synthetic]
    total, done, tally = len(plan.shard(*asked.part)), len(folder.done), _Tally()

    def save(finish: Callable[[], Rendered]) -> tuple[Category, bool, int, str | None]:
        rendered = finish()
        details = _details(rendered, asked.seed, model.info)
        folder.save(rendered.item, rendered.image, rendered.mask, details)
        visible = rendered.mask is None or bool(rendered.mask.any())
        reason = rendered.verdict.reason if rendered.verdict else None
        return Category(rendered.item.product, rendered.item.defect), visible, rendered.rejections, reason

    with threads() as pool:
        renderer = _renderer(model, plan, regions, pool, asked, log)
        images = renderer.render(item for item in pending if item.synthetic)
        progress(done, total)
        for _ in in_threads(pool, folder.copy, copies, ahead=32):
            tally.real += 1
            progress(done := done + 1, total)
        for outcome in in_threads(pool, save, images, ahead=2 * asked.batch_size):
            tally.add(*outcome)
            progress(done := done + 1, total)
    return tally


def _renderer(
    model: Model, plan: Plan, regions: Regions, pool: Executor, asked: SynthesisSettings, log: Log
) -> Renderer | WholeImages:
    """Paints the items of a plan, or makes them as whole images."""
    if isinstance(model, GenerativeModel):
        return WholeImages(model, batch_size=asked.batch_size)
    return Renderer(model, plan, pool, control=asked.control, regions=regions, batch_size=asked.batch_size, log=log)


def _details(rendered: Rendered, seed: int, info: BundleInfo) -> dict[str, Any]:
    """What a manifest line tells of a synthetic image beyond its category."""
    item, window, reference = rendered.item, rendered.window, rendered.reference
    details: dict[str, Any] = {
        "source": str(rendered.source.path.absolute()) if rendered.source else None,
        "reference": str(reference.path.absolute()) if reference else None,
        "guide": "reference" if reference else "latent",
        "seed": seed,
        "item_seed": item.seed,
        **({} if rendered.mask is None else boxes_and_area(rendered.mask)),
        "model": info.weights_sha256,
        "bundle": str(info.path.absolute()),
        "strength": round(rendered.strength, 4),
        "size": round(rendered.size, 4),
        "score": rendered.verdict.score if rendered.verdict else None,
        "accepted": (rendered.verdict.reason if rendered.verdict else None) or True,
    }
    if reference and reference.mask:
        details["reference_mask"] = str(reference.mask.absolute())
    if rendered.rejections:
        details["redraws"] = rendered.rejections
    if window is not None:
        details["window"] = [window.top, window.left, window.height, window.width]
    return details
