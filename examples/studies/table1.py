"""Table 1 of the paper: how far the images of every method are from real ones, by product and over all.

    python examples/studies/table1.py DATA --out studies/demo [--test DIR] [--presets small,stylegan2] [--slim|--full]
           [--training-steps N|--minutes M] [--per-cell N] [--inception FILE|DIR]

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

from defectaug.reporting.fidelity import Fidelity
from defectaug.reporting.sections import Table, Value

REAL = "real images, one half to the other"
NOTE = (
    "Fréchet distances, 95 % intervals by bootstrap in brackets. They shrink with the number of images: rows of one "
    "study compare, studies of different sizes do not. Last row: mean of halvings, of half as many images."
)
Row = tuple[str, str, Path]
"""Recipe, guide, folder of images."""


def table1(options: argparse.Namespace) -> None:
    """Trains, makes images, measures and writes the table."""
    import defectaug

    real, test = common.real_images(options)
    models = comparison.trained(real, options)
    rows: list[Row] = [
        (one.preset, guide, folder) for one in models for guide, folder in comparison.guided(one, real, options)
    ]
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
    tables = [table(title, rows, numbers, test.products) for title in titles]
    lines = [f"Against {len(test)} real images of {test.root} that no model has seen; see figure4.py for pictures."]
    common.write("table1", options, "Distances of every method's images (Table 1)", lines, tables, result.as_json())


def table(title: str, rows: Sequence[Row], numbers: Mapping[str, Any], products: Sequence[str]) -> Table:
    """A row a method and guide, a column a product, by one measure; last the real images among themselves."""
    found = []
    groups: Mapping[str, Fidelity] = {}
    for preset, guide, folder in rows:
        groups = numbers[f"Fidelity and diversity: {folder}"]["measures"].get(title, {}).get("groups", {})
        cells: list[Value] = [one and one.frechet for one in by_product(groups, products)]
        found.append([preset, guide, *cells])
    own: list[Value] = [one and one.frechet_real for one in by_product(groups, products)]
    return Table(title, ["recipe", "guided by", *products, "all"], [*found, [REAL, None, *own]], NOTE)


def by_product(groups: Mapping[str, Fidelity], products: Sequence[str]) -> list[Fidelity | None]:
    """The numbers of each product, then those over all; a product of one defect is listed by its category alone."""
    found: list[Fidelity | None] = []
    for product in products:
        own = [one for name, one in groups.items() if name.startswith(f"{product}/")]
        found.append(groups.get(f"product {product}", own[0] if len(own) == 1 else None))
    return [*found, list(groups.values())[-1] if groups else None]


if __name__ == "__main__":
    parser = common.parser(__doc__)
    parser.add_argument("--inception", type=Path, metavar="FILE|DIR", help="weights of Inception-v3")
    common.main(table1, comparison.options_of(parser))
