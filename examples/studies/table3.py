"""Table 3 of the paper: diversity, and with it fidelity, of synthetic images, by product and defect.

    python examples/studies/table3.py DATA --model models/demo --out studies/demo [--synthetic DIR ...]
           [--lpips-weights FILE|DIR] [--presets all|small,stylegan2]

With --presets there is a row for each of these recipes instead, whose models and images table1.py has left in OUT, or
which are made now. Where the pretrained networks of LPIPS and FID cannot be had, other measures take their place under
their own names.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import common
import comparison

from defectaug.errors import ConfigError
from defectaug.reporting.sections import Table

FIELDS = (
    ("LPIPS", "lpips", "lpips_real"),
    ("mean over pairs of images", "diversity", "diversity_real"),
    ("mean over pairs with the same nearest real image", "clustered", None),
)
NOTE = "The higher, the more they differ. With the same nearest real one: next to nothing where they are copies."


def table3(options: argparse.Namespace) -> None:
    """Measures and writes the tables."""
    import defectaug

    if not (options.model or options.synthetic or options.presets):
        raise ConfigError("--model DIR, --synthetic DIR or --presets all: name what makes, or holds, the images")
    real, _ = common.real_images(options)
    folders = list(options.synthetic)
    if options.model is not None:
        folders += common.synthetic(options.model, real, options)
    rows = comparison.rows(real, options) if options.presets else []
    result = defectaug.evaluate(
        real.root,
        [*folders, *(folder for _, _, folder in rows)],
        weights=options.lpips_weights,
        cache=options.out / "cache",
        only=("fidelity",),
        seed=options.seed,
        device=options.device,
        log=common.log,
        **common.reading(real, options),
    )
    numbers = {section.title: section.numbers for section in result.sections}
    compared = {f"Fidelity and diversity: {folder}" for _, _, folder in rows}
    single = [section for section in result.sections if section.title not in compared]
    lines = [f"- {line}" for section in single for line in (*section.warnings, *section.lines)]
    tables = [table for section in single for table in section.tables]
    tables += of_methods(rows, numbers, comparison.parts_of(real)) if rows else []
    common.write("table3", options, "Diversity of the synthetic images (Table 3)", lines, tables, result.as_json())


def of_methods(rows: Sequence[comparison.Row], numbers: Mapping[str, Any], parts: Sequence[str]) -> list[Table]:
    """A table a number that is there, by every measure that compares pairs."""
    found = []
    for title, measure in numbers[f"Fidelity and diversity: {rows[0][2]}"]["measures"].items():
        of_real = comparison.by_part(measure["groups"], parts)
        for name, value, real in FIELDS:
            if of_real[-1] is not None and getattr(of_real[-1], value) is not None:
                last = [one and real and getattr(one, real) for one in of_real]
                table = comparison.table(title, rows, numbers, parts, value, ["real images", None, *last], NOTE)
                found.append(Table(f"{title}: {name}", table.columns, table.rows, table.note))
    return found


if __name__ == "__main__":
    parser = common.parser(__doc__)
    parser.add_argument("--synthetic", action="append", type=Path, default=[], metavar="DIR")
    parser.add_argument("--lpips-weights", type=Path, metavar="FILE|DIR")
    common.main(table3, comparison.options_of(parser))
