"""Right defect, right product, background kept, masks that fit, defects that restoring finds: in words and tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

import numpy as np

from defectaug.data.sample import Category
from defectaug.methods.base import DefectModel
from defectaug.metrics.changes import SetChanges, mean_change
from defectaug.metrics.context import EvaluationContext
from defectaug.metrics.distances import Interval
from defectaug.metrics.images import ImageSet, evenly
from defectaug.metrics.localisation import BLUR, MapScore, PixelCounts, restoration, scores_of
from defectaug.metrics.naming import RELIABLE, CategoryNaming, Hits, Naming, NamingSettings, skill
from defectaug.reporting.sections import Finding, PictureRow, Pictures, Section, Table, Value

GRID = 8  # images of a category in the real-against-synthetic grid
MAPS = (
    "AUROC and average precision: how well the score of a pixel tells whether it lies in a mask, 1 at best. IoU: "
    "overlap of the mask with the pixels above a threshold, as share of both together, at the best threshold here."
)
MAP_COLUMNS = ("category", "images", "pixel AUROC", "average precision", "best IoU", "at grey levels")


def naming_section(context: EvaluationContext, number: int, naming: Naming, settings: NamingSettings) -> Section:
    """Which share a classifier trained on the real images names right, of synthetic set `number`."""
    images = context.synthetic[number]
    found = naming.categories(number, images, context.normal)
    skill_of_real = skill(naming.real.hits(naming.baseline), context.normal)
    reliable = skill_of_real is None or skill_of_real >= RELIABLE
    wrong = [
        f"{category} ({one.hits.defect} of {one.hits.images} named right, {one.as_normal} named {context.normal})"
        for category, one in found.items()
        if reliable and one.is_wrong
    ]
    accusing = [f"WRONG DEFECT: {'; '.join(wrong)}."] if wrong else []
    lines = accusing + _shares(images, found, context.normal)
    how = (
        f"{settings.folds} {settings.classifier} ones ({naming.origin}), {settings.steps} steps of "
        f"{settings.batch_size} images of {settings.image_size} x {settings.image_size}, seed {context.seed}"
    )
    training = {name: value for name, value in asdict(settings).items() if name not in ("classifier", "weights")}
    return Section(
        f"Right defect, right product: {images.name}",
        lines=lines,
        warnings=_naming_warnings(context, images, naming, skill_of_real),
        tables=[_naming_table(context, found)],
        pictures=[_grid(context.real, images)],
        numbers={
            "classifier": {"name": settings.classifier, "seed": context.seed, **training},
            "skill": skill_of_real,
            "cells": {str(category): _naming_numbers(one) for category, one in found.items()},
        },
        findings=[Finding(images.name, line, "against" if line in accusing else "neither") for line in lines],
        method=[("classifier that names the defects", how)],
    )


def _shares(images: ImageSet, found: Mapping[Category, CategoryNaming], normal: str) -> list[str]:
    """How many images are named right; and beside real ones, every category weighing the same. Where one of several is
    seldom named right, which one, though there may be too few real ones to call it wrong."""
    total = sum(one.hits.images for one in found.values())
    if not total:
        return []
    both = [(one.hits, one.real) for one in found.values() if one.hits.images and one.real and one.real.images]
    beside = ""
    if both:
        ours, real = (100 * np.mean([one.defect / one.images for one in side]) for side in zip(*both, strict=True))
        beside = (
            f"; defects right as mean of the categories: {ours:.0f} %, of real images that it has not seen {real:.0f} %"
        )
    shares = {one: named.hits.defect / named.hits.images for one, named in found.items() if named.hits.images}
    worst = min(shares, key=lambda one: shares[one])
    if len(shares) > 1 and shares[worst] < RELIABLE and not found[worst].is_wrong:
        right, of, as_normal = found[worst].hits.defect, found[worst].hits.images, found[worst].as_normal
        beside += f", fewest of {worst} ({right} of {of} right, {as_normal} named {normal})"
    defects, products = (sum(getattr(one.hits, part) for one in found.values()) for part in ("defect", "product"))
    return [
        f"A classifier trained on the real images names the defect of {defects} and the product of {products} of "
        f"{total} images of {images.name} as their folders do{beside}."
    ]


def _naming_warnings(
    context: EvaluationContext, images: ImageSet, naming: Naming, known_right: float | None
) -> list[str]:
    known = {category.defect for category in naming.real.categories}
    unknown = sorted({record.defect for record in images.records} - known)
    warnings = [f"{', '.join(unknown)}: not a class of {context.real.name}, so not named."] if unknown else []
    if known_right is None or known_right < RELIABLE:
        known_of = "cannot be tested on held-out defects"
        if known_right is not None:
            known_of = f"names only {100 * known_right:.0f} % of held-out real defects right (mean of the categories)"
        warnings.append(f"The classifier {known_of}: it is unreliable, and so are the shares below.")
    return warnings


def _naming_table(context: EvaluationContext, found: Mapping[Category, CategoryNaming]) -> Table:
    rows: list[list[Value]] = []
    for category, one in found.items():
        real = one.real or Hits(0, 0, 0)
        as_normal = one.as_normal if category.defect != context.normal else None
        right, beside, product = map(_per_cent, (one.hits.share(), real.share(), one.hits.share("product")))
        rows.append([str(category), one.hits.images, right, real.images, beside, as_normal, product])
    columns = ["category", "synthetic images", "defect right (%)", "real images", "defect right of these (%)",
               f"synthetic named {context.normal}", "product right (%)"]  # fmt: skip
    where = "each named by the classifier that has not seen it"
    if context.test is not None:
        where = f"those of {context.test.name}"
    note = (
        f"Mean of classifiers, each trained on all but one part of the real images. The real ones beside are {where}. "
        "In brackets 95 % intervals (Wilson). A category is called wrong where its interval lies wholly below that of "
        "real images (without any: below one half), and the classifier names at least "
        f"{100 * RELIABLE:.0f} % of real defects right."
    )
    return Table("Named right by a classifier that has seen real images alone", columns, rows, note)


def _naming_numbers(one: CategoryNaming) -> dict:
    return {
        "images": one.hits.images,
        "right defect": one.hits.share(),
        "right product": one.hits.share("product"),
        "named normal": one.as_normal,
        "real, right defect": one.real.share() if one.real else None,
        "real images": one.real.images if one.real else 0,
    }


def _per_cent(share: Interval | None) -> Interval | None:
    return share and Interval(100 * share.value, 100 * share.low, 100 * share.high)


def _grid(real: ImageSet, synthetic: ImageSet) -> Pictures:
    """Real and synthetic images of each category, one row each, evenly taken from the folder."""
    rows = []
    for category, members in synthetic.categories.items():
        for images, numbers in ((real, real.categories.get(category, [])), (synthetic, members)):
            shown = [images.records[n].path for n in evenly(numbers, GRID)]
            rows.append(PictureRow(f"{category}: {len(shown)} of {len(numbers)} in {images.name}", shown))
    return Pictures("Real against synthetic", rows, "Of each product and defect real images, and synthetic ones below.")


def background_section(images: ImageSet, found: SetChanges) -> Section:
    """How far the images of a synthetic set are from their sources, and its masks from what changed."""
    title = f"Background kept: {images.name}"
    changes = found.images
    missing = sum(change is None for change in changes)
    if missing == len(changes):
        line = f"{images.name} does not tell what its images were painted on; background drift cannot be measured."
        return Section(title, warnings=[line])
    rows: list[list[Value]] = []
    numbers = {}
    for category, members in images.categories.items():
        mean = mean_change(changes[n] for n in members)
        if mean is not None:
            share = None if mean.defect_share is None else 100 * mean.defect_share
            rows.append([str(category), mean.images, mean.everywhere, mean.outside, share])
            numbers[str(category)] = mean
    outside = [change.outside for change in changes if change is not None and change.outside is not None]
    line = f"No masks of {images.name}: only the difference over the whole image is known."
    if outside:
        line = (
            f"Outside the masks of the defects {images.name} differs from its sources by {np.mean(outside):.2f} grey "
            "levels of 255 in the mean."
        )
    lost = [f"{missing} of {len(changes)} images have no source of their size any more and are left out."]
    columns = ["category", "images", "everywhere", "outside the mask", "mask covers (% of the image)"]
    scores = scores_of(found.pixels)
    masks = _map_tables("What was changed against the masks", scores, f"Score: the difference from the source. {MAPS}")
    return Section(
        title,
        [line],
        lost if missing else [],
        [Table("Mean difference from the sources, grey levels of 255", columns, rows), *masks],
        numbers={"cells": numbers, "masks": scores},
        findings=[Finding(images.name, line)] if outside else [],
    )


def restoration_section(context: EvaluationContext, model: DefectModel) -> Section:
    """How well |x - G(x, anchor)| finds the real defects: of the held-out images where there are some, else of all."""
    images = context.test or context.real
    title = f"Defects found by restoring: {images.name}"
    masked = [
        number
        for number, record in enumerate(images.records)
        if context.is_defective(record) and record.mask is not None
    ]
    if not masked:
        line = f"{images.name} has no true masks (--masks DIR): where its defects are is unknown."
        return Section(title, warnings=[line])
    counts = restoration(context, images, masked, model)
    whole, scores = sum(counts.values(), PixelCounts()).score(), scores_of(counts)
    line = "No masks of the images' size."
    if whole is not None:
        line = (
            f"Restoring by model {model.info.name} finds the defects of {whole.images} real images with a pixel AUROC "
            f"of {whole.auroc:.3f}; it has been shown no masks."
        )
    warnings = [] if context.test else ["The model may have been trained on these images; --test DATA names others."]
    note = f"Score: what restoring changes, in grey levels, blurred by {BLUR} pixels. {MAPS}"
    return Section(
        title,
        [line],
        warnings,
        _map_tables("Restoration against true masks", scores, note),
        numbers={"blur": BLUR, "model": model.info.weights_sha256, "cells": scores},
    )


def _map_tables(title: str, scores: Mapping[str, MapScore | None], note: str) -> list[Table]:
    rows: list[list[Value]] = [
        [name, score.images, score.auroc, score.precision, score.iou, score.threshold]
        for name, score in scores.items()
        if score is not None
    ]
    return [Table(title, MAP_COLUMNS, rows, note)] if rows else []
