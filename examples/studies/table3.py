"""Table 3 of the paper: diversity, and with it fidelity, of synthetic images, by product and defect.

    python examples/studies/table3.py DATA --model models/demo --out studies/demo [--synthetic DIR ...]
           [--lpips-weights FILE|DIR]

Where the pretrained networks of LPIPS and FID cannot be had, other measures take their place under their own names.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import common

from defectaug.errors import ConfigError


def table3(options: argparse.Namespace) -> None:
    """Measures and writes the tables."""
    import defectaug

    if options.model is None and not options.synthetic:
        raise ConfigError("--model DIR or --synthetic DIR: name what makes, or holds, the synthetic images")
    real, _ = common.real_images(options)
    folders = list(options.synthetic)
    if options.model is not None:
        folders += common.synthetic(options.model, real, options)
    result = defectaug.evaluate(
        real.root,
        folders,
        weights=options.lpips_weights,
        cache=options.out / "cache",
        only=("fidelity",),
        seed=options.seed,
        device=options.device,
        log=common.log,
        **common.reading(real, options),
    )
    lines = [f"- {line}" for section in result.sections for line in (*section.warnings, *section.lines)]
    tables = [table for section in result.sections for table in section.tables]
    common.write("table3", options, "Diversity of the synthetic images (Table 3)", lines, tables, result.as_json())


if __name__ == "__main__":
    parser = common.parser(__doc__)
    parser.add_argument("--synthetic", action="append", type=Path, default=[], metavar="DIR")
    parser.add_argument("--lpips-weights", type=Path, metavar="FILE|DIR")
    common.main(table3, parser.parse_args())
