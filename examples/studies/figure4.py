"""Figure 4 of the paper: grids of every method's images, latent-guided and reference-guided.

    python examples/studies/figure4.py DATA --out studies/demo [--test DIR] [--presets small,stylegan2] [--columns 8]
           [--slim|--full] [--training-steps N|NAME=N,...|--minutes M] [--per-category N]

The models and images are those of table1.py with the same OUT. OUT/figure4_latent.png: real images, then a row of
images of each method, a column a product and defect in turn. OUT/figure4_reference.png: sources, references, then what
each method that takes references makes of them.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import common
import comparison
from figure3 import pairs_of, transferred

from defectaug.data.index import DataIndex
from defectaug.data.sample import Category


def figure4(options: argparse.Namespace) -> None:
    """Trains, makes images and draws."""
    real, test = common.real_images(options)
    models = list(comparison.trained(real, options))
    made = [folder for one in models for guide, folder in comparison.guided(one, real, options) if guide == "latents"]
    categories = [one for one in real.counts() if one.defect != real.normal and real.category(*one)]
    latent = [real_row(real, categories, options.columns), *(row(one, categories, options.columns) for one in made)]
    common.picture(latent, options.out / "figure4_latent.png")
    lines = [f"![rows: real images, {', '.join(one.preset for one in models)}](figure4_latent.png)"]
    guided = [one for one in models if one.references]
    if guided:
        sources, references = pairs_of(test, test.defects[1:], options.columns)
        rows = [transferred(one.model, one.preset, sources, references, options) for one in guided]
        shown = [sources, [sample.path for sample in references], *rows]
        common.picture(shown, options.out / "figure4_reference.png")
        names = ", ".join(one.preset for one in guided)
        lines.append(f"![rows: sources, references, {names}](figure4_reference.png)")
    common.write("figure4", options, "Images of every method (Figure 4)", lines, [], {})


def real_row(index: DataIndex, categories: Sequence[Category], columns: int) -> list[Path | None]:
    """Real images of the categories in turn."""
    return in_turn([[sample.path for sample in index.category(*one)] for one in categories], columns)


def row(folder: Path, categories: Sequence[Category], columns: int) -> list[Path | None]:
    """Images of a folder, in the same order; None where a method makes none of a category."""
    return in_turn([sorted((folder / one.product / one.defect).glob("*.png")) for one in categories], columns)


def in_turn(lists: Sequence[Sequence[Path]], count: int) -> list[Path | None]:
    """The first of each list, then the second of each, and so on."""
    found: list[Path | None] = []
    for number in range(count):
        chosen = lists[number % len(lists)]
        place = number // len(lists)
        found.append(chosen[place % len(chosen)] if chosen else None)
    return found


if __name__ == "__main__":
    parser = common.parser(__doc__)
    parser.add_argument("--columns", type=int, default=8)
    common.main(figure4, comparison.options_of(parser))
