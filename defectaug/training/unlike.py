"""Whether defective images are unlike normal ones at all: told when a training ends, where they hardly are."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Protocol, TypeVar, runtime_checkable

from defectaug.data.framing import Photograph
from defectaug.data.index import DataIndex
from defectaug.data.sample import Category
from defectaug.errors import DataError
from defectaug.io.progress import Stages, silent
from defectaug.methods.instances import Bag, held_out_scores
from defectaug.nn.ranking import auroc, by_chance

T = TypeVar("T")
LOOKED_AT = 16  # images of a category
LEAST = 2  # normal images to compare with
CHANCE = 0.75  # CHOICE: AUROC below which images are hardly unlike normal ones (0.5: not at all)


@runtime_checkable
class SeesTheUnusual(Protocol):
    """A method that knows what normal images of a product are like."""

    def unusual(self, photograph: Photograph, product: int, enough: float = math.inf) -> float:
        """How far the clearest place of an image is from what normal images of the product show; where some are farther
        than ``enough``, how far one of these is."""
        ...

    def standing_out(self, photograph: Photograph, product: int) -> Bag:
        """The places of an image that stand out from normal images of the product."""
        ...

    def is_apart(self, number: int) -> bool:
        """Whether a training image, if it is normal, is not among those that others are compared with."""
        ...


def hardly_unusual(
    method: object, index: DataIndex, read: Callable[[int], Photograph], stages: Stages = silent
) -> Iterator[str]:
    """A line for each product and defect whose images stand out from normal ones no more than these do themselves.

    Args:
        method: what was trained; nothing is told of one that does not know normal images.
        index: the training images.
        read: an image by its number in the index; DataError where it cannot be read.
        stages: gives for a stage's name what shows its progress: on large images each takes a second or so.

    What counts of a defective image is first whether it stands out more than each of the normal ones: where it does, no
    more of it is looked at. Where that tells too little, as of a class that is fainter than dirt, it is asked what its
    images have in common and normal ones lack, by cross-validation.
    """
    if not isinstance(method, SeesTheUnusual):
        return
    numbers: dict[Category, list[int]] = {}
    for number, sample in enumerate(index.samples):
        if sample.defect != index.normal or method.is_apart(number):
            numbers.setdefault(sample.category, []).append(number)
    comparable = [one for one in index.products if len(numbers.get(Category(one, index.normal), ())) >= LEAST]
    chosen = {one: some[:: max(1, -(-len(some) // LOOKED_AT))] for one, some in numbers.items() if one[0] in comparable}
    show, total, done = stages("looking at what stands out"), sum(map(len, chosen.values())), 0

    def looked_at(category: Category, look: Callable[[Photograph], T]) -> list[T]:
        nonlocal done
        found = []
        for number in chosen.get(category, ()):
            with suppress(DataError):
                found.append(look(read(number)))
            done += 1
            show(done, total)
        return found

    for place, product in enumerate(index.products):
        normal = Category(product, index.normal)
        usual = looked_at(normal, partial(method.unusual, product=place))
        ordinary: list[Bag] = []
        for defect in index.defects[1:] if len(usual) >= LEAST else ():
            category = Category(product, defect)
            unusual = looked_at(category, partial(method.unusual, product=place, enough=max(usual)))
            if not unusual or (share := auroc(unusual, usual)) >= CHANCE:
                continue
            total += len(chosen[category]) + (0 if ordinary else len(chosen[normal]))
            closer = partial(method.standing_out, product=place)
            ordinary, shared = ordinary or looked_at(normal, closer), looked_at(category, closer)
            if min(len(ordinary), len(shared)) >= LEAST:
                closely = auroc(*held_out_scores(shared, ordinary))
                if closely >= max(CHANCE, 0.5 + 3 * by_chance(len(shared), len(ordinary))):
                    continue
            yield (
                f"{product}/{defect}: these images stand out from normal ones hardly more than such do themselves "
                f"(an AUROC of {share:.2f}): look at samples/ whether defects were found; if not, whether images "
                "lie in the right folders, and whether the defect can be seen at this size (--image-size)"
            )
