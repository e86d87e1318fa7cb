"""The part of an image that the network sees: all of it, or a square at native scale. NumPy only."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Box = tuple[float, float, float, float]
"""Top, left, bottom, right, as shares of an image's height and width."""
STRAY = 0.25  # of its side, by which a square about a place may miss it
CELLS = 8  # a side of what is seen of a square from afar
CLEARLY = 0.2  # difference in how unlike squares look that counts, in units of [-1, 1]


@dataclass(frozen=True, slots=True)
class Window:
    """A rectangle of an image, in pixels from its top left corner."""

    top: int
    left: int
    height: int
    width: int

    @property
    def size(self) -> tuple[int, int]:
        return self.height, self.width

    def within(self, size: tuple[int, int]) -> Box:
        """As shares of an image of (height, width)."""
        (height, width), bottom, right = size, self.top + self.height, self.left + self.width
        return self.top / height, self.left / width, bottom / height, right / width

    def cut(self, pixels: NDArray) -> NDArray:
        """The pixels inside, (height, width) or (height, width, 3)."""
        return pixels[self.top : self.top + self.height, self.left : self.left + self.width]

    def spread(self, change: Floats, size: tuple[int, int]) -> Floats:
        """A change of this window as one of the whole image: zero outside."""
        if self.size == size:
            return change
        whole = np.zeros((*size, *change.shape[2:]), change.dtype)
        self.cut(whole)[...] = change
        return whole


def whole(size: tuple[int, int]) -> Window:
    """The window that is the image, height and width `size`."""
    return Window(0, 0, *size)


def square(size: tuple[int, int], side: int, centre: tuple[float, float]) -> Window:
    """The square nearest to `centre` (row, column) that lies in the image; smaller where the image is."""
    side = min(side, *size)
    top, left = (round(min(max(at - side / 2, 0), edge - side)) for at, edge in zip(centre, size, strict=True))
    return Window(top, left, side, side)


def box_of(there: NDArray[np.bool_], rim: float) -> Window | None:
    """The part of a mask (H, W) that is not empty, and a rim of pixels around it; None where it is."""
    if not there.any():
        return None
    edges = []
    for axis, length in zip((1, 0), there.shape, strict=True):
        found = np.flatnonzero(there.any(axis))
        edges.append((max(0, int(found[0] - rim)), min(length, int(np.ceil(found[-1] + 1 + rim)))))
    (top, bottom), (left, right) = edges
    return Window(top, left, bottom - top, right - left)


def square_near(size: tuple[int, int], side: int, box: Box, seed: int, away: float = STRAY) -> Window:
    """The square about the middle of a box, up to ``away`` of its side from it; at an edge of the image where the box
    is."""
    side, rng = min(side, *size), random.Random(seed)
    starts = []
    for edge, low, high in zip(size, box[:2], box[2:], strict=True):
        start = (low + high) / 2 * edge + rng.uniform(-away, away) * side - side / 2
        room = edge - side
        starts.append(0 if low <= 0 else room if high >= 1 else round(min(max(start, 0), room)))
    return Window(starts[0], starts[1], side, side)


def random_square(size: tuple[int, int], side: int, seed: int) -> Window:
    """A square anywhere in the image, evenly."""
    side = min(side, *size)
    rng = random.Random(seed)
    return Window(rng.randint(0, size[0] - side), rng.randint(0, size[1] - side), side, side)


def square_on(mask: NDArray[np.bool_], side: int, seed: int) -> Window:
    """A square around a random pixel of a mask that is not empty, as crops are taken in training."""
    rows, columns = np.nonzero(mask)
    chosen = random.Random(seed).randrange(len(rows))
    return square((mask.shape[0], mask.shape[1]), side, (float(rows[chosen]), float(columns[chosen])))


def tiles(size: tuple[int, int], side: int) -> list[Window]:
    """Squares that cover the image, neighbours overlapping by a quarter or more."""
    side = min(side, *size)
    tops, lefts = (_starts(edge, side) for edge in size)
    return [Window(top, left, side, side) for top in tops for left in lefts]


def _starts(edge: int, side: int) -> list[int]:
    count = 1 if edge <= side else int(np.ceil((edge - side) / (0.75 * side))) + 1
    return [round(at) for at in np.linspace(0, edge - side, count)]


def join(changes: list[Floats], windows: list[Window], size: tuple[int, int]) -> Floats:
    """One change of the whole image from those of overlapping tiles, faded into one another."""
    total = np.zeros((*size, *changes[0].shape[2:]), np.float32)
    weights = np.zeros(size, np.float32)
    for change, window in zip(changes, windows, strict=True):
        fade = np.minimum.outer(_ramp(window.height), _ramp(window.width))
        window.cut(total)[...] += change * (fade if change.ndim == 2 else fade[..., None])
        window.cut(weights)[...] += fade
    total /= weights if total.ndim == 2 else weights[..., None]
    return total


def _ramp(length: int) -> Floats:
    steps = np.arange(length, dtype=np.float32)
    return np.asarray(np.minimum(steps, steps[::-1]) + 1, np.float32)


def cells(pixels: Floats) -> Floats:
    """What a square (S, S, C) looks like from afar: means of CELLS x CELLS cells, fewer where it has fewer pixels; what
    is over at the right and below is left out."""
    side = max(1, len(pixels) // CELLS)
    count = min(CELLS, len(pixels) // side)
    kept = pixels[: count * side, : count * side]
    return np.asarray(kept.reshape(count, side, count, side, -1).mean((1, 3)), np.float32)


def unlike(a: Floats, b: Floats) -> float:
    """How unlike two squares look from afar, as :func:`cells` (K, K, C): mostly by what they show, half as much by
    where, so that a part may lie in another way."""
    shown = np.abs(np.sort(a, axis=None) - np.sort(b, axis=None)).mean()
    return float(shown + np.abs(a - b).mean() / 2)


def likest(unlikeness: Sequence[float]) -> int:
    """Which of some squares to take, by how unlike each is: the first, unless another is clearly more like."""
    best = min(range(len(unlikeness)), key=unlikeness.__getitem__)
    return best if unlikeness[0] > unlikeness[best] + CLEARLY else 0
