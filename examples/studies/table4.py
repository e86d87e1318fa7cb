"""Table 4 of the paper: few defective images of one product against all of them.

    python examples/studies/table4.py DATA --out studies/demo [--product A] [--few 20] [--test DIR]
           [--model DIR --model-few DIR | --preset NAME --training-steps N] [--control]

The smaller set keeps FEW images of each defect of one product, and all else. A model is trained on each of the two
sets, unless --model and --model-few name such models. Both classifiers are tested on the same images.
--control adds training defects of each set, cut out by their masks or by its model's, and pasted on normal images.
"""

from __future__ import annotations

import argparse

import common

from defectaug.benchmark.result import ALL, StudyResult
from defectaug.data.index import DataIndex, index_folder
from defectaug.errors import ConfigError
from defectaug.reporting.sections import Table, Value
from defectaug.reporting.study import per_cent, points, sentences


def table4(options: argparse.Namespace) -> None:
    """Trains on both sets and writes the table."""
    real, test = common.real_images(options)
    product = options.product or real.products[0]
    if product not in real.products:
        raise ConfigError(f"--product {product}: not in {options.data}; known: {', '.join(real.products)}")
    settings = common.settings_of(options, augmentations=("traditional",), synthetic_with=("traditional",))
    sets = {f"{options.few}{product}": reduced(real, product, options), "all": real}
    given = {f"{options.few}{product}": options.model_few, "all": options.model}
    results: dict[str, StudyResult] = {}
    for name, index in sets.items():
        model = given[name] or common.trained(name, index, options, options.preset)
        made = common.synthetic(model, index, options, name=name)
        find = common.control_of(options, model)
        results[name] = common.study(index, {"DT-GAN": made}, settings, test, options, [model], find)
    lines = [f"- {name}, {line}" for name, one in results.items() for line in (*one.warnings, *sentences(one))]
    numbers = {name: one.as_json() for name, one in results.items()}
    common.write("table4", options, "Few defects against all (Table 4)", lines, [table(results)], numbers)


def reduced(real: DataIndex, product: str, options: argparse.Namespace) -> DataIndex:
    """The data folder with few defects of one product, as links in OUT."""
    folder = options.out / f"real-{options.few}{product}"
    if not folder.exists():
        part = common.link(common.few(real, product, options.few, options.seed), folder.with_name(f".{folder.name}"))
        part.rename(folder)
    return index_folder(folder)


def table(results: dict[str, StudyResult]) -> Table:
    """Error rates in per cent and what the synthetic images change of them, a row a product."""
    names = (*next(iter(results.values())).products, ALL)
    rows: list[list[Value]] = [[name] for name in names]
    columns = ["product"]
    for name, result in results.items():
        columns += [f"{name}: {one.name}" for one in result.conditions]
        columns += [f"{name}: difference" for _ in result.comparisons]
        for row, product in zip(rows, names, strict=True):
            row += [per_cent(one, product) for one in result.conditions]
            row += [points(one.differences[product]) for one in result.comparisons]
    note = "Mean ± standard deviation over the seeds; differences in percentage points with their 95 % intervals."
    return Table("Error rate (%)", columns, rows, note)


if __name__ == "__main__":
    parser = common.parser(__doc__)
    parser.add_argument("--product", metavar="P", help="whose defects are made few (default: the first product)")
    parser.add_argument("--few", type=int, default=20, metavar="N")
    parser.add_argument("--model-few", type=common.Path, metavar="DIR", help="a model trained on the smaller set")
    parser.add_argument("--preset", default="auto")
    common.control_option(parser)
    common.training_options(parser)
    common.main(table4, parser.parse_args())
