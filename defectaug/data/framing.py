"""How images of a product become the squares that a network sees."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from defectaug.io.windows import Window, tiles, whole


@dataclass(frozen=True)
class Photograph:
    """An image at its own scale, or a smaller one, and what a model sees of it.

    Attributes:
        pixels: (H, W) or (H, W, 3) in [-1, 1].
        side: of the windows in which the model sees it; None where it sees the whole.
        window: the one that it was shown; None where that is not known.
        points: (N, 2) where its defect may be, as shares of height and width; None where that is not known.
    """

    pixels: NDArray[np.float32]
    side: int | None = None
    window: Window | None = None
    points: NDArray[np.float64] | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.pixels.shape[0], self.pixels.shape[1]

    def parts(self, most: int | None = None) -> list[Window]:
        """Windows that cover it, those first in which most of its points lie; all of it where it is seen whole.

        Args:
            most: windows; of more, those first in which points lie, or some that are spread evenly where they are not
                known. None for all.
        """
        if self.side is None:
            return [whole(self.size)]
        parts = tiles(self.size, self.side)
        if self.points is None:
            kept = np.linspace(0, len(parts) - 1, min(len(parts), most or len(parts)))
            return [parts[number] for number in kept.round().astype(int)]
        places = self.points * self.size

        def held(part: Window) -> int:
            inside = places - (part.top, part.left)
            return int(((inside >= 0) & (inside < part.size)).all(1).sum())

        return sorted(parts, key=held, reverse=True)[:most]


@dataclass(frozen=True)
class Framing:
    """Of one product.

    Attributes:
        window: side of the square windows that are cut out, in pixels of the image; None: the whole image is squeezed.
        size: median width and height of its images; None where that is not known.
    """

    window: int | None = None
    size: tuple[int, int] | None = None


WHOLE = Framing()


def framing_of(framings: Mapping[str, Framing], product: str | None, size: tuple[int, int]) -> Framing:
    """That of a product; for one that is not known, that of the product whose images are nearest in size to ``size``,
    (height, width)."""
    if product is not None and product in framings:
        return framings[product]

    def distance(framing: Framing) -> float:
        width, height = framing.size or (1, 1)
        return abs(math.log(width * height / (size[0] * size[1])))

    return min(framings.values(), key=distance, default=WHOLE)
