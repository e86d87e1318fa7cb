"""Masks of the products in normal images, by Otsu's threshold: what examples/wishes.py compares regions with.

    python examples/product_masks.py SOURCE OUT --product bottle --by dark
    python examples/product_masks.py SOURCE OUT --product cookie --by coloured bright

Of each normal image of that product the dark, bright or coloured side of the threshold is taken, or what lies on one of
several, its largest connected part, and the holes and notches in it filled: OUT/<path below SOURCE>.png, 255 = product.
That is right for one part on a plain ground alone; look at the masks. `defectaug` finds products otherwise, by what
touches the border of images.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from defectaug.data.index import index_folder
from defectaug.io.images import as_channels, read_image
from defectaug.io.masks import write_mask

Floats = NDArray[np.float32]
LEVELS = 256
NOTCH = 40  # of the longer side: half of the width of notches at the product's edge that are closed
MEASURES: Mapping[str, Callable[[Floats], Floats]] = {
    "dark": lambda pixels: -pixels.mean(axis=2),
    "bright": lambda pixels: pixels.mean(axis=2),
    "coloured": lambda pixels: pixels.max(axis=2) - pixels.min(axis=2),
}


def threshold(values: Floats) -> float:
    """The level that parts the values into two groups whose means are furthest apart (Otsu 1979)."""
    counts, edges = np.histogram(values, LEVELS)
    levels = (edges[:-1] + edges[1:]) / 2
    low, low_sum = counts.cumsum(), (counts * levels).cumsum()
    high, high_sum = low[-1] - low, low_sum[-1] - low_sum
    between = low * high * (low_sum / low.clip(1) - high_sum / high.clip(1)) ** 2.0
    return float(edges[1:][between[:-1].argmax()])


def product_of(pixels: Floats, by: Sequence[str]) -> NDArray[np.bool_]:
    """Where the product is in an image (H, W, 3): (H, W)."""
    smooth = [ndimage.gaussian_filter(MEASURES[name](pixels), max(pixels.shape) / 200) for name in by]
    parts, count = ndimage.label(np.any([values > threshold(values) for values in smooth], axis=0))
    areas = ndimage.sum_labels(np.ones(parts.shape), parts, range(1, count + 1))
    reach = max(parts.shape) // NOTCH
    largest = np.pad(parts == 1 + int(np.argmax(areas)), reach, mode="edge")
    closed = ndimage.binary_closing(largest, iterations=reach)[reach:-reach, reach:-reach]
    return np.asarray(ndimage.binary_fill_holes(closed), bool)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--product", required=True)
    parser.add_argument("--by", choices=MEASURES, nargs="+", required=True, help="what it is, beside its ground")
    args = parser.parse_args(arguments)
    index = index_folder(args.source)
    for sample in index.category(args.product, index.normal):
        pixels = as_channels(read_image(sample.path).pixels.astype(np.float32), 3)
        below = sample.path.resolve().relative_to(args.source.resolve())
        write_mask(args.out / below.with_suffix(".png"), product_of(pixels, args.by))


if __name__ == "__main__":
    main()
