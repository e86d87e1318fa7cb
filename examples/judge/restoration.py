"""How well |image - its restoration| finds the defect: pixel AUROC against the true masks.

    python examples/judge/restoration.py --real DATA --restored FOLDER [--blur 1.5]

FOLDER holds restored images under the names of the real ones, <product>/<class>/NAME; DATA.masks the true
masks.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from folders import Shown, by_cell, print_table, read_grey, read_mask, real_defects, require, write_json
from numpy.typing import NDArray

Floats = NDArray[np.floating]


def pixel_auroc(scores: Floats, masks: NDArray[np.bool_]) -> float:
    """Area under the ROC curve of scores against masks of any, but the same, shape.

    The chance that a defective pixel scores higher than a sound one, a tie counting half (Mann-Whitney U).

    Raises:
        ValueError: the shapes differ, or the masks hold one kind of pixel only.
    """
    if scores.shape != masks.shape:
        raise ValueError(f"scores are {scores.shape}, masks {masks.shape}")
    positive = masks.ravel().astype(bool)
    count, total = int(positive.sum()), positive.size
    if count in (0, total):
        raise ValueError("masks must hold defective and sound pixels")
    _, group, sizes = np.unique(scores.ravel(), return_inverse=True, return_counts=True)
    last = np.cumsum(sizes)
    mean_rank = last - (sizes - 1) / 2  # ranks from 1; ties share the mean of theirs
    rank_sum = mean_rank[group[positive]].sum()
    return float((rank_sum - count * (count + 1) / 2) / (count * (total - count)))


def blurred(image: Floats, sigma: float) -> Floats:
    """Gaussian blur of an image [H, W], mirrored at the border; `sigma` in pixels, 0 leaves it as it is."""
    if sigma <= 0:
        return image
    reach = min(int(np.ceil(3 * sigma)), min(image.shape) - 1)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    kernel /= kernel.sum()
    for axis in (0, 1):
        padded = np.pad(image, [(reach, reach) if a == axis else (0, 0) for a in (0, 1)], mode="reflect")
        length = image.shape[axis]
        parts = (weight * np.take(padded, range(k, k + length), axis) for k, weight in enumerate(kernel))
        image = sum(parts, np.zeros_like(image))
    return image


def score(item: Shown, real: Path, restored: Path, sigma: float) -> tuple[Floats, NDArray[np.bool_]]:
    """The change that restoring made, and the true mask, of one image; at the size of the image."""
    image = read_grey(item.file, None)
    found = next((restored / item.file.relative_to(real)).parent.glob(f"{item.file.stem}.*"))
    change = np.abs(image.astype(np.float32) - read_grey(found, None))
    return blurred(change, sigma), read_mask(item.mask, None)


def main() -> None:
    """Parse, score cell after cell, print."""
    parser = argparse.ArgumentParser(description="Pixel AUROC of the image against its restoration.")
    parser.add_argument("--real", type=Path, required=True, help="defective images, true masks in REAL.masks")
    parser.add_argument(
        "--restored", type=Path, required=True, help="the same names with the defect taken away"
    )
    parser.add_argument(
        "--blur", type=float, default=1.5, help="Gaussian blur of the change, pixels (default: 1.5)"
    )
    parser.add_argument("--json", type=Path, help="write the table here too")
    options = parser.parse_args()

    found = [
        item
        for item in real_defects(options.real)
        if any((options.restored / item.file.relative_to(options.real)).parent.glob(f"{item.file.stem}.*"))
    ]
    require(found, options.restored, f"restored images under the names of those in {options.real}")
    rows: dict[str, dict[str, float | int | None]] = {}
    scores: list[Floats] = []
    masks: list[NDArray[np.bool_]] = []
    for cell, items in by_cell(found).items():
        both = [score(item, options.real, options.restored, options.blur) for item in items]
        cell_scores = np.concatenate([change.ravel() for change, _ in both])
        cell_masks = np.concatenate([mask.ravel() for _, mask in both])
        rows[cell] = {"images": len(items), "pixel AUROC": pixel_auroc(cell_scores, cell_masks)}
        scores.append(cell_scores)
        masks.append(cell_masks)
    overall = pixel_auroc(np.concatenate(scores), np.concatenate(masks))
    rows["all"] = {"images": len(found), "pixel AUROC": overall}
    print_table(rows)
    write_json(options.json, rows)


if __name__ == "__main__":
    main()
