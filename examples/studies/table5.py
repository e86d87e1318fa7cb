"""Table 5 of the paper: defects transferred from the same product, from another one, and from all.

    python examples/studies/table5.py DATA --model models/demo --out studies/demo [--test DIR] [--slim|--full]
           [--control]

Reference-guided images. "v-Others k" gives every product the defects of the k-th product after it; as in the paper,
the table also shows the best of these for each product, which is a choice by the test images. --control adds each
product's own defects, cut out by their masks or by the model's, and pasted on its normal images.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import common

from defectaug.benchmark.result import ALL, StudyResult
from defectaug.data.index import DataIndex
from defectaug.errors import ConfigError
from defectaug.reporting.sections import Table, Value
from defectaug.reporting.study import difference_table, error_table, per_cent, sentences


def table5(options: argparse.Namespace) -> None:
    """Synthesizes, trains and writes the table."""
    model = common.needs_model(options)
    real, test = common.real_images(options)
    if len(real.products) < 2:
        raise ConfigError(f"{options.data}: one product; there is no other one to take defects from")
    settings = common.settings_of(options, augmentations=("traditional",), synthetic_with=("traditional",))
    sets = {
        name: [folder for pair in givers.items() for folder in guided(model, real, *pair, options)]
        for name, givers in plans(real.products).items()
    }
    result = common.study(real, sets, settings, test, options, [model], common.control_of(options, model))
    lines = [f"- {line}" for line in (*result.warnings, *sentences(result), *result.notes)]
    tables = [as_in_the_paper(result), error_table(result), difference_table(result)]
    common.write("table5", options, "Transfer between products (Table 5)", lines, tables, result.as_json())


def plans(products: tuple[str, ...]) -> dict[str, dict[str, tuple[str, ...]]]:
    """For each set the products whose defects each product gets."""
    count = len(products)
    found: dict[str, dict[str, tuple[str, ...]]] = {"v-Same": {product: (product,) for product in products}}
    for shift in range(1, count):
        found[f"v-Others {shift}"] = {
            product: (products[(place + shift) % count],) for place, product in enumerate(products)
        }
    return found | {"v-All": dict.fromkeys(products, products)}


def guided(
    model: Path, real: DataIndex, product: str, givers: tuple[str, ...], options: argparse.Namespace
) -> list[Path]:
    """Images of one product with defects of these products; none of a defect that they lack."""
    name = "all" if len(givers) > 1 else givers[0]
    root = common.references(real, givers, options.out / "references" / name)
    there = {s.defect for s in real.samples if s.product in givers and s.defect != real.normal}
    return common.synthetic(
        model, real, options, name=f"{product}-from-{name}", product=product, reference=root, only=sorted(there)
    )


def as_in_the_paper(result: StudyResult) -> Table:
    """Rows of products; columns Trad-Aug, v-Same, the best of v-Others, v-All."""
    others = [one for one in result.conditions if one.synthetic and one.synthetic.startswith("v-Others")]
    single = {one.synthetic: one for one in result.conditions}
    rows: list[list[Value]] = []
    for product in (*result.products, ALL):
        best = min(others, key=lambda one: one.error_rate(product)[0])
        shown = (single[None], single["v-Same"], best, single["v-All"])
        rows.append([product, *(per_cent(one, product) for one in shown)])
    note = f"Error rate (%), mean ± standard deviation. v-Others: the best of {len(others)}, chosen by the test images."
    return Table("Cross-product transfer", ["product", "Trad-Aug", "v-Same", "v-Others", "v-All"], rows, note)


if __name__ == "__main__":
    parser = common.parser(__doc__)
    common.control_option(parser)
    common.main(table5, parser.parse_args())
