"""What tells one defect from another: place, shape and look; and distances between them. numpy only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from folders import Mask, Pixels
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Descriptors:
    """Of N defects, read from images and masks of 128 x 128 pixels.

    Attributes:
        place: centre of the mask, pixels, [N, 2].
        shape: the mask, widened by a pixel and moved to the middle, [N, 4096].
        look: mean and deviation of the grey levels in the mask, the mean against the surround, [N, 2].
        area: share of the image, [N].
        painted: grey levels against the surround in the mask, 0 outside, where it lies, [N, 4096].
        centred: the same moved to the middle, [N, 4096].
    """

    place: Floats
    shape: Floats
    look: Floats
    area: Floats
    painted: Floats
    centred: Floats


def describe(images: list[Pixels], masks: list[Mask]) -> Descriptors:
    """Descriptors of images [128, 128] with their masks; an empty mask counts as its middle pixel."""
    rows = [_describe_one(image.astype(np.float32), mask) for image, mask in zip(images, masks, strict=True)]
    return Descriptors(*(np.stack(column).astype(np.float32) for column in zip(*rows, strict=True)))


def _describe_one(image: Floats, mask: Mask) -> tuple[NDArray[Any], ...]:
    if not mask.any():
        mask = np.zeros_like(mask)
        mask[mask.shape[0] // 2, mask.shape[1] // 2] = True
    surround = dilate(mask, 6) & ~dilate(mask, 2)
    level = image[surround].mean() if surround.any() else image.mean()
    contrast = np.where(mask, image - level, 0)
    place = np.argwhere(mask).mean(0)
    shift = tuple(np.rint(np.array(mask.shape) / 2 - place).astype(int))
    middle = np.roll(dilate(mask, 1), shift, (0, 1))
    return (
        place,
        pooled(middle.astype(np.float32)).ravel() > 0,
        np.array([contrast[mask].mean(), contrast[mask].std()]),
        mask.mean(),
        pooled(contrast).ravel(),
        pooled(np.roll(contrast, shift, (0, 1))).ravel(),
    )


def dilate(mask: Mask, reach: int) -> Mask:
    """The mask widened by `reach` pixels up, down, left and right (a square)."""
    wide = mask.copy()
    for axis in (0, 1):
        grown = wide.copy()
        for step in range(1, reach + 1):
            lower, upper = _shifted(wide, step, axis), _shifted(wide, -step, axis)
            grown |= lower | upper
        wide = grown
    return wide


def _shifted(mask: Mask, step: int, axis: int) -> Mask:
    moved = np.roll(mask, step, axis)
    edge: list[slice] = [slice(None), slice(None)]
    edge[axis] = slice(0, step) if step > 0 else slice(step, None)
    moved[tuple(edge)] = False
    return moved


def pooled(image: Floats, cell: int = 2) -> Floats:
    """Means over squares of `cell` pixels, [H, W] -> [H / cell, W / cell]."""
    height, width = image.shape
    return image.reshape(height // cell, cell, width // cell, cell).mean((1, 3))


def euclidean(a: Floats, b: Floats) -> Floats:
    """Distances [N, M] of rows [N, D] and [M, D]."""
    return np.linalg.norm(a[:, None] - b[None], axis=2)


def one_less_iou(a: Floats, b: Floats) -> Floats:
    """1 - IoU [N, M] of masks [N, D] and [M, D] of zeros and ones."""
    common = a @ b.T
    union = a.sum(1)[:, None] + b.sum(1)[None] - common
    return 1 - common / np.maximum(union, 1)


def relative_l1(a: Floats, b: Floats) -> Floats:
    """|a - b| over |a| + |b|, [N, M], of rows [N, D] and [M, D]: 0 alike, 1 where they do not overlap."""
    sums = np.abs(a).sum(1)[:, None] + np.abs(b).sum(1)[None]
    differences = np.stack([np.abs(row - b).sum(1) for row in a])
    return differences / np.maximum(sums, 1e-6)


def pairs(distances: Floats) -> Floats:
    """The distances of different items, each pair once, of a square matrix [N, N]."""
    return distances[np.triu_indices(len(distances), 1)]


def iou(a: Mask, b: Mask) -> float:
    """Intersection over union of two masks; 1 if both are empty."""
    union = (a | b).sum()
    return float((a & b).sum() / union) if union else 1.0
