"""Table 1 of the paper: how far the images of every method are from real ones, by product (of one
product, by defect) and over all.

    python examples/studies/table1.py DATA --out studies/demo [--test DIR] [--presets small,stylegan2] [--slim|--full]
           [--training-steps N|NAME=N,...|--minutes M] [--per-category N] [--inception FILE|DIR]

A model of every recipe is trained on DATA (recipes that come with a later version, too), and makes images by latents,
and by references where its method has these. The distances are those to real images that no model has seen: a method
that gives its training images back would else win. They are in features of EfficientNet-Lite1; FID is beside them where
Inception's weights can be had.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import common
import comparison

from defectaug.reporting.sections import Table

REAL = "real images, one half to the other"
NOTE = (
    "Fréchet distances, 95 % intervals by bootstrap in brackets. They shrink with the number of images: rows of one "
    "study compare, studies of different sizes do not. Last row: mean of halvings, of half as many images."
)


def table1(options: argparse.Namespace) -> None:
    """Trains, makes images, measures and writes the table."""
    import defectaug

    real, test = common.real_images(options)
    rows = comparison.rows(real, options)
    result = defectaug.evaluate(
        test.root,
        [folder for _, _, folder in rows],
        weights=options.inception,
        cache=options.out / "cache",
        only=("fidelity",),
        seed=options.seed,
        device=options.device,
        log=common.log,
        **common.reading(test, options),
    )
    numbers = {section.title: section.numbers for section in result.sections}
    titles = next(iter(numbers.values()))["measures"]
    tables = [table(title, rows, numbers, comparison.parts_of(test)) for title in titles]
    lines = [f"Against {len(test)} real images of {test.root} that no model has seen; see figure4.py for pictures."]
    common.write("table1", options, "Distances of every method's images (Table 1)", lines, tables, result.as_json())


def table(title: str, rows: Sequence[comparison.Row], numbers: Mapping[str, Any], parts: Sequence[str]) -> Table:
    """The distances by one measure; last those of the real images among themselves."""
    measured = [found for _, _, folder in rows if (found := comparison.groups(numbers, folder, title))]
    own = [one and one.frechet_real for one in comparison.by_part(measured[0] if measured else {}, parts)]
    return comparison.table(title, rows, numbers, parts, "frechet", [REAL, None, *own], NOTE)


if __name__ == "__main__":
    parser = common.parser(__doc__)
    parser.add_argument("--inception", type=Path, metavar="FILE|DIR", help="weights of Inception-v3")
    common.main(table1, comparison.options_of(parser))
