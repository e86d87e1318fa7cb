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
from pathlib import Path

import common

from defectaug.data.index import DataIndex
from defectaug.errors import ConfigError
from defectaug.evaluation.api import EvaluationResult
from defectaug.evaluation.sections import Interval, Table, Value

STEPS = {
    "a": "StarGAN v2",
    "b": "+ style-defect branches",
    "c": "+ FG and BG classifiers",
    "d": "+ separate decoding",
    "e": "+ anchor and noise",
}
SLIM = Path(__file__).with_name("slim.yaml")
SIDE, GAP = 128, 4  # pixels of the picture


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
        f"({name}) {STEPS[name]}": common.trained(
            f"ablation_{name}", real, options, f"ablation_{name}", config
        )
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
        seed=options.seed, device=options.device, say=common.say, **common.reading(real, options),
    )  # fmt: skip
    lines = [f"![rows: source, reference, {', '.join(models)}]({picture.name})"]
    common.write("figure3", options, "Ablations (Figure 3)", lines, [summary(result, made)], result.as_json())


def draw(models: Mapping[str, Path], defect: str, test: DataIndex, options: argparse.Namespace) -> Path:
    """OUT/figure3.png: a column a pair, rows of source, reference and every model. Test images, seen by no model."""
    from PIL import Image

    import defectaug

    sources = spread_over(test, test.normal, options.columns)
    references = spread_over(test, defect, options.columns)
    references = references[1:] + references[:1]  # mostly of another product than the source
    pairs = list(zip(sources, references, strict=False))
    rows: list[list[Path]] = [list(row) for row in zip(*pairs, strict=True)]
    for place, model in enumerate(models.values()):
        painter = defectaug.load_model(model, options.device)
        folder = options.out / "pairs" / f"{place}-{painter.info.weights_sha256[:8]}-{defect}"
        row = [folder / f"{number}.png" for number in range(len(pairs))]
        for (source, reference), file in zip(pairs, row, strict=True):
            file.parent.mkdir(parents=True, exist_ok=True)
            defectaug.transfer(source, reference, model=painter, defect=defect, out=file, overwrite=True)
        rows.append(row)
    step = SIDE + GAP
    sheet = Image.new("RGB", (len(pairs) * step - GAP, len(rows) * step - GAP), "white")
    for y, row in enumerate(rows):
        for x, path in enumerate(row):
            with Image.open(path) as image:
                sheet.paste(image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC), (x * step, y * step))
    grey = all(Image.open(path).mode == "L" for row in rows for path in row)
    (sheet.convert("L") if grey else sheet).save(options.out / "figure3.png", optimize=True)
    return options.out / "figure3.png"


def spread_over(index: DataIndex, defect: str, count: int) -> list[Path]:
    """Images of a class, of the products in turn."""
    cells = [cell for product in index.products if (cell := index.cell(product, defect))]
    return [cells[n % len(cells)][n // len(cells) % len(cells[n % len(cells)])].path for n in range(count)]


def summary(result: EvaluationResult, made: Mapping[str, Sequence[Path]]) -> Table:
    """A row a model, the mean of its products' cells in each column."""
    numbers = {section.title: section.numbers for section in result.sections}
    defects = [folder.name for folder in next(iter(made.values()))]
    rows: list[list[Value]] = []
    for name, folders in made.items():
        named = [numbers[f"Right defect, right product: {folder}"]["cells"] for folder in folders]
        kept = [numbers[f"Background kept: {folder}"].get("cells", {}) for folder in folders]
        groups = [numbers[f"Fidelity and diversity: {folder}"]["groups"] for folder in folders]
        every = [cell for cells in named for cell in cells.values()]
        row: list[Value] = [name]
        row += [per_cent(cell["right defect"] for cell in cells.values()) for cells in named]
        row.append(per_cent(cell["right product"] for cell in every))
        row.append(mean([change.everywhere for cells in kept for change in cells.values()]))
        whole = [list(group.values())[-1] for group in groups]
        for one in whole:
            row += [one.frechet and one.frechet.value, one.diversity and one.diversity.value]
        rows.append(row)
    real: list[Value] = ["real images"]  # the same for every model
    real += [per_cent(cell["real, right defect"] for cell in cells.values()) for cells in named]
    real += [None, None]
    for one in whole:
        real += [None, one.diversity_real and one.diversity_real.value]
    rows.append(real)
    extractor = numbers[f"Fidelity and diversity: {next(iter(made.values()))[0]}"]["extractor"]
    columns = ["model", *(f"{defect} named right (%)" for defect in defects), "product named right (%)"]
    columns.append("change (grey levels)")
    for defect in defects:
        columns += [f"{defect}: Fréchet distance", f"{defect}: diversity"]
    note = (
        "Named by a classifier of real images; mean of the products' cells. Change from the source: mean of the image. "
        f"Fréchet distance to the real images, and mean distance of pairs, by {extractor['name']}."
    )
    return Table("Reference-guided images", columns, rows, note)


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
