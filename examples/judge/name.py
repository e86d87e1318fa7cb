"""How many images a classifier names right that has learnt from other real ones.

    python examples/judge/name.py --learn LABELLED FOLDER [MORE ...] [--crop S] [--json FILE]

It is shown whole images; with `--crop S` squares of S pixels at native scale, around the masks in LABELLED.masks and
FOLDER.masks, and anywhere on normal images. Name real images that no training has seen, to know how good it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from records import Record, Rows, by_name, ended, parser, records, write

from defectaug.device import choose
from defectaug.io.images import resize_float
from defectaug.metrics.defects import SIDE, anywhere, named, near_defect, small_classifier

CROPS = 4  # of every defective image to learn from
OFFSET = 0.25  # share of a crop's side by which the defect may lie beside its middle


def views(found: Sequence[Record], side: int | None, count: int, rng: np.random.Generator) -> dict[str, NDArray]:
    """What the classifier is shown of every category, (N, S, S); `count` crops of a defective image."""

    def of(one: Record) -> list[NDArray]:
        if side is None:
            return [np.rint(resize_float(one.image, (SIDE, SIDE))).astype(np.uint8)]
        if one.normal:
            return [anywhere(one.image, side, rng)]
        offset = round(OFFSET * side)
        return [near_defect(one.image, one.mask, side, rng, offset=offset) for _ in range(count * one.has_mask)]

    shown = {name: [view for one in some for view in of(one)] for name, some in by_name(found).items()}
    return {name: np.stack(some) for name, some in shown.items() if some}


def main() -> None:
    made = parser(__doc__, steps=1500)
    made.add_argument("--learn", type=Path, required=True, help="real images to learn from")
    made.add_argument("--crop", type=int, metavar="S", help="side of the crops (default: whole images)")
    options = made.parse_args()

    def run() -> None:
        learn, folders = records(options.learn), {folder: records(folder) for folder in options.folders}
        right: dict[tuple[str, str], list[tuple[float, float]]] = {}
        for seed in range(options.seeds):
            rng = np.random.default_rng(seed)
            asked = {f"{folder}:{name}": some for folder, found in folders.items()
                     for name, some in views(found, options.crop, 1, rng).items()}  # fmt: skip
            known = views(learn, options.crop, CROPS, rng)
            for group, names in named(known, asked, small_classifier(choose("auto"), options.steps), seed).items():
                folder, _, cell = group.rpartition(":")
                answers = [[a == b for a, b in zip(name.split("/"), cell.split("/"), strict=True)] for name in names]
                right.setdefault((folder, cell), []).append(tuple(100 * np.mean(answers, 0)))
        rows: Rows = {}
        for (folder, cell), shares in right.items():
            (product, defect), (_, deviation) = np.mean(shares, 0), np.std(shares, 0)
            rows.setdefault(cell, {}).update(
                {f"{folder}: defect (%)": defect, f"{folder}: ±": deviation, f"{folder}: product (%)": product}
            )
        write(rows, options.json)

    raise SystemExit(ended(run))


if __name__ == "__main__":
    main()
