"""What is compared: augmentations, with and without synthetic images, and how many of these."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from defectaug.benchmark.settings import Fill, StudySettings
from defectaug.data.sample import Category
from defectaug.metrics.augmentation import Augmentation
from defectaug.metrics.images import Decoded


@dataclass(frozen=True)
class Arm:
    """One way to train: an augmentation, and a set of synthetic images or None.

    Args:
        augmentation: the augmentation.
        synthetic: name of the set.
        amount: synthetic images per real defective one; None: up to the fullest category.
    """

    augmentation: Augmentation
    synthetic: str | None = None
    amount: float | None = None

    @property
    def name(self) -> str:
        """For people, such as "traditional + dtgan (2 per real)"."""
        if self.synthetic is None:
            return self.augmentation
        how = "" if self.amount is None else f" ({self.amount:g} per real)"
        return f"{self.augmentation} + {self.synthetic}{how}"

    @property
    def without(self) -> Arm:
        """The same without synthetic images."""
        return Arm(self.augmentation)


def arms(settings: StudySettings, names: Iterable[str]) -> tuple[Arm, ...]:
    """All arms, those without synthetic images first; each synthetic one has its counterpart among them."""
    names = list(names)
    plain = [*settings.augmentations, *(settings.synthetic_with if names else ())]
    listed = [Arm(augmentation) for augmentation in plain]
    listed += [Arm(kind, name, settings.amount) for name in names for kind in settings.synthetic_with]
    listed += [Arm(settings.synthetic_with[0], name, amount) for name in names for amount in sorted(settings.sweep)]
    return tuple(dict.fromkeys(listed))


def portions(
    real: Mapping[Category, int], there: Mapping[Category, int], normal: str, amount: float | None, fill: Fill
) -> dict[Category, int]:
    """How many synthetic images each category gets.

    Args:
        real: real training images of each category.
        there: synthetic images of each category.
        normal: name of the normal class, whose real images do not count for `amount`.
        amount: synthetic images per real defective one; None: as many as bring every category up to the fullest one.
        fill: `scarce`: the categories with the fewest images are raised together, to one level, as far as the images
            go; `even`: the same number for each category.
    """
    categories = sorted(there)
    if amount is None:
        level = max(real.values(), default=0)
        filled = {category: min(there[category], max(0, level - real.get(category, 0))) for category in categories}
        if fill == "scarce":
            return filled
        budget = sum(filled.values())
    else:
        budget = round(amount * sum(count for (_, defect), count in real.items() if defect != normal))
    base = {category: real.get(category, 0) if fill == "scarce" else 0 for category in categories}
    return _raised(base, there, budget)


def chosen(images: Decoded, portion: Mapping[Category, int], seed: int) -> Decoded:
    """That many images of each category, drawn by the seed; a larger portion holds the smaller one's images."""
    order = np.random.default_rng(seed).permutation(len(images))
    taken: Counter[Category] = Counter()
    numbers = []
    for number in order.tolist():
        category = images.records[number].category
        if taken[category] < portion.get(category, 0):
            taken[category] += 1
            numbers.append(number)
    return images.take(sorted(numbers))


def _raised(base: Mapping[Category, int], there: Mapping[Category, int], budget: int) -> dict[Category, int]:
    """Raises the lowest categories together until the budget, or what is there, is spent."""
    budget = min(budget, sum(there.values()))

    def at(level: int) -> dict[Category, int]:
        return {category: min(count, max(0, level - base[category])) for category, count in there.items()}

    low, high = 0, max((base[category] + there[category] for category in there), default=0)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if sum(at(middle).values()) <= budget else (low, middle - 1)
    given = at(low)
    more = [category for category, count in at(low + 1).items() if count > given[category]]
    for category in more[: budget - sum(given.values())]:
        given[category] += 1
    return given
