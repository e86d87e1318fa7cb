"""Figure 3 of the paper: the ablations (a) to (e), as a picture and in numbers.

    python examples/studies/figure3.py DATA --out studies/demo [--model DIR] [--defect scratch] [--columns 6]
           [--variants a,b,c,d,e] [--slim|--full] [--training-steps N]

(a) StarGAN v2; (b) + style-defect branches; (c) + defect and product classifiers; (d) + separate decoding; (e) + anchor
domain and noise. Each is trained for as long as the others and paints the same references on the same normal images:
OUT/figure3.png shows them below the sources and references, and below them what --model paints. Slim, all of them have
the widths, rates and length of slim.yaml; full, the paper's.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from itertools import repeat
from pathlib import Path
from typing import Any

import common

from defectaug.data.index import DataIndex
from defectaug.data.sample import Sample
from defectaug.errors import ConfigError
from defectaug.reporting.api import EvaluationResult
from defectaug.reporting.fidelity import Fidelity
from defectaug.reporting.sections import Interval, Table, Value

STEPS = {
    "a": "StarGAN v2",
    "b": "+ style-defect branches",
    "c": "+ FG and BG classifiers",
    "d": "+ separate decoding",
    "e": "+ anchor and noise",
}
SLIM = Path(__file__).with_name("slim.yaml")


def figure3(options: argparse.Namespace) -> None:
    """Trains the variants, paints, draws and measures."""
    import defectaug

    variants = options.variants.split(",")
    if unknown := [name for name in variants if name not in STEPS]:
        raise ConfigError(f"--variants: '{unknown[0]}' is none of {', '.join(STEPS)}")
    real, test = common.real_images(options)
    known = [defect for defect in real.defects if defect != real.normal]
    shown = options.defect or known[0]
    if shown not in known:
        raise ConfigError(f"--defect {shown}: not in {options.data}; known: {', '.join(known)}")
    guide = common.references(real, real.products, options.out / "references" / "all")
    config = SLIM if common.is_slim(options) else None
    models = {
        f"({name}) {STEPS[name]}": common.trained(f"ablation_{name}", real, options, f"ablation_{name}", config)
        for name in variants
    }
    if options.model is not None:
        models[options.model.resolve().name] = options.model
    picture = draw(models, shown, test, options)
    made = {
        name: common.synthetic(model, real, options, name=f"referred-{model.resolve().name}", reference=guide)
        for name, model in models.items()
    }
    result = defectaug.evaluate(
        real.root, [folder for folders in made.values() for folder in folders],
        test=test.root, cache=options.out / "cache", only=("fidelity", "correctness"),
        seed=options.seed, device=options.device, log=common.log, **common.reading(real, options),
    )  # fmt: skip
    lines = [f"![rows: source, reference, {', '.join(models)}]({picture.name})"]
    common.write("figure3", options, "Ablations (Figure 3)", lines, [summary(result, made)], result.as_json())


def draw(models: Mapping[str, Path], defect: str, test: DataIndex, options: argparse.Namespace) -> Path:
    """OUT/figure3.png: a column a pair of test images, rows of source, reference and every model."""
    sources, references = pairs_of(test, [defect], options.columns)
    rows = [transferred(model, str(place), sources, references, options) for place, model in enumerate(models.values())]
    return common.picture([sources, [one.path for one in references], *rows], options.out / "figure3.png")


def pairs_of(index: DataIndex, defects: Sequence[str], count: int) -> tuple[list[Path], list[Sample]]:
    """Normal images, and for each an image of the defects in turn, mostly of another product."""
    sources = [one.path for one in spread_over(index, index.normal, count)]
    each = [spread_over(index, defect, count) for defect in defects]
    references = [each[n % len(each)][n // len(each)] for n in range(count)]
    return sources, references[1:] + references[:1]


def transferred(
    model: Path, name: str, sources: Sequence[Path], references: Sequence[Sample], options: argparse.Namespace
) -> list[Path]:
    """What a model makes of the pairs: files of OUT/pairs."""
    import defectaug

    loaded = defectaug.load_model(model, options.device)
    folder = options.out / "pairs" / f"{name}-{loaded.info.weights_sha256[:8]}"
    row = [folder / f"{number}-{reference.defect}.png" for number, reference in enumerate(references)]
    for source, reference, file in zip(sources, references, row, strict=True):
        folder.mkdir(parents=True, exist_ok=True)
        asked = {"model": loaded, "defect": reference.defect, "out": file, "overwrite": True}
        defectaug.transfer(source, reference.path, **asked)
    return row


def spread_over(index: DataIndex, defect: str, count: int) -> list[Sample]:
    """Images of a class, of the products in turn."""
    found = [samples for product in index.products if (samples := index.category(product, defect))]
    return [found[n % len(found)][n // len(found) % len(found[n % len(found)])] for n in range(count)]


def summary(result: EvaluationResult, made: Mapping[str, Sequence[Path]]) -> Table:
    """A row a model, the mean of its products' cells in each column; last the real images."""
    numbers = {section.title: section.numbers for section in result.sections}
    some = next(iter(made.values()))
    rows = [row_of(name, folders, numbers) for name, folders in made.items()]
    rows.append(real_row(some, numbers))
    columns = ["model", *(f"{folder.name} named right (%)" for folder in some), "product named right (%)"]
    columns.append("change (grey levels)")
    for folder in some:
        columns += [f"{folder.name}: Fréchet distance", f"{folder.name}: diversity"]
    note = (
        "Named by a classifier of real images; mean of the products' cells. Change from the source: mean of the image. "
        "Fréchet distance to the real images, and mean distance of pairs, by "
        f"{next(iter(numbers[f'Fidelity and diversity: {some[0]}']['measures']))}."
    )
    return Table("Reference-guided images", columns, rows, note)


def row_of(name: str, folders: Sequence[Path], numbers: Mapping[str, Any]) -> list[Value]:
    """What was measured of one model's images, a folder a defect; `numbers` by section."""
    named = [numbers[f"Right defect, right product: {folder}"]["cells"].values() for folder in folders]
    kept = [numbers[f"Background kept: {folder}"].get("cells", {}).values() for folder in folders]
    row: list[Value] = [name]
    row += [per_cent(cell["right defect"] for cell in cells) for cells in named]
    row.append(per_cent(cell["right product"] for cells in named for cell in cells))
    row.append(mean([change.everywhere for changes in kept for change in changes]))
    for whole in map(all_cells, folders, repeat(numbers)):
        row += [whole.frechet and whole.frechet.value, whole.diversity and whole.diversity.value]
    return row


def real_row(folders: Sequence[Path], numbers: Mapping[str, Any]) -> list[Value]:
    """What was measured of the real images beside any model's."""
    row: list[Value] = ["real images"]
    for folder in folders:
        cells = numbers[f"Right defect, right product: {folder}"]["cells"].values()
        row.append(per_cent(cell["real, right defect"] for cell in cells))
    row += [None, None]
    for whole in map(all_cells, folders, repeat(numbers)):
        row += [None, whole.diversity_real and whole.diversity_real.value]
    return row


def all_cells(folder: Path, numbers: Mapping[str, Any]) -> Fidelity:
    """Fidelity and diversity over all products."""
    first = next(iter(numbers[f"Fidelity and diversity: {folder}"]["measures"].values()))
    return list(first["groups"].values())[-1]


def per_cent(shares: Iterable[Interval | None]) -> float | None:
    """Their mean in per cent."""
    return mean([100 * share.value for share in shares if share is not None])


def mean(values: Sequence[float]) -> float | None:
    """None of none."""
    return sum(values) / len(values) if values else None


if __name__ == "__main__":
    parser = common.parser(__doc__)
    parser.add_argument("--defect", metavar="D", help="shown in the picture (default: the first)")
    parser.add_argument("--columns", type=int, default=6)
    parser.add_argument("--variants", default="a,b,c,d,e")
    common.training_options(parser)
    common.main(figure3, parser.parse_args())
