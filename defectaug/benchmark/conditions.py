"""What is compared: augmentations, with and without synthetic images, and how many of these."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from defectaug.benchmark.settings import StudySettings
from defectaug.data.sample import Category
from defectaug.metrics.augmentation import Augmentation
from defectaug.metrics.images import Decoded


@dataclass(frozen=True)
class Condition:
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


def conditions(settings: StudySettings, sets: Iterable[str]) -> tuple[Condition, ...]:
    """All conditions, those without synthetic images first; each synthetic one has its counterpart among them."""
    names = list(sets)
    plain = [*settings.augmentations, *(settings.synthetic_with if names else ())]
    found = [Condition(augmentation) for augmentation in plain]
    found += [Condition(kind, name, settings.amount) for name in names for kind in settings.synthetic_with]
    first = settings.synthetic_with[0]
    found += [Condition(first, name, amount) for name in names for amount in sorted(settings.sweep)]
    return tuple(dict.fromkeys(found))


def sampling_budget(
    real: Mapping[Category, int], available: Mapping[Category, int], normal: str, amount: float | None
) -> dict[Category, int]:
    """How many synthetic images each category gets: those with the fewest images are raised together, to one level.

    Args:
        real: real training images of each category.
        available: synthetic images of each category.
        normal: name of the normal class, whose real images do not count for `amount`.
        amount: synthetic images per real defective one; None: as many as bring every category up to the fullest one.
    """
    base = {category: real.get(category, 0) for category in sorted(available)}
    if amount is None:
        level = max(real.values(), default=0)
        return {category: min(available[category], max(0, level - count)) for category, count in base.items()}
    total = round(amount * sum(count for (_, defect), count in real.items() if defect != normal))
    given = dict.fromkeys(base, 0)
    for _ in range(min(total, sum(available.values()))):
        left = (category for category in base if given[category] < available[category])
        given[min(left, key=lambda category: given[category] + base[category])] += 1
    return given


def subset(images: Decoded, budget: Mapping[Category, int], seed: int) -> Decoded:
    """That many images of each category, drawn by the seed; a larger budget holds the smaller one's images."""
    taken: Counter[Category] = Counter()
    numbers = []
    for number in np.random.default_rng(seed).permutation(len(images)).tolist():
        category = images.records[number].category
        if taken[category] < budget.get(category, 0):
            taken[category] += 1
            numbers.append(number)
    return images.take(sorted(numbers))
