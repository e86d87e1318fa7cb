"""Defects by their masks (H, W): crops around them, and which are like no real one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, gaussian_gradient_magnitude

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]
TRAITS = (*["tone or colour"] * 3, "contrast", "grain", "brightness", "contrast", "grain", "colour")
FLOOR = np.array([12, 12, 12, 12, 6, 25, 12, 4, 20], np.float32)  # of each trait, grey levels: less is not odd


def crop(image: NDArray, centre: NDArray, side: int) -> NDArray:
    """side x side pixels about a centre, moved to lie within the image, which is mirrored where it is smaller."""
    short = [(0, max(side - length, 0)) for length in image.shape[:2]]
    image = np.pad(image, [*short, *[(0, 0)] * (image.ndim - 2)], mode="symmetric")
    top, left = np.clip(np.asarray(centre) - side // 2, 0, np.array(image.shape[:2]) - side)
    return image[top : top + side, left : left + side]


def around_defect(image: NDArray, mask: Mask, side: int) -> NDArray:
    """The crop about the pixel of the mask (H, W) that is nearest to its centre; about the image's if it is empty."""
    where = np.argwhere(mask)
    if not len(where):
        return crop(image, np.array(image.shape[:2]) // 2, side)
    return crop(image, where[np.abs(where - where.mean(0)).sum(1).argmin()], side)


def traits(colour: Floats, mask: Mask | None) -> Floats:
    """What an image (H, W, 3) is like, in grey levels, (T,) as `TRAITS` names: of the defect the colour over the
    surround, contrast and grain, nan without a mask; of the image brightness, contrast, grain and strongest colour."""
    grey = colour.mean(2)
    grain = gaussian_gradient_magnitude(grey, 0.7)
    chroma = np.percentile(colour.max(2) - colour.min(2), 99.5)
    whole = [grey.mean(), grey.std(), float(np.median(grain)), chroma]
    inner = [np.nan] * 5
    if mask is not None:
        ring = binary_dilation(mask, iterations=4) & ~mask
        around = colour[ring].mean(0) if ring.any() else colour.mean((0, 1))
        inner = [*(colour[mask].mean(0) - around), grey[mask].std(), grain[mask].mean()]
    return np.array([*inner, *whole], np.float32)


def odd_ones(
    queries: Sequence[Floats], known: Sequence[Floats], unseen: Sequence[Floats], same: bool
) -> tuple[list[str], int]:
    """Of each query (T,) the trait in which it lies far outside what is known, "" for none; and of how many unseen
    ones that is so. `same`: these are the known ones, each of which is held against the others."""
    if len(known) < 3:
        return [""] * len(queries), 0
    rows = np.stack(known)

    def odd(one: Floats, rows: Floats) -> str:
        with np.errstate(invalid="ignore"):
            low, high = np.fmin.reduce(rows, 0), np.fmax.reduce(rows, 0)
            room = np.maximum(high - low, FLOOR)
            beyond = np.maximum(low - one, one - high) / room
        beyond = np.where(np.isfinite(beyond), beyond, 0)
        return TRAITS[int(beyond.argmax())] if beyond.max() > 1 else ""

    real = sum(bool(odd(one, np.delete(rows, n, 0) if same else rows)) for n, one in enumerate(unseen))
    return [odd(one, rows) for one in queries], real
