"""Figure 3 of the paper: the ablations (a) to (e), as a picture and in numbers.

    python examples/studies/figure3.py DATA --out studies/demo [--defect scratch] [--minutes 30] [--columns 6]
           [--variants a,b,c,d,e]

(a) StarGAN v2; (b) + style-defect branches; (c) + defect and product classifiers; (d) + separate decoding; (e) + anchor
domain and noise. Each is trained for as long as the others and paints the same references on the same normal images:
OUT/figure3.png shows them below the sources and references. Numbers: fidelity, and the share named right.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import common

from defectaug.errors import ConfigError
from defectaug.evaluation.sections import Table

STEPS = {
    "a": "StarGAN v2",
    "b": "+ style-defect branches",
    "c": "+ FG and BG classifiers",
    "d": "+ separate decoding",
    "e": "+ anchor and noise",
}
SIDE, GAP = 128, 4  # pixels of the picture


def figure3(options: argparse.Namespace) -> None:
    """Trains the variants, paints, draws and measures."""
    import defectaug

    variants = options.variants.split(",")
    if unknown := [name for name in variants if name not in STEPS]:
        raise ConfigError(f"--variants: '{unknown[0]}' is none of {', '.join(STEPS)}")
    real, test = common.real_images(options)
    known = [defect for defect in real.defects if defect != real.normal]
    if options.defect and options.defect not in known:
        raise ConfigError(f"--defect {options.defect}: not in {options.data}; known: {', '.join(known)}")
    guide = common.references(real, real.products, options.out / "references" / "all")
    made: dict[str, list[Path]] = {}
    for name in variants:
        model = common.trained(f"ablation_{name}", real, options, f"ablation_{name}", options.minutes)
        made[name] = common.synthetic(model, real, options, name=f"ablation_{name}", reference=guide)
    defect = options.defect or known[0]
    picture = draw({name: next(f for f in some if f.name == defect) for name, some in made.items()}, options)
    tables, numbers = [], {}
    for name, folders in made.items():
        result = defectaug.evaluate(
            real.root, folders, test=test.root, cache=options.out / "cache", only=("fidelity", "correctness"),
            seed=options.seed, device=options.device, say=common.say, **common.reading(real, options),
        )  # fmt: skip
        numbers[name] = result.as_json()
        for table in (table for section in result.sections for table in section.tables):
            tables.append(Table(f"({name}) {STEPS[name]}: {table.title}", table.columns, table.rows, table.note))
    lines = [f"![rows: source, reference, {', '.join(made)}]({picture.name})"]
    common.write("figure3", options, "Ablations (Figure 3)", lines, tables, numbers)


def draw(folders: dict[str, Path], options: argparse.Namespace) -> Path:
    """OUT/figure3.png: a column an image, rows of source, reference and every variant."""
    from PIL import Image

    lines = {
        name: [json.loads(text) for text in (folder / "manifest.jsonl").read_text(encoding="utf-8").splitlines()]
        for name, folder in folders.items()
    }
    first = next(iter(lines.values()))
    columns = min(options.columns, len(first))
    places = [round(n * (len(first) - 1) / max(1, columns - 1)) for n in range(columns)]
    rows: list[list[Path]] = [[Path(first[place][key]) for place in places] for key in ("source", "reference")]
    rows += [[folders[name] / lines[name][place]["file"] for place in places] for name in folders]
    step = SIDE + GAP
    sheet = Image.new("RGB", (len(places) * step - GAP, len(rows) * step - GAP), "white")
    for y, row in enumerate(rows):
        for x, path in enumerate(row):
            with Image.open(path) as image:
                sheet.paste(image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC), (x * step, y * step))
    sheet.save(options.out / "figure3.png")
    return options.out / "figure3.png"


if __name__ == "__main__":
    parser = common.parser(__doc__)
    parser.add_argument("--defect", metavar="D", help="shown in the picture (default: the first)")
    parser.add_argument("--minutes", type=float, default=30, help="training time of each variant")
    parser.add_argument("--columns", type=int, default=6)
    parser.add_argument("--variants", default="a,b,c,d,e")
    common.main(figure3, parser.parse_args())
