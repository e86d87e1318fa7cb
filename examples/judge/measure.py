"""Measures synthetic defects beside real ones that no training has seen, and prints a table.

    python examples/judge/measure.py --real TRAIN --held-out TEST FOLDER [MORE ...] [--crop S] [--json FILE]

Masks lie in TRAIN.masks, TEST.masks and FOLDER.masks. Of every product and defect it tells:

- told from real ones (%): crops of S pixels about the defect that a classifier tells rightly to be real or synthetic;
  50 is as good as synthetic ones can be.
- change outside the mask, in grey levels of 255; overlap (IoU) of the mask with the reference's true mask.
- spread of places, shapes and looks: mean distance of two defects, over that of two defects of TEST.
- distance of tone and contrast: of their distributions from TEST's, over that of two halves of TEST.
- dark (%): defects that are darker than their surround.
- near-copies: pairs of defects that differ by less than a quarter of themselves.
- nearest training defect: least distance, 0 for a copy, also a moved one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from records import Record, Rows, by_name, ended, parser, records, write

from defectaug.device import choose
from defectaug.errors import DataError
from defectaug.io.masks import read_mask
from defectaug.metrics.changes import difference
from defectaug.metrics.defects import (
    Classify,
    DefectStatistics,
    around_defect,
    distribution_distance,
    iou,
    map_distances,
    nearest_training_defect,
    small_classifier,
    squeezed_mask,
    told_from_real,
)

NEAR_COPY = 0.25  # share of themselves by which the maps of two defects differ


def told_apart(real: Sequence[Record], made: Sequence[Record], side: int, classify: Classify, seeds: int) -> Rows:
    """Per cent of crops that are told rightly to be real or synthetic, and its deviation over the seeds."""

    def cut(found: Sequence[Record]) -> dict[str, NDArray[np.uint8]]:
        groups = by_name(found).items()
        return {name: np.stack([around_defect(one.image, one.mask, side) for one in some]) for name, some in groups}

    runs = [told_from_real(cut(real), cut(made), classify, seed) for seed in range(seeds)]
    shares = {name: 100 * np.array([run[name] for run in runs]) for name in runs[0]}
    return {
        name: {"told from real ones (%)": some.mean(), "± over the seeds": some.std()} for name, some in shares.items()
    }


def changes(made: Sequence[Record]) -> dict[str, float]:
    """Mean change outside the mask, and overlap with the reference's true mask, where these are known."""
    found = [difference(one.record) for one in made]
    outside = [one.outside for one in found if one is not None and one.outside is not None]
    overlaps = [
        iou(squeezed_mask(one.mask), squeezed_mask(read_mask(mask)))
        for one in made
        if one.record.reference is not None and (mask := mask_of(one.record.reference)).is_file()
    ]
    means = {"change outside the mask (grey levels)": outside, "IoU with the reference's mask": overlaps}
    return {name: float(np.mean(values)) for name, values in means.items() if values}


def mask_of(image: Path) -> Path:
    """Mask of ROOT/<product>/<defect>/NAME: ROOT.masks/<product>/<defect>/NAME.png."""
    root = image.parents[2]
    return (root.with_name(f"{root.name}.masks") / image.relative_to(root)).with_suffix(".png")


def variety(made: Sequence[Record], held_out: Sequence[Record], training: Sequence[Record]) -> dict[str, float]:
    """How the defects vary beside real ones, and how near they lie to each other and to those of the training."""
    ours, real, known = (
        DefectStatistics.of([one.image for one in some], [one.mask for one in some])
        for some in (made, held_out, training)
    )
    spread = real.spread()
    row = {f"spread of {name}s, over real": value / max(spread[name], 1e-9) for name, value in ours.spread().items()}
    for name in ("tone", "contrast"):
        row[f"distance of {name}"] = distribution_distance(getattr(ours, name), getattr(real, name))
    pairs = map_distances(ours.placed, ours.placed)[np.triu_indices(len(made), 1)]
    row["near-copies"] = float((pairs < NEAR_COPY).sum())
    for name, some in (("", ours), (" of real ones", real)):
        row[f"dark{name} (%)"] = 100 * float((some.tone < 0).mean())
        row[f"nearest training defect{name}"] = float(nearest_training_defect(some.centred, known.centred).min())
    return row


def main() -> None:
    made = parser(__doc__, steps=600)
    made.add_argument("--real", type=Path, required=True, help="the images that the model was trained on")
    made.add_argument("--held-out", type=Path, required=True, help="real images that no training has seen")
    made.add_argument("--crop", type=int, default=48, metavar="S", help="side of the crops (48)")
    options = made.parse_args()

    def run() -> None:
        real, held_out, synthetic = (
            [one for root in roots for one in records(root) if one.has_mask]
            for roots in ([options.real], [options.held_out], options.folders)
        )
        if not synthetic:
            raise DataError(f"{options.folders[0]}: no defective image with a mask")
        classify = small_classifier(choose("auto"), options.steps)
        told = told_apart([*real, *held_out], synthetic, options.crop, classify, options.seeds)
        of_real, of_held_out = by_name(real), by_name(held_out)
        rows: Rows = {}
        for name, some in by_name(synthetic).items():
            rows[name] = {"images": len(some)} | told.get(name, {}) | changes(some)
            groups = (some, of_held_out.get(name, []), of_real.get(name, []))
            if all(len(group) > 1 for group in groups):
                rows[name] |= variety(*groups)
        write(rows, options.json)

    raise SystemExit(ended(run))


if __name__ == "__main__":
    main()
