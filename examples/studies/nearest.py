"""Nearest neighbours of every method's images: whether a method invents defects or gives its training images back.

    python examples/studies/nearest.py DATA --out studies/demo [--test DIR] [--presets small,stylegan2] [--columns 6]
           [--slim|--full] [--training-steps N|NAME=N,...|--minutes M] [--per-category N]

The models and images are those of table1.py with the same OUT. OUT/nearest.png: two rows a method, some of its
latent-guided images and below each the defective training image of its product that is most similar to it. The table
counts copies, and shows beside them how similar real images are that no model has seen.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from math import isnan
from pathlib import Path
from statistics import median
from typing import Any

import common
import comparison
from figure4 import row

from defectaug.reporting.sections import Table, Value

UNSEEN = "real images, unseen"
Found = tuple[str, str | None, Mapping[str, Any]]
"""Recipe, guide, and the numbers of `evaluate` on its images."""
NOTE = (
    "Similarity: correlation with the nearest defective training image of the product, also shifted or mirrored, where "
    "a defect was painted as well as over all; from {threshold} on it is a copy. Closer to training: share of pairs of "
    "a synthetic and an unseen real defect in which the synthetic one is more like a training defect, however turned, "
    "scaled or bent (50 % where they are alike); for methods whose defects can be located."
)


def nearest(options: argparse.Namespace) -> None:
    """Trains, makes images, compares them, draws and writes the table."""
    import defectaug

    real, test = common.real_images(options)
    rows = comparison.rows(real, options)
    arguments: dict[str, Any] = {"only": ("memorisation",), "seed": options.seed, "device": options.device}
    arguments |= {"cache": options.out / "cache", "log": common.log, **common.reading(real, options)}
    made = defectaug.evaluate(real.root, [folder for *_, folder in rows], test=test.root, **arguments)
    unseen = defectaug.evaluate(real.root, [test.root], **arguments)
    numbers = {section.title: section.numbers for result in (made, unseen) for section in result.sections}
    found: list[Found] = [(preset, guide, numbers[f"Memorisation: {folder}"]) for preset, guide, folder in rows]
    found.append((UNSEEN, None, numbers[f"Memorisation: {test.root}"]))
    categories = [one for one in real.counts() if one.defect != real.normal and real.category(*one)]
    shown = []
    for (_, guide, folder), (*_, own) in zip(rows, found, strict=False):
        if guide == "latents":
            images = row(folder, categories, options.columns)
            beside = neighbours(own)
            shown += [images, [path and beside.get(path.resolve()) for path in images]]
    common.picture(shown, options.out / "nearest.png")
    names = ", ".join(preset for preset, guide, _ in rows if guide == "latents")
    lines = [f"![two rows a method, its images and their nearest training images: {names}](nearest.png)"]
    shown_table = table(found, real.defects[1:])
    common.write("nearest", options, "Nearest training images of every method's", lines, [shown_table], numbers)


def neighbours(found: Mapping[str, Any]) -> dict[Path, Path]:
    """The nearest defective training image of each image."""
    pairs = ((one["file"], one["nearest defective"]) for one in found["neighbours"])
    return {Path(file).resolve(): Path(other) for file, other in pairs if other is not None}


def table(found: Sequence[Found], defects: Sequence[str]) -> Table:
    """A row a method and guide: copies, similarities, and what its defects repeat.

    Args:
        found: what `evaluate` found of the images of each.
        defects: a column each.
    """
    rows: list[list[Value]] = []
    for preset, guide, one in found:
        alike = [near["likeness"] for near in one["neighbours"] if near["likeness"] is not None]
        shares = {name: 100 * kind["closer to training"][0] for name, kind in one["defects"].items()}
        known = {} if preset == UNSEEN else {name: share for name, share in shares.items() if not isnan(share)}
        middle = (median(alike), max(alike)) if alike else (None, None)
        counts = (one["images"], one["copies"], one["unchanged"])
        rows.append([preset, guide, *counts, *middle, *(known.get(name) for name in defects)])
    columns = ["recipe", "guided by", "images", "copies", "unchanged normal images", "similarity, median", "greatest"]
    columns += [f"{defect} closer to training (%)" for defect in defects]
    note = NOTE.format(threshold=found[0][2]["threshold"]) if found else ""
    return Table("What every method repeats of its training images", columns, rows, note)


if __name__ == "__main__":
    parser = common.parser(__doc__)
    parser.add_argument("--columns", type=int, default=6)
    common.main(nearest, comparison.options_of(parser))
