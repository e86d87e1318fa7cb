"""Measure a folder of synthetic images against the real ones, with a judge that the package never saw.

    python examples/judge/measure.py --real DATA --synthetic OUT --judge judge.safetensors --json numbers.json

DATA.masks and OUT.masks hold the masks. Of every product x defect it tells: the share of images whose defect
and product the judge names; how far the background moved, in grey levels; the overlap with the reference's
true mask; the spread of the synthetic defects over that of the real ones; and whether any two, or one and a
training image, are nearly alike. --held-out FOLDER gives real images not trained on: the yardstick of the
last two.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from classifier import Classifier, load, predict, stack
from folders import (
    Shown,
    by_cell,
    mask_of,
    print_table,
    read_grey,
    read_mask,
    real_defects,
    require,
    synthetic_defects,
    write_json,
)
from maps import Descriptors, describe, euclidean, iou, one_less_iou, pairs, relative_l1

NEARLY_ALIKE = 0.25
"""Two defects are nearly alike if their painted maps differ by less than this share of themselves."""

Row = dict[str, float | int | None]


def named_right(shown: list[Shown], judge: Classifier) -> Row:
    """Share of images whose defect and whose product the judge names."""
    defects, products = predict(judge, stack([item.file for item in shown]))
    right_defect = [judge.defects[d] == item.defect for d, item in zip(defects.tolist(), shown, strict=True)]
    right_product = [
        judge.products[p] == item.product for p, item in zip(products.tolist(), shown, strict=True)
    ]
    return {"defect": float(np.mean(right_defect)), "product": float(np.mean(right_product))}


def background_change(shown: list[Shown]) -> float | None:
    """Mean |output - source| in grey levels where the mask says no defect; None without masks or sources."""
    changes = []
    for item in shown:
        if item.source is None or not item.source.is_file() or not item.mask.is_file():
            continue
        output, source = read_grey(item.file, None), read_grey(item.source, None)
        mask = read_mask(item.mask, None)
        if output.shape == source.shape == mask.shape and not mask.all():
            changes.append(np.abs(output.astype(int) - source)[~mask].mean())
    return float(np.mean(changes)) if changes else None


def reference_overlap(shown: list[Shown]) -> float | None:
    """Mean IoU of the synthetic mask with the reference's true mask; None without references or masks."""
    overlaps = [
        iou(read_mask(item.mask), read_mask(mask_of(item.reference)))
        for item in shown
        if item.reference is not None and mask_of(item.reference).is_file() and item.mask.is_file()
    ]
    return float(np.mean(overlaps)) if overlaps else None


def descriptors(shown: list[Shown]) -> Descriptors | None:
    """Descriptors of the images that have a mask; None if fewer than two do."""
    masked = [item for item in shown if item.mask.is_file()]
    if len(masked) < 2:
        return None
    return describe([read_grey(item.file) for item in masked], [read_mask(item.mask) for item in masked])


def spreads(found: Descriptors) -> dict[str, float]:
    """Mean distance of two defects in place (pixels), shape (1 - IoU), look (grey levels) and painted map."""
    return {
        "place": float(pairs(euclidean(found.place, found.place)).mean()),
        "shape": float(pairs(one_less_iou(found.shape, found.shape)).mean()),
        "look": float(pairs(euclidean(found.look, found.look)).mean()),
        "map": float(pairs(relative_l1(found.painted, found.painted)).mean()),
    }


def modes(found: Descriptors) -> dict[str, float]:
    """Which kinds of defect there are: share of dark ones, contrast in grey levels, area in %."""
    strength = np.abs(found.look[:, 0])
    low, middle, high = np.quantile(strength, [0.1, 0.5, 0.9])
    small, medium, large = 100 * np.quantile(found.area, [0.1, 0.5, 0.9])
    return {
        "dark": float((found.look[:, 0] < 0).mean()),
        "contrast_10": float(low),
        "contrast_50": float(middle),
        "contrast_90": float(high),
        "area_10": float(small),
        "area_50": float(medium),
        "area_90": float(large),
    }


def nearest(found: Descriptors, trained_on: Descriptors, leave_one_out: bool = False) -> Row:
    """Distance to the most alike training defect: as it lies, and both moved to the middle."""
    row: Row = {}
    for name, here, there in (
        ("placed", found.painted, trained_on.painted),
        ("centred", found.centred, trained_on.centred),
    ):
        distances = relative_l1(here, there)
        if leave_one_out:
            np.fill_diagonal(distances, np.inf)
        row[f"{name}_min"] = float(distances.min())
        row[f"{name}_median"] = float(np.median(distances.min(1)))
    return row


def variety(synthetic: Descriptors, real: Descriptors, trained_on: Descriptors) -> dict[str, Row]:
    """Spread, modes, alike pairs and nearest training defects of a cell, synthetic beside real."""
    ours, theirs = spreads(synthetic), spreads(real)
    alike = pairs(relative_l1(synthetic.painted, synthetic.painted)) < NEARLY_ALIKE
    return {
        "spread": {name: ours[name] / max(theirs[name], 1e-9) for name in ours},
        "alike": {"pairs": int(alike.sum()), "of": len(alike)},
        "synthetic": {**ours, **modes(synthetic), **nearest(synthetic, trained_on)},
        "real": {**theirs, **modes(real), **nearest(real, trained_on, leave_one_out=real is trained_on)},
    }


def measure_cell(
    shown: list[Shown], trained_on: list[Shown], held_out: list[Shown], judge: Classifier | None
) -> dict:
    """All that can be said of one product x defect."""
    numbers: dict = {"images": len(shown)}
    if judge is not None:
        numbers |= named_right(shown, judge)
    numbers["background"] = background_change(shown)
    numbers["reference_iou"] = reference_overlap(shown)
    ours, trained = descriptors(shown), descriptors(trained_on)
    if ours is not None and trained is not None:
        numbers["variety"] = variety(ours, descriptors(held_out) or trained, trained)
    return numbers


def table_row(numbers: dict) -> Row:
    """The columns that go on the screen."""
    row: Row = {key: value for key, value in numbers.items() if key != "variety"}
    if "variety" in numbers:
        found = numbers["variety"]
        row |= {f"{name}/real": value for name, value in found["spread"].items()}
        row |= {"alike": found["alike"]["pairs"]}
        for side in ("synthetic", "real"):
            label = "" if side == "synthetic" else " real"
            row |= {f"near{label}": found[side]["centred_min"], f"dark{label}": found[side]["dark"]}
    return row


def main() -> None:
    """Parse, measure cell after cell, print."""
    parser = argparse.ArgumentParser(description="Measure synthetic images against the real ones.")
    parser.add_argument("--real", type=Path, required=True, help="the images trained on, masks in REAL.masks")
    parser.add_argument("--synthetic", type=Path, required=True, help="what defectaug synthesize wrote")
    parser.add_argument("--masks", type=Path, help="masks of the synthetic images (default: SYNTHETIC.masks)")
    parser.add_argument(
        "--held-out", type=Path, help="real images not trained on, as the yardstick of variety"
    )
    parser.add_argument("--judge", type=Path, help="what train_judge.py wrote")
    parser.add_argument("--limit", type=int, default=300, help="at most so many images a cell (default: 300)")
    parser.add_argument("--json", type=Path, help="write all numbers here")
    options = parser.parse_args()

    synthetic = synthetic_defects(options.synthetic, options.masks)
    groups = by_cell(require(synthetic, options.synthetic, "synthetic images with a defect"))
    real = by_cell(real_defects(options.real))
    held_out = by_cell(real_defects(options.held_out)) if options.held_out else {}
    judge = load(options.judge) if options.judge else None
    if not real:
        print(f"{options.real}: no masks beside it, variety is left out", file=sys.stderr)

    numbers = {
        cell: measure_cell(
            shown[: options.limit], real.get(cell, []), held_out.get(cell, [])[: options.limit], judge
        )
        for cell, shown in groups.items()
    }
    print_table({cell: table_row(found) for cell, found in numbers.items()})
    write_json(options.json, numbers)


if __name__ == "__main__":
    main()
