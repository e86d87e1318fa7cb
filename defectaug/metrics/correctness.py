"""Right defect, right product, background kept, masks that fit, defects that restoring finds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np

from defectaug.data.sample import Category
from defectaug.errors import DataError
from defectaug.io.images import read_image
from defectaug.io.masks import read_mask
from defectaug.methods.native import restoration_change
from defectaug.metrics.changes import Painting, difference, mean_change
from defectaug.metrics.context import Scene, cell_name
from defectaug.metrics.distances import share_interval
from defectaug.metrics.image_statistics import ImageSet
from defectaug.metrics.naming import JudgeSettings, Named, Verdicts
from defectaug.metrics.neighbours import Neighbour
from defectaug.metrics.pixel_scores import PixelCounts, blurred
from defectaug.reporting.sections import Finding, Interval, PictureRow, Pictures, Section, Table, Value

if TYPE_CHECKING:
    from defectaug.methods.base import DefectModel

FIT = 0.75  # share of held-out real defects that a classifier must name right, as mean over cells, to call any wrong
GRID = 8  # images of a cell in the real-against-synthetic grid
BLUR = 1.5  # pixels, of the map of what restoring changes
MAPS = (
    "AUROC and average precision: how well the score of a pixel tells whether it lies in a mask, 1 at best. IoU: "
    "overlap of the mask with the pixels above a threshold, as share of both together, at the best threshold here."
)
MAP_COLUMNS = ("cell", "images", "pixel AUROC", "average precision", "best IoU", "at grey levels")


def naming(
    scene: Scene, verdicts: Verdicts, settings: JudgeSettings, near: Sequence[Sequence[Neighbour]]
) -> list[Section]:
    """One section a synthetic set: which share a classifier trained on the real images names right."""
    yard = _right(verdicts.real, verdicts.yardstick)
    return [
        _naming(scene, made, named, verdicts, yard, settings, near[number] if near else ())
        for number, (made, named) in enumerate(zip(scene.synthetic, verdicts.synthetic, strict=True))
    ]


def _naming(
    scene: Scene,
    made: ImageSet,
    named: Named,
    verdicts: Verdicts,
    yard: dict[Category, tuple[int, int, int]],
    settings: JudgeSettings,
    near: Sequence[Neighbour],
) -> Section:
    known = {defect for _, defect in named.categories}
    unknown = sorted({picture.defect for picture in made.records} - known)
    found = _right(named, made)
    called = named.names(1)
    rows: list[list[Value]] = []
    wrong: list[str] = []
    strength = skill(yard, scene.normal)
    numbers = {}
    for cell, members in made.categories.items():
        if cell[1] not in known or not len(members):
            continue
        right, product, count = found[cell]
        real = yard.get(cell)
        share, of_product = share_interval(right, count), share_interval(product, count)
        beside = share_interval(real[0], real[2]) if real and real[2] else None
        as_normal = sum(called[n] == scene.normal for n in members)
        calm = as_normal if cell[1] != scene.normal else None
        known_real = real[2] if real else 0
        rows.append(
            [cell_name(cell), count, _per_cent(share), known_real, _per_cent(beside), calm, _per_cent(of_product)]
        )
        if (strength is None or strength >= FIT) and _is_wrong(share, beside):
            wrong.append(f"{cell_name(cell)} ({right} of {count} named right, {as_normal} named {scene.normal})")
        numbers[cell_name(cell)] = {
            "images": count, "right defect": share, "right product": of_product, "named normal": as_normal,
            "real, right defect": beside, "real images": real[2] if real else 0,
        }  # fmt: skip
    total = [sum(found[cell][part] for cell in found if cell[1] in known) for part in range(3)]
    lines = [f"WRONG DEFECT: {'; '.join(wrong)}."] if wrong else []
    beside_real = _beside(found, yard)
    if total[2]:
        lines.append(
            f"A classifier trained on the real images names the defect of {total[0]} and the product of {total[1]} of "
            f"{total[2]} images of {made.name} as their folders do{beside_real}."
        )
    unchanged = sum(one.unchanged for n, one in enumerate(near) if scene.is_defective(made.records[n]))
    if unchanged:
        lines.append(f"{unchanged} images labelled as defects are normal images without a visible change.")
    accusing = lines[: bool(wrong)]
    warnings = [f"{', '.join(unknown)}: not a class of {scene.real.name}, so not judged."] if unknown else []
    if strength is None or strength < FIT:
        known_of = "cannot be tested on held-out defects" if strength is None else (
            f"names only {100 * strength:.0f} % of held-out real defects right (mean of the cells)"
        )  # fmt: skip
        warnings.append(f"The classifier {known_of}: it is a poor judge, and so are the shares below.")
    return Section(
        f"Right defect, right product: {made.name}",
        lines=lines,
        warnings=warnings,
        tables=[
            Table(
                "Named right by a classifier that has seen real images alone",
                [
                    "cell",
                    "synthetic images",
                    "defect right (%)",
                    "real images",
                    "defect right of these (%)",
                    f"synthetic named {scene.normal}",
                    "product right (%)",
                ],
                rows,
                note=_note(scene, settings)
                + " In brackets 95 % intervals (Wilson). A cell is called wrong where its interval lies "
                "wholly below that of real images (without any: below one half), and the classifier names "
                f"at least {100 * FIT:.0f} % of real defects right.",
            )
        ],
        pictures=[_grid(scene, made)],
        numbers={
            "classifier": {"name": "small", "seed": scene.seed, **asdict(settings)},
            "skill": strength,
            "cells": numbers,
        },
        findings=[Finding(made.name, line, "against" if line in accusing else "neither") for line in lines],
        method=[
            (
                "classifier that names the defects",
                f"{settings.folds} small ones, {settings.steps} steps of {settings.batch_size} images of "
                f"{settings.image_size} x {settings.image_size}, seed {scene.seed}",
            )
        ],
    )


def _beside(found: dict[Category, tuple[int, int, int]], yard: dict[Category, tuple[int, int, int]]) -> str:
    """How real images of the same cells fare, every cell weighing the same; empty without any."""
    both = [(found[cell], yard[cell]) for cell in found if found[cell][2] and yard.get(cell, (0, 0, 0))[2]]
    if not both:
        return ""
    made, real = (100 * float(np.mean([right / count for right, _, count in side])) for side in zip(*both, strict=True))
    return f"; defects right as mean of the cells: {made:.0f} %, of real images that it has not seen {real:.0f} %"


def _per_cent(share: Interval | None) -> Interval | None:
    return share and Interval(100 * share.value, 100 * share.low, 100 * share.high)


def _note(scene: Scene, settings: JudgeSettings) -> str:
    how = (
        f"Mean of {settings.folds} small classifiers from scratch, each trained on all but one part of the real images "
        f"({settings.steps} steps of {settings.batch_size}, {settings.image_size} pixels). "
    )
    if scene.test is not None:
        return how + f"The real ones beside are those of {scene.test.name}."
    return how + "The real ones beside are each judged by the classifier that has not seen it."


def skill(yard: dict[Category, tuple[int, int, int]], normal: str) -> float | None:
    """Mean share of real images named right over the defective cells; None where none could be judged."""
    shares = [right / count for (_, defect), (right, _, count) in yard.items() if count and defect != normal]
    return float(np.mean(shares)) if shares else None


def _is_wrong(share: Interval, beside: Interval | None) -> bool:
    return share.high < (0.5 if beside is None else beside.low)


def _right(named: Named, images: ImageSet) -> dict[Category, tuple[int, int, int]]:
    """Images of each cell whose defect, and whose product, is named right, and those judged."""
    products, defects, judged = named.names(0), named.names(1), named.judged
    return {
        cell: (
            sum(defects[n] == cell[1] for n in members if judged[n]),
            sum(products[n] == cell[0] for n in members if judged[n]),
            int(judged[members].sum()),
        )
        for cell, members in images.categories.items()
    }


def _grid(scene: Scene, made: ImageSet) -> Pictures:
    """Real and synthetic images of each cell, one row each, evenly taken from the folder."""
    rows = []
    for cell, members in made.categories.items():
        for images, numbers in ((scene.real, scene.real.categories.get(cell, [])), (made, members)):
            places = np.unique(np.linspace(0, len(numbers) - 1, min(GRID, len(numbers))).round().astype(int))
            shown = [images.records[numbers[place]].path for place in places]
            rows.append(PictureRow(f"{cell_name(cell)}: {len(shown)} of {len(numbers)} in {images.name}", shown))
    return Pictures("Real against synthetic", rows, "Of each product and defect real images, and synthetic ones below.")


def background(scene: Scene, known: Sequence[Sequence[Painting | None]]) -> list[Section]:
    """One section a synthetic set: how far its images are from their sources, and its masks from what changed."""
    return [_background(made, rows) for made, rows in zip(scene.synthetic, known, strict=True)]


def _background(made: ImageSet, known: Sequence[Painting | None]) -> Section:
    title = f"Background kept: {made.name}"
    missing = sum(row is None for row in known)
    if missing == len(known):
        line = f"{made.name} does not tell what its images were painted on; background drift cannot be measured."
        return Section(title, warnings=[line])
    rows: list[list[Value]] = []
    numbers = {}
    for cell, members in made.categories.items():
        change = mean_change(row for n in members if (row := known[n]) is not None)
        if change is not None:
            share = None if change.defect_share is None else 100 * change.defect_share
            rows.append([cell_name(cell), change.images, change.everywhere, change.outside, share])
            numbers[cell_name(cell)] = change
    outside = [row.outside for row in known if row is not None and row.outside is not None]
    lines = [f"No masks of {made.name}: only the difference over the whole image is known."]
    if outside:
        lines = [
            f"Outside the masks of the defects {made.name} differs from its sources by {np.mean(outside):.2f} grey "
            "levels of 255 in the mean."
        ]
    lost = [f"{missing} of {len(known)} images have no source of their size any more and are left out."]
    warnings = lost if missing else []
    table = Table(
        "Mean difference from the sources, grey levels of 255",
        ["cell", "images", "everywhere", "outside the mask", "mask covers (% of the image)"],
        rows,
    )
    tables = [table]
    counts = {cell: _mask_counts(made, members) for cell, members in made.categories.items()}
    score = "Score: the difference from the source. "
    tables += _map_tables("What was changed against the masks", counts, score + MAPS)
    return Section(
        title, lines, warnings, tables, numbers={"cells": numbers, "masks": _map_numbers(counts)},
        findings=[Finding(made.name, lines[0])] if outside else [],
    )  # fmt: skip


def _mask_counts(made: ImageSet, members: Sequence[int]) -> PixelCounts:
    counts = PixelCounts()
    for n in members:
        picture = made.records[n]
        if picture.mask is None:
            continue
        try:
            found = difference(picture)
        except DataError:
            continue  # counted as missing above
        if found is not None and found.mask is not None:
            counts.add(found.strength, found.mask)
    return counts


def restoration(scene: Scene, model: DefectModel) -> Section:
    """How well |x - G(x, anchor)| finds the real defects: of the held-out images where there are some, else of all."""
    images = scene.test or scene.real
    title = f"Defects found by restoring: {images.name}"
    masked = [
        n for n, picture in enumerate(images.records) if scene.is_defective(picture) and picture.mask is not None
    ]
    if not masked:
        line = f"{images.name} has no true masks (--masks DIR): where its defects are is unknown."
        return Section(title, warnings=[line])
    show = scene.stage("restoring")
    counts: dict[Category, PixelCounts] = {images.records[n].category: PixelCounts() for n in masked}
    for done, n in enumerate(masked):
        picture = images.records[n]
        image, mask = read_image(picture.path), read_mask(picture.mask) if picture.mask else None
        if mask is not None and mask.shape == image.pixels.shape[:2]:
            change = np.abs(restoration_change(image, model)) * 255
            grey = change if change.ndim == 2 else change.mean(axis=2)
            counts[picture.category].add(np.clip(blurred(grey.astype(np.float32), BLUR), 0, 255), mask)
        show(done + 1, len(masked))
    whole = sum(counts.values(), PixelCounts()).score()
    line = "No masks of the images' size." if whole is None else (
        f"Restoring by model {model.info.name} finds the defects of {whole.images} real images with a pixel AUROC of "
        f"{whole.auroc:.3f}; it has been shown no masks."
    )  # fmt: skip
    warnings = [] if scene.test else ["The model may have been trained on these images; --test DATA names others."]
    note = f"Score: what restoring changes, in grey levels, blurred by {BLUR} pixels. " + MAPS
    return Section(
        title, [line], warnings, _map_tables("Restoration against true masks", counts, note),
        numbers={"blur": BLUR, "model": model.info.weights_sha256, "cells": _map_numbers(counts)},
    )  # fmt: skip


def _map_tables(title: str, counts: dict[Category, PixelCounts], note: str) -> list[Table]:
    rows: list[list[Value]] = []
    for name, score in _map_numbers(counts).items():
        if score is not None:
            rows.append([name, score.images, score.auroc, score.precision, score.iou, score.threshold])
    return [Table(title, MAP_COLUMNS, rows, note)] if rows else []


def _map_numbers(counts: dict[Category, PixelCounts]) -> dict:
    found = {cell_name(cell): count.score() for cell, count in counts.items() if count.images}
    return found | ({"all": sum(counts.values(), PixelCounts()).score()} if len(found) > 1 else {})
