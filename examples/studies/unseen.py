"""A product that training has never seen: do the other products' defects, painted on its normal images, help?

    python examples/studies/unseen.py DATA --product C --out OUT [--test DIR] [--model DIR] [--slim|--full]

The paper names this as future work. A model is trained on all products but that one (--model names one that was),
paints on its normal images, and a classifier learns from the other products' images, that one's normal images, and
these; there is no real defect of that product but in the test images.
"""

from __future__ import annotations

import argparse

import common

from defectaug.data.index import DataIndex, index_folder
from defectaug.errors import ConfigError
from defectaug.reporting.study import difference_table, error_table, sentences


def unseen(options: argparse.Namespace) -> None:
    """Trains, synthesizes and writes the table."""
    real, test = common.real_images(options)
    product = options.product
    if product not in real.products or len(real.products) < 2:
        raise ConfigError(f"--product {product}: must be one of several in {options.data}: {', '.join(real.products)}")
    known = part(real.where(lambda sample: sample.product != product), options, f"without-{product}")
    without = part(common.few(real, product, 0, options.seed), options, f"normal-{product}")
    model = options.model or common.trained(f"without-{product}", known, options, options.preset)
    made = common.synthetic(model, without, options, name=f"on-{product}", product=product)
    settings = common.settings_of(options, augmentations=("traditional",), synthetic_with=("traditional",))
    result = common.study(without, {"synthetic": made}, settings, test, options, [model])
    lines = [f"- {line}" for line in (*result.warnings, *sentences(result), *result.notes)]
    tables = [error_table(result), difference_table(result)]
    common.write("unseen", options, f"Product {product} never seen by the model", lines, tables, result.as_json())


def part(index: DataIndex, options: argparse.Namespace, name: str) -> DataIndex:
    """Some of the real images, as links in OUT."""
    folder = options.out / name
    if not folder.exists():
        common.link(index, folder.with_name(f".{name}")).rename(folder)
    return index_folder(folder)


if __name__ == "__main__":
    parser = common.parser(__doc__)
    parser.add_argument("--product", required=True, metavar="P", help="the product that the model does not see")
    parser.add_argument("--preset", default="small")
    common.training_options(parser)
    common.main(unseen, parser.parse_args())
