"""Train the judge on plenty of real images, and say how often it is right on images held out.

    python examples/demo/make_data.py plenty --test-per-cell 400 --seed 1
    python examples/judge/train_judge.py plenty --out judge.safetensors

With --test FOLDER the whole of DATA is trained on and FOLDER judged instead; with --balanced every cell
counts alike, which is how few, skewed images are best learnt from.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import torch
from classifier import Classifier, fit, predict, save, stack
from folders import cells, print_table, write_json
from torch import Tensor

Labelled = tuple[Tensor, Tensor, Tensor]
"""Images [N, 1, H, W] (uint8), their defect and their product [N]."""


def load_split(
    data: Path, defects: list[str], products: list[str], held_out: float
) -> tuple[Labelled, Labelled]:
    """The images of a folder: the last share `held_out` of every cell in the second part."""
    parts: tuple[list[Labelled], list[Labelled]] = ([], [])
    for product, defect, files in cells(data):
        images = stack(files)
        cut = len(files) - round(held_out * len(files))
        for part, chosen in zip(parts, (images[:cut], images[cut:]), strict=True):
            count = len(chosen)
            part.append(
                (
                    chosen,
                    torch.full((count,), defects.index(defect)),
                    torch.full((count,), products.index(product)),
                )
            )
    first, second = (tuple(torch.cat(column) for column in zip(*part, strict=True)) for part in parts)
    return first, second  # type: ignore[return-value]


def accuracy(model: Classifier, held_out: Labelled) -> dict[str, dict[str, float | int | None]]:
    """Share of images whose defect and product are named right, of every cell and of all."""
    images, defects, products = held_out
    named_defect, named_product = predict(model, images)
    table: dict[str, dict[str, float | int | None]] = {}
    for p, product in enumerate(model.products):
        for d, defect in enumerate(model.defects):
            cell = (products == p) & (defects == d)
            if cell.any():
                table[f"{product}/{defect}"] = {
                    "images": int(cell.sum()),
                    "defect": (named_defect == defects)[cell].float().mean().item(),
                    "product": (named_product == products)[cell].float().mean().item(),
                }
    table["all"] = {
        "images": len(images),
        "defect": (named_defect == defects).float().mean().item(),
        "product": (named_product == products).float().mean().item(),
    }
    return table


def main() -> None:
    """Parse, train, print."""
    parser = argparse.ArgumentParser(description="Train the judge of synthetic images.")
    parser.add_argument("data", type=Path, help="folder <product>/<class>/*")
    parser.add_argument("--out", type=Path, help="file to write the judge to (.safetensors)")
    parser.add_argument("--test", type=Path, help="judge this folder instead of a fifth of DATA")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--width", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--balanced", action="store_true", help="draw every product x class equally often")
    parser.add_argument("--json", type=Path, help="write the table here too")
    options = parser.parse_args()

    found = list(cells(options.data))
    if not found:
        sys.exit(f"{options.data}: no images at <product>/<class>/*")
    products, defects = sorted({cell[0] for cell in found}), sorted({cell[1] for cell in found})
    train, held_out = load_split(options.data, defects, products, 0.0 if options.test else 0.2)
    if options.test:
        held_out, _ = load_split(options.test, defects, products, 0.0)

    torch.manual_seed(options.seed)
    model = Classifier(defects, products, options.width)
    started = time.monotonic()
    losses = fit(
        model, train[0], train[1:], epochs=options.epochs, seed=options.seed, balanced=options.balanced
    )
    for epoch, loss in enumerate(losses, 1):
        print(f"epoch {epoch}: loss {loss:.3f}, {time.monotonic() - started:.0f} s", file=sys.stderr)

    table = accuracy(model, held_out)
    print_table(table, "held out")
    if options.out:
        save(model, options.out)
    write_json(options.json, table)


if __name__ == "__main__":
    main()
