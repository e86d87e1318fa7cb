"""Whether defective images are unlike normal ones at all: told when a training ends, where they hardly are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from scipy.stats import rankdata

from defectaug.data.framing import Photograph
from defectaug.data.index import DataIndex
from defectaug.data.sample import Category
from defectaug.errors import DataError

LOOKED_AT = 16  # images of a category
LEAST = 2  # normal images to compare with
CHANCE = 0.75  # CHOICE: AUROC below which images are hardly unlike normal ones (0.5: not at all)


@runtime_checkable
class SeesTheUnusual(Protocol):
    """A method that knows what normal images of a product are like."""

    def unusual(self, photograph: Photograph, product: int) -> float:
        """How far the clearest place of an image is from what normal images of the product show."""
        ...

    def is_apart(self, number: int) -> bool:
        """Whether a training image, if it is normal, is not among those that others are compared with."""
        ...


def hardly_unusual(method: object, index: DataIndex, read: Callable[[int], Photograph]) -> Iterator[str]:
    """A line for each product and defect whose images stand out from normal ones no more than these do themselves.

    Args:
        method: what was trained; nothing is told of one that does not know normal images.
        index: the training images.
        read: an image by its number in the index; DataError where it cannot be read.
    """
    if not isinstance(method, SeesTheUnusual):
        return
    numbers: dict[Category, list[int]] = {}
    for number, sample in enumerate(index.samples):
        numbers.setdefault(sample.category, []).append(number)

    def seen(some: Sequence[int], product: int) -> list[float]:
        found = []
        for number in some[:: max(1, -(-len(some) // LOOKED_AT))]:
            try:
                found.append(method.unusual(read(number), product))
            except DataError:
                continue
        return found

    for place, product in enumerate(index.products):
        normal = [number for number in numbers.get(Category(product, index.normal), ()) if method.is_apart(number)]
        usual = seen(normal, place) if len(normal) >= LEAST else []
        for defect in index.defects[1:] if len(usual) >= LEAST else ():
            unusual = seen(numbers.get(Category(product, defect), ()), place)
            if unusual and (share := auroc(unusual, usual)) < CHANCE:
                yield (
                    f"{product}/{defect}: these images stand out from normal ones hardly more than such do themselves "
                    f"(an AUROC of {share:.2f}): look at samples/ whether defects were found; if not, whether images "
                    "lie in the right folders, and whether the defect can be seen at this size (--image-size)"
                )


def auroc(high: Sequence[float], low: Sequence[float]) -> float:
    """The chance that one of the first is above one of the second."""
    ranks = rankdata(np.concatenate([high, low]))[: len(high)]
    return float((ranks.sum() - len(high) * (len(high) + 1) / 2) / (len(high) * len(low)))
