"""Write the demonstration data set: products A, B, C with the classes normal, scratch, spot.

    python examples/demo/make_data.py OUT [--scale quick|full] [--seed 0] [--size 128] [--clean]
                                          [--test-per-category N] [--colour]

writes OUT/<product>/<class>/*.png, and OUT.masks/<product>/<defect>/*.png with the true masks (255 = defect);
with --clean also OUT.clean, the same surfaces without their defects; with --colour all in colour. See README.md beside
this file.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from colours import in_colour
from defects import coats, paint
from numpy.typing import NDArray
from PIL import Image
from surfaces import SURFACES, grain

Pixels = NDArray[np.uint8]

PRODUCTS = ("A", "B", "C")
CLASSES = ("normal", "scratch", "spot")
FULL = {"A": (700, 290, 58), "B": (700, 117, 620), "C": (700, 71, 208)}
"""Images of each class, skewed as SDI's: every product lacks another defect."""
QUICK = {"A": (70, 29, 6), "B": (70, 12, 62), "C": (70, 7, 21)}

TRAIN, TEST = 0, 1
MASK_OPACITY = 0.25
MASK_GREY_LEVELS = 6
"""A pixel is defective if it is painted this densely, or if the paint changed it by more than this."""


@dataclass(frozen=True)
class Sample:
    """An image with its truth: `clean` is the same image without the defect, `mask` 255 on the defect."""

    image: Pixels
    clean: Pixels
    mask: Pixels


def make_sample(
    product: str, kind: str, index: int, *, seed: int = 0, stream: int = TRAIN, size: int = 128, colour: bool = False
) -> Sample:
    """Image `index` of a category, [size, size] each; it depends on the arguments alone, not on other images.

    In colour, image and clean image are [size, size, 3], and shapes, grey levels and mask are those of the grey ones.
    """
    names = [seed, stream, PRODUCTS.index(product), CLASSES.index(kind), index]
    rng = np.random.default_rng(names)
    surface = SURFACES[product](rng, size)
    noise = rng.uniform(0.004, 0.012) * grain(rng, size, 0.35)  # of the sensor: the same with and without the defect
    layers = [] if kind == "normal" else coats(rng, surface, product, kind)
    painted, opacity = paint(surface, layers)
    image, clean = to_pixels(painted + noise), to_pixels(surface.image + noise)
    change = np.abs(image.astype(np.int16) - clean)
    defective = (opacity > MASK_OPACITY) | (change > MASK_GREY_LEVELS)
    mask = np.where(defective, 255, 0).astype(np.uint8)
    if colour:
        both = in_colour(np.random.default_rng([*names, 1]), surface, layers, noise, product, kind)
        return Sample(*map(to_pixels, both), mask)
    return Sample(image, clean, mask)


def to_pixels(image: NDArray[np.floating]) -> Pixels:
    """Values 0 to 1 as 8 bits."""
    return np.clip(np.rint(image * 255), 0, 255).astype(np.uint8)


def plan(scale: str, per_category: int | None) -> Iterator[tuple[str, str, int]]:
    """Every (product, class, index) of the data set; `per_category` overrides the skewed counts."""
    counts = {"quick": QUICK, "full": FULL}[scale]
    for product in PRODUCTS:
        for kind, count in zip(CLASSES, counts[product], strict=True):
            for index in range(count if per_category is None else per_category):
                yield product, kind, index


def write(pixels: Pixels, root: Path, product: str, kind: str, index: int) -> None:
    """Save one image of a category as PNG."""
    folder = root / product / kind
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(folder / f"{kind}_{index:05d}.png")


def main() -> None:
    """Parse, then write image after image."""
    parser = argparse.ArgumentParser(description="Write the demonstration data set.")
    parser.add_argument("out", type=Path, help="new folder; OUT.masks and OUT.clean are written beside it")
    parser.add_argument(
        "--scale", choices=("quick", "full"), default="quick", help="a tenth of SDI's size, or all"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, default=128, help="side of the images in pixels")
    parser.add_argument(
        "--test-per-category", "--test-per-cell", type=int, metavar="N",
        help="N separate test images of every category instead",
    )  # fmt: skip
    parser.add_argument(
        "--clean", action="store_true", help="also write every defective image without its defect"
    )
    parser.add_argument("--colour", action="store_true", help="the same surfaces and defects in colour")
    options = parser.parse_args()
    if options.size < 32 or options.seed < 0 or (options.test_per_category or 1) < 1:
        parser.error("--size must be at least 32, --seed at least 0, --test-per-category at least 1")
    out: Path = options.out
    roots = [out.with_name(out.name + suffix) for suffix in ("", ".masks", ".clean")]
    for root in roots:
        if root.exists() and any(root.iterdir()):
            sys.exit(f"{root} is not empty: name a new folder, or delete it first")

    stream = TRAIN if options.test_per_category is None else TEST
    total = 0
    for product, kind, index in plan(options.scale, options.test_per_category):
        sample = make_sample(
            product, kind, index, seed=options.seed, stream=stream, size=options.size, colour=options.colour
        )
        write(sample.image, roots[0], product, kind, index)
        if kind != "normal":
            write(sample.mask, roots[1], product, kind, index)
            if options.clean:
                write(sample.clean, roots[2], product, kind, index)
        total += 1
    print(f"{total:,} images in {out}, masks in {roots[1]}")


if __name__ == "__main__":
    main()
