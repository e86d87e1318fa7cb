"""What the comparisons of methods share: which methods there are, their models, and their images as one folder each."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import common

from defectaug.config.resolve import recipe_names, resolve
from defectaug.data.index import DataIndex
from defectaug.errors import ConfigError, TrainingError
from defectaug.io import manifest
from defectaug.methods.base import method_spec
from defectaug.reporting.fidelity import Fidelity
from defectaug.reporting.sections import Table, Value

HERE = Path(__file__).parent
WIDE = "dtgan"  # the method whose recipes have the paper's size, and slim.yaml another
ALL = "all"  # --presets
Row = tuple[str, str, Path]
"""Recipe, guide, folder of images."""


@dataclass(frozen=True)
class Compared:
    """A trained model of a recipe.

    Args:
        preset: the recipe.
        model: folder of the model.
        references: whether it can be guided by references.
    """

    preset: str
    model: Path
    references: bool


def options_of(made: argparse.ArgumentParser) -> argparse.Namespace:
    """The options of a comparison, read from the command line."""
    made.add_argument("--presets", metavar="all|A,B,...", help="recipes to compare; all: one of every method")
    common.training_options(made)
    return made.parse_args()


def presets(options: argparse.Namespace) -> list[str]:
    """The recipes that are compared: those named, else one of every method, without ablations and the smallest ones.

    Raises:
        ConfigError: one that is named there, or by --training-steps, is none.
    """
    known = recipe_names()
    if unknown := [name for name in options.training_steps if name and name not in known]:
        raise ConfigError(f"--training-steps: '{unknown[0]}' is no recipe; known: {', '.join(known)}")
    if options.presets in (None, ALL):
        return [name for name in known if not name.startswith("ablation_") and not name.endswith("tiny")]
    named = options.presets.split(",")
    if unknown := [name for name in named if name not in known]:
        raise ConfigError(f"--presets: '{unknown[0]}' is no recipe; known: {', '.join(known)}")
    return named


def settings_file(preset: str, slim: bool) -> Path | None:
    """What a recipe is changed by: full ones by `full/NAME.yaml` where there is one, slim ones of the paper's method by
    `slim.yaml`."""
    if slim:
        return HERE / "slim.yaml" if resolve(preset).method == WIDE else None
    own = HERE / "full" / f"{preset}.yaml"
    return own if own.is_file() else None


def trained(real: DataIndex, options: argparse.Namespace) -> Iterator[Compared]:
    """A model of every recipe, trained if it is not there. One that cannot be trained is told of and left out."""
    slim = common.is_slim(options)
    for preset in presets(options):
        try:
            model = common.trained(preset, real, options, preset, settings_file(preset, slim))
        except TrainingError as error:
            common.log(f"{preset}: left out, its training has failed ({error})")
            continue
        yield Compared(preset, model, method_spec(resolve(preset).method).references)


def guided(one: Compared, real: DataIndex, options: argparse.Namespace) -> Iterator[tuple[str, Path]]:
    """Its images of all defects, a folder a guide: "latents", and "references" where it can be guided by these."""
    yield "latents", joined(common.synthetic(one.model, real, options, name=f"{one.preset}-latents"))
    if one.references:
        guide = common.references(real, real.products, options.out / "references" / "all")
        made = common.synthetic(one.model, real, options, name=f"{one.preset}-references", reference=guide)
        yield "references", joined(made)


def rows(real: DataIndex, options: argparse.Namespace) -> list[Row]:
    """The images of every method, by every guide that it takes."""
    models = trained(real, options)
    return [(one.preset, guide, folder) for one in models for guide, folder in guided(one, real, options)]


def latent_sets(real: DataIndex, options: argparse.Namespace) -> dict[str, list[Path]]:
    """The latent-guided images of every method, by recipe."""
    models = trained(real, options)
    return {one.preset: common.synthetic(one.model, real, options, name=f"{one.preset}-latents") for one in models}


def table(title: str, found: Sequence[Row], numbers: Mapping[str, Any], parts: Sequence[str], value: str,
          real: Sequence[Value], note: str) -> Table:  # fmt: skip
    """A row a method and guide, a column a part and one for all: one field of :class:`Fidelity` by a measure.

    Args:
        title: of the measure.
        found: the images.
        numbers: of the sections of `evaluate`, by their titles.
        parts: the columns, of :func:`parts_of`.
        value: which number.
        real: the last row, of real images: its name, a cell for the guide, and its values.
        note: below the table.
    """
    cells = [
        [preset, guide, *(one and getattr(one, value) for one in by_part(groups(numbers, folder, title), parts))]
        for preset, guide, folder in found
    ]
    return Table(title, ["recipe", "guided by", *parts, "all"], [*cells, list(real)], note)


def groups(numbers: Mapping[str, Any], folder: Path, title: str) -> Mapping[str, Fidelity]:
    """What `evaluate` found of a folder by the measure ``title``, by the names of its groups."""
    return numbers[f"Fidelity and diversity: {folder}"]["measures"].get(title, {}).get("groups", {})  # type: ignore[no-any-return]


def parts_of(index: DataIndex) -> list[str]:
    """What the columns of a table are: products, or the categories of the only one."""
    if len(index.products) > 1:
        return list(index.products)
    return [str(one) for one in index.counts() if one.defect != index.normal]


def by_part(found: Mapping[str, Fidelity], parts: Sequence[str]) -> list[Fidelity | None]:
    """The numbers of each part, then those over all; a product of one defect is listed by its category alone."""
    chosen: list[Fidelity | None] = []
    for part in parts:
        own = [one for name, one in found.items() if name.startswith(f"{part}/")]
        alone = own[0] if len(own) == 1 else None
        chosen.append(found.get(f"product {part}", found.get(part, alone)))
    return [*chosen, list(found.values())[-1] if found else None]


def joined(folders: Sequence[Path]) -> Path:
    """The images of several output folders as one, with one manifest: hard links, or copies."""
    base = folders[0].parent
    whole = base.with_name(f"{base.name}-all")
    if not whole.exists():
        part = whole.with_name(f".{whole.name}.part")
        lines = [(folder, line) for folder in folders for line in manifest.read_lines(folder / manifest.NAME)]
        for folder, line in lines:
            (part / line["file"]).parent.mkdir(parents=True, exist_ok=True)
            common.link_file(folder / line["file"], part / line["file"])
        numbered = [line | {"index": number} for number, (_, line) in enumerate(lines)]
        manifest.write_lines(part / manifest.NAME, numbered)
        os.replace(part, whole)
    return whole
