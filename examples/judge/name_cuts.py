"""Which defect does a cut at native scale show? For large images with small defects, squeezed beyond recognition whole.

    python examples/judge/name_cuts.py --real TRAIN --held-out TEST --synthetic OUT [MORE ...] [--seeds 3]

A classifier learns from cuts of TRAIN: around the true masks, and anywhere on normal images. It is asked about the real
cuts of TEST, the yardstick, and about synthetic ones of OUT; told is the share that it names right, mean and deviation.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from classifier import Classifier, fit, predict
from folders import (
    NORMAL_NAMES,
    Pixels,
    Shown,
    cells,
    print_table,
    read_grey,
    read_mask,
    real_defects,
    require,
    synthetic_defects,
    write_json,
)

CUT = 96  # pixels
CUTS = 4  # of every image to learn from
OFFSET = 24  # pixels by which a defect may lie beside the middle
NORMAL = "normal"

Cut = tuple[str, Pixels]


def defect_cuts(shown: Iterable[Shown], count: int, rng: np.random.Generator) -> Iterator[Cut]:
    """Class and square, `count` of every image, around pixels of its mask."""
    for item in shown:
        image, where = read_grey(item.file, None), np.argwhere(read_mask(item.mask, None))
        if len(where):
            for _ in range(count):
                yield item.defect, square(image, rng.choice(where) + rng.integers(-OFFSET, OFFSET + 1, 2))


def normal_cuts(root: Path, count: int, rng: np.random.Generator) -> Iterator[Cut]:
    """Class and square, `count` of every normal image, anywhere."""
    for _, kind, files in cells(root):
        if kind.lower() in NORMAL_NAMES:
            for file in files:
                image = read_grey(file, None)
                for _ in range(count):
                    yield NORMAL, square(image, rng.integers(0, image.shape))


def square(image: Pixels, centre: np.ndarray) -> Pixels:
    """CUT x CUT pixels about a centre, kept within the image, which is continued by reflection where it is smaller."""
    short = [max(CUT - n, 0) for n in image.shape]
    image = np.pad(image, [(0, n) for n in short], mode="symmetric")
    top, left = np.clip(np.asarray(centre) - CUT // 2, 0, np.array(image.shape) - CUT)
    return image[top : top + CUT, left : left + CUT]


def shares(model: Classifier, cuts: list[Cut]) -> dict[str, float]:
    """Share of the cuts of every class that are named right."""
    names, _ = predict(model, torch.from_numpy(np.stack([cut for _, cut in cuts])[:, None]))
    right = np.array([model.defects[n] == kind for n, (kind, _) in zip(names.tolist(), cuts, strict=True)])
    kinds = np.array([kind for kind, _ in cuts])
    return {kind: float(right[kinds == kind].mean()) for kind in sorted(set(kinds.tolist()))}


def main() -> None:
    """Parse, train and ask once a seed, print."""
    parser = argparse.ArgumentParser(description="Name the defects of cuts at native scale.")
    parser.add_argument("--real", type=Path, required=True, help="folder to learn from, true masks in REAL.masks")
    parser.add_argument("--held-out", type=Path, required=True, help="other real images, the yardstick")
    parser.add_argument("--synthetic", type=Path, nargs="+", required=True, help="what synthesize --masks wrote")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--json", type=Path, help="write the table here too")
    options = parser.parse_args()

    real = require(real_defects(options.real), options.real, "real defects with masks")
    synthetic = [item for root in options.synthetic for item in synthetic_defects(root) if item.mask.is_file()]
    require(synthetic, options.synthetic[0], "synthetic defects with masks")
    found: dict[str, list[float]] = {}
    for seed in range(options.seeds):
        rng = np.random.default_rng(seed)
        learnt = [*defect_cuts(real, CUTS, rng), *normal_cuts(options.real, 1, rng)]
        kinds = sorted({kind for kind, _ in learnt})
        torch.manual_seed(seed)
        model = Classifier(kinds, ["any"])
        images = torch.from_numpy(np.stack([cut for _, cut in learnt])[:, None])
        labels = torch.tensor([kinds.index(kind) for kind, _ in learnt])
        labels = (labels, torch.zeros_like(labels))
        for _ in fit(model, images, labels, epochs=options.epochs, seed=seed, balanced=True):
            pass
        held_out = [*defect_cuts(real_defects(options.held_out), 1, rng), *normal_cuts(options.held_out, 1, rng)]
        for name, cuts in (("real", held_out), ("synthetic", [*defect_cuts(synthetic, 1, rng)])):
            for kind, share in shares(model, cuts).items():
                found.setdefault(f"{name} {kind}", []).append(share)
    rows: dict[str, dict[str, float | int | None]] = {
        name: {"named right": float(np.mean(some)), "deviation": float(np.std(some))} for name, some in found.items()
    }
    print_table(rows, "cuts")
    write_json(options.json, rows)


if __name__ == "__main__":
    main()
