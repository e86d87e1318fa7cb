"""Can a classifier tell real defects from synthetic ones? Both are cut around the defect.

    python examples/judge/real_or_synthetic.py --real DATA [MORE ...] --synthetic OUT [--seeds 3]

Half of the cuts train it, the other half are judged; 50 % right is as good as synthetic images can be. Every
cell gives as many real as synthetic cuts, so that the mixture gives nothing away.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from classifier import Classifier, fit, predict
from folders import (
    Pixels,
    Shown,
    by_cell,
    print_table,
    read_grey,
    read_mask,
    real_defects,
    require,
    synthetic_defects,
    write_json,
)

CUT = 48
KINDS = ["real", "synthetic"]


def cut_around(item: Shown, side: int = CUT) -> Pixels:
    """The square of `side` pixels around the mask's pixel nearest to its centre, kept within the image."""
    image, mask = read_grey(item.file), read_mask(item.mask)
    where = np.argwhere(mask) if mask.any() else np.array([[mask.shape[0] // 2, mask.shape[1] // 2]])
    centre = where[np.abs(where - where.mean(0)).sum(1).argmin()]
    top, left = np.clip(centre - side // 2, 0, np.array(image.shape) - side)
    return image[top : top + side, left : left + side]


def halves(real: list[Shown], synthetic: list[Shown], seed: int) -> tuple[list[tuple[Shown, int]], ...]:
    """(image, kind) for training and for judging: as many of each kind in every cell, drawn by `seed`."""
    rng = np.random.default_rng(seed)
    train: list[tuple[Shown, int]] = []
    test: list[tuple[Shown, int]] = []
    groups = [by_cell(real), by_cell(synthetic)]
    for cell in sorted(set(groups[0]) & set(groups[1])):
        count = min(len(groups[0][cell]), len(groups[1][cell])) // 2
        for kind, group in enumerate(groups):
            order = rng.permutation(len(group[cell]))[: 2 * count]
            train += [(group[cell][i], kind) for i in order[:count]]
            test += [(group[cell][i], kind) for i in order[count:]]
    return train, test


def accuracy(
    train: list[tuple[Shown, int]], test: list[tuple[Shown, int]], seed: int, epochs: int
) -> dict[str, float]:
    """Share of the held-out cuts told right after training on the others, of every cell and of all."""
    torch.manual_seed(seed)
    model = Classifier(KINDS, ["any"])
    images, kinds = batch_of(train)
    for _ in fit(model, images, (kinds, torch.zeros_like(kinds)), epochs=epochs, seed=seed):
        pass
    images, kinds = batch_of(test)
    right = (predict(model, images)[0] == kinds).numpy()
    cells = np.array([f"{item.product}/{item.defect}" for item, _ in test])
    return {cell: float(right[cells == cell].mean()) for cell in sorted(set(cells))} | {
        "all": float(right.mean())
    }


def batch_of(cuts: list[tuple[Shown, int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Cuts [N, 1, CUT, CUT] (uint8) and their kinds [N]."""
    images = np.stack([cut_around(item) for item, _ in cuts])[:, None]
    return torch.from_numpy(images), torch.tensor([kind for _, kind in cuts])


def main() -> None:
    """Parse, train and judge once a seed, print."""
    parser = argparse.ArgumentParser(description="Tell real defects from synthetic ones.")
    parser.add_argument(
        "--real", type=Path, nargs="+", required=True, help="folders with true masks in REAL.masks"
    )
    parser.add_argument(
        "--synthetic", type=Path, required=True, help="what defectaug synthesize --masks wrote"
    )
    parser.add_argument("--masks", type=Path, help="masks of the synthetic images (default: SYNTHETIC.masks)")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--json", type=Path, help="write the table here too")
    options = parser.parse_args()

    real = [item for root in options.real for item in real_defects(root)]
    require(real, options.real[0], "real defects with masks")
    synthetic = [item for item in synthetic_defects(options.synthetic, options.masks) if item.mask.is_file()]
    require(synthetic, options.synthetic, "synthetic defects with masks")
    runs = []
    for seed in range(options.seeds):
        train, test = halves(real, synthetic, seed)
        if not train:
            raise SystemExit(
                f"{options.synthetic}: no product x defect has two real and two synthetic images"
            )
        runs.append(accuracy(train, test, seed, options.epochs))
    rows: dict[str, dict[str, float | int | None]] = {}
    for cell in runs[0]:
        shares = [run[cell] for run in runs]
        rows[cell] = {"told right": float(np.mean(shares)), "deviation": float(np.std(shares))}
    print_table(rows)
    write_json(options.json, rows)


if __name__ == "__main__":
    main()
