"""What a classifier tells of ways to paste a defect, where its mask is the true one and its place stays the same.

    python examples/battery/pasting.py SETS SET ...

Every defect of SETS/SET (see README.md) is put on a normal image of its product, once in each way, and a classifier
tells them from real ones, as the battery does: what a way to paste costs by itself, without anything learnt.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from defect_statistics import told_from_real
from frozen import imagenet_classifier
from images import Item, of, real_items
from numpy.typing import NDArray

from defectaug.io.windows import Window, square
from defectaug.methods.cutpaste.model import PlainPasting
from defectaug.methods.residual.cutout import HUE, Cutout, Pasting
from defectaug.methods.residual.fill import push_pull
from defectaug.metrics.defects import around_defect

SIDE, CROP, SEEDS = 128, 64, 3
HIDDEN = 3  # pixels around the mask that are filled in, too
Floats = NDArray[np.float32]
Paste = Callable[[Floats, Floats, Floats], Floats]
"""A defective part (H, W, 3) in [-1, 1], a normal one and the mask (H, W) to the normal part with the defect."""


def filled(image: Floats, mask: Floats) -> Floats:
    """The image (H, W, 3) with smooth surroundings in the place of what lies in the mask (H, W)."""
    from scipy.ndimage import binary_dilation

    side = 2 * SIDE  # halves down to two pixels
    pad = ((0, side - image.shape[0]), (0, side - image.shape[1]))
    known = np.pad(~binary_dilation(mask > 0.5, iterations=HIDDEN), pad).astype(np.float32)
    x = torch.from_numpy(np.pad(image, (*pad, (0, 0))).transpose(2, 0, 1))[None]
    plain = push_pull(x, torch.from_numpy(known)[None, None])[0].permute(1, 2, 0).numpy()
    return np.asarray(plain[: image.shape[0], : image.shape[1]], np.float32)


def on_filled(defective: Floats, normal: Floats, mask: Floats) -> Floats:
    """The difference to the filled-in defective part, added to the filled-in normal one."""
    change = filled(normal, mask) + defective - filled(defective, mask) - normal
    return (normal + mask[..., None] * change).clip(-1, 1)


def by(kind: type[Pasting], alike: bool = True, hue: float = HUE) -> Paste:
    """As the package does it at native scale."""

    def paste(defective: Floats, normal: Floats, mask: Floats) -> Floats:
        style, size = torch.zeros(4), mask.shape
        there = mask > 0.5
        level = filled(defective, mask)[there].mean(0) if there.any() else np.zeros(3, np.float32)
        cutout = Cutout.of(defective, mask, style, torch.from_numpy(level), 1)
        if cutout is None:
            return normal
        nothing = torch.zeros(3, SIDE, SIDE)
        one = kind(cutout, alike, nothing[:1] + 1, nothing, style, cutout.level, hue, None, None)
        part = one.part((size[0], size[1]))
        change, _ = one(part.cut(normal), part, (size[0], size[1]))
        return (normal + part.spread(change, (size[0], size[1]))).clip(-1, 1)

    return paste


WAYS: Mapping[str, Paste] = {
    "pixels as they were": by(PlainPasting),
    "added to a filled-in surface": on_filled,
    "light fitted, narrow rim": by(Pasting, alike=False),
    "light fitted, wide rim": by(Pasting),
    "the same, all of the hue": by(Pasting, hue=1),
    "the same, none of the hue": by(Pasting, hue=0),
}


def part_of(item: Item, window: Window) -> Floats:
    """What an image shows in a window, as far as it reaches."""
    return window.cut(item.image).astype(np.float32) / np.float32(127.5) - 1


def crops(items: list[Item], normals: list[Item], rng: np.random.Generator) -> dict[str, NDArray]:
    """Crops (N, CROP, CROP, 3) of real defects, and of the same pasted in each way."""
    found: dict[str, list[NDArray]] = {name: [] for name in ("real", *WAYS)}
    for item in items:
        rows, columns = np.nonzero(item.mask)
        normal = normals[rng.integers(len(normals))]
        size = min(item.image.shape[0], normal.image.shape[0]), min(item.image.shape[1], normal.image.shape[1])
        window = square(size, SIDE, (float(rows.mean()), float(columns.mean())))
        mask = window.cut(item.mask)
        if not mask.any():
            continue
        defective, plain = part_of(item, window), part_of(normal, window)
        made = {name: way(defective, plain, mask.astype(np.float32)) for name, way in WAYS.items()}
        for name, image in ({"real": defective} | made).items():
            levels = np.rint((image + 1) * 127.5).astype(np.uint8)
            found[name].append(around_defect(levels, mask, CROP))
    return {name: np.stack(some) for name, some in found.items() if some}


def main() -> None:
    """Parse, then one line a set and way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, help="folder of sets")
    parser.add_argument("sets", nargs="+", metavar="SET")
    options = parser.parse_args()
    classify, _ = imagenet_classifier()
    for name in options.sets:
        train, test = real_items(options.root / name / "train"), real_items(options.root / name / "test")
        rng, parts = np.random.default_rng(0), {}
        for category in sorted({one.name for one in test if not one.normal and one.mask.any()}):
            product = category.split("/")[0]
            normals = [one for one in test if one.normal and one.name.split("/")[0] == product]
            parts[category] = crops(of([*train, *test], category), normals, rng)
        for way in WAYS:
            real, made = ({key: some[kind] for key, some in parts.items()} for kind in ("real", way))
            runs = [told_from_real(real, made, classify, seed) for seed in range(SEEDS)]
            shown = ", ".join(f"{key} {np.mean([run[key] for run in runs]):.2f}" for key in runs[0])
            print(f"{name} | {way} | {shown}", flush=True)


if __name__ == "__main__":
    main()
