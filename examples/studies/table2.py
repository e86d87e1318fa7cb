"""Table 2 of the paper: methods of augmentation, with and without synthetic images.

    python examples/studies/table2.py DATA --model models/demo --out studies/demo [--test DIR] [--slim|--full]
           [--synthetic NAME=DIR ...] [--augmentations none,traditional,cutmix,cutout,mixup] [--sweep 0.5,1,2,4]
           [--control] [--presets all|small,stylegan2]

--presets adds the latent-guided images of these recipes' models, which table1.py has left in OUT, or trains them now.
--synthetic adds another tool's folder under a name. --sweep also tries so many synthetic images per real defective one.
--control adds training defects, cut out by their masks or by the model's, and pasted on normal images.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import common
import comparison

from defectaug.errors import ConfigError


def table2(options: argparse.Namespace) -> None:
    """Trains and writes the table."""
    from defectaug.reporting.study import difference_table, error_table, image_table, sentences

    if not (options.model or options.synthetic or options.presets):
        raise ConfigError("--model DIR, --synthetic NAME=DIR or --presets all: name what makes, or holds, the images")
    changes: dict[str, object] = {}
    if options.augmentations:
        kinds = tuple(options.augmentations.split(","))
        changes["augmentations"] = kinds
        changes["synthetic_with"] = tuple(kind for kind in kinds if kind != "none") or kinds
    if options.sweep:
        changes["sweep"] = tuple(float(amount) for amount in options.sweep.split(","))
    settings = common.settings_of(options, **changes)
    real, test = common.real_images(options)
    sets = dict(named(entry) for entry in options.synthetic)
    if options.model is not None:
        sets[options.model.resolve().name] = common.synthetic(options.model, real, options)
    if options.presets:
        sets |= comparison.latent_sets(real, options)
    models = [options.model] if options.model else []
    result = common.study(real, sets, settings, test, options, models, common.control_of(options, options.model))
    lines = [*result.warnings, *sentences(result), *result.notes]
    tables = [error_table(result), difference_table(result), image_table(result)]
    title = "Methods of augmentation (Table 2)"
    common.write("table2", options, title, [f"- {line}" for line in lines], tables, result.as_json())


def named(entry: str) -> tuple[str, list[Path]]:
    """NAME=DIR."""
    name, _, folder = entry.partition("=")
    if not name or not folder:
        raise ConfigError(f"--synthetic {entry}: write NAME=DIR")
    return name, [Path(folder)]


if __name__ == "__main__":
    parser = common.parser(__doc__)
    parser.add_argument("--synthetic", action="append", default=[], metavar="NAME=DIR")
    parser.add_argument("--augmentations", metavar="A,B,...")
    parser.add_argument("--sweep", metavar="X,Y,...")
    common.control_option(parser)
    common.main(table2, comparison.options_of(parser))
