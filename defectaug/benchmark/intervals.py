"""Paired differences, their confidence intervals by what they are taken over, and the verdict on them. No torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean, stdev
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

Verdict = Literal["helps", "no difference shown", "hurts", "cannot be known"]
Ends = tuple[float, float]
CONFIDENCE = 0.95
RESAMPLES = 2000
LEAST, EACH = 20, 4  # test images in all, and of the category in the middle, below which nothing can be known
GENERATORS = 3  # sets by models of one recipe and data, from which on they tell how far models differ
RULE = (
    "Intervals of 95 % of the paired difference of error rates, with synthetic images less without (same seed, same "
    "split): over seeds (Student's t), over test images (bootstrap within each category) and, where three sets or "
    "more are by models of one recipe, over generators (Student's t). The widest counts. Synthetic images help where "
    "it lies wholly below zero, and hurt where it lies wholly above; else no difference is shown, nor where all seeds "
    f"differ by just the same. With fewer than {LEAST} test images, or {EACH} of most categories, it cannot be known. "
    "The same of error rates at the best line, where the line between normal and defective is moved, of each training "
    "and product, to where the fewest test images are named wrong: what differs there no other threshold gives."
)


@dataclass(frozen=True)
class Difference:
    """A mean over paired runs; `spans` are its confidence intervals by what they are taken over.

    Args:
        enough: whether there are test images enough to know anything.
    """

    mean: float
    runs: int
    spans: Mapping[str, Ends] = field(default_factory=dict)
    enough: bool = True

    @property
    def over(self) -> str | None:
        """What the widest interval is taken over; None where there is no interval.

        Two seeds that both name one image more right are no proof: of runs that differ by just the same there is none.
        """
        seeds = self.spans.get("seeds")
        if seeds is None or math.isclose(*seeds, rel_tol=1e-9, abs_tol=1e-12):
            return None
        return max(self.spans, key=lambda name: self.spans[name][1] - self.spans[name][0])

    @property
    def ends(self) -> Ends | None:
        """The widest interval."""
        return None if self.over is None else self.spans[self.over]

    @property
    def verdict(self) -> Verdict:
        """By `RULE`; without an interval no difference is shown."""
        if not self.enough:
            return "cannot be known"
        if self.ends is None or self.ends[0] <= 0 <= self.ends[1]:
            return "no difference shown"
        return "helps" if self.ends[1] < 0 else "hurts"

    def with_generators(self, means: Sequence[float]) -> Difference:
        """The same with the interval over models of one recipe, whose differences are `means`."""
        half = _half(means)
        return replace(self, spans={**self.spans, "generators": (self.mean - half, self.mean + half)})


def paired_difference(first: Sequence[float], second: Sequence[float]) -> Difference:
    """Mean of `first - second` and its interval over the pairs by Student's t.

    Raises:
        ValueError: of different lengths, or empty.
    """
    differences = [a - b for a, b in zip(first, second, strict=True)]
    if not differences:
        raise ValueError("no runs to compare")
    mean, runs = fmean(differences), len(differences)
    if runs == 1:
        return Difference(mean, 1)
    half = _half(differences)
    return Difference(mean, runs, {"seeds": (mean - half, mean + half)})


def over_test_images(changes: Mapping[str, Mapping[str, NDArray]]) -> Ends:
    """Bootstrap interval of the mean over products of the mean over defects: other test images of each are drawn.

    Args:
        changes: of each product and defect, how much oftener each test image (N,) is named wrong; the mean over seeds.
    """
    rng = np.random.default_rng(0)
    products = []
    for of in changes.values():
        means = []
        for values in of.values():
            count = len(values)
            drawn = values[rng.integers(0, count, (RESAMPLES, count))].mean(1)
            # The spread of resamples is too small by the root of (n - 1) / n
            means.append(values.mean() + (drawn - values.mean()) * math.sqrt(count / max(count - 1, 1)))
        products.append(np.mean(means, 0))
    low, high = np.quantile(np.mean(products, 0), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def enough_images(counts: Sequence[int]) -> bool:
    """Whether so many test images of the categories can tell anything."""
    return sum(counts) >= LEAST and float(np.median(counts)) >= EACH


def _half(values: Sequence[float]) -> float:
    return float(student.ppf((1 + CONFIDENCE) / 2, len(values) - 1)) * stdev(values) / math.sqrt(len(values))


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation, 0 for one value."""
    return fmean(values), stdev(values) if len(values) > 1 else 0.0
