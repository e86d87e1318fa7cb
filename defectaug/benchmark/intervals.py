"""Paired differences, their confidence interval, and what they mean in words. No torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Literal

Verdict = Literal["helps", "no difference shown", "hurts"]
CONFIDENCE = 0.95
RULE = (
    "Synthetic images help where the 95 % confidence interval of the paired difference of error rates, with them less "
    "without (same seed, same split; Student's t over the seeds), lies wholly below zero, and hurt where it lies "
    "wholly above; else no difference is shown, nor where all seeds differ by just the same, which leaves no interval."
)


@dataclass(frozen=True)
class Difference:
    """A mean over paired runs with its confidence interval; `low` and `high` are None for a single run."""

    mean: float
    low: float | None
    high: float | None
    runs: int

    @property
    def ends(self) -> tuple[float, float] | None:
        """The interval; None for a single run, and for runs that differ by just the same.

        Two seeds that both name one image more right are no proof, and their interval would pass for a sure one.
        """
        if self.low is None or self.high is None or math.isclose(self.low, self.high, rel_tol=1e-9, abs_tol=1e-12):
            return None
        return self.low, self.high


def paired_difference(first: Sequence[float], second: Sequence[float], confidence: float = CONFIDENCE) -> Difference:
    """Mean of `first - second` and its t-interval.

    Raises:
        ValueError: of different lengths, or empty.
    """
    differences = [a - b for a, b in zip(first, second, strict=True)]
    if not differences:
        raise ValueError("no runs to compare")
    mean, runs = fmean(differences), len(differences)
    if runs == 1:
        return Difference(mean, None, None, 1)
    half = t_quantile((1 + confidence) / 2, runs - 1) * stdev(differences) / math.sqrt(runs)
    return Difference(mean, mean - half, mean + half, runs)


def verdict(difference: Difference) -> Verdict:
    """In words, by `RULE`; without an interval no difference is shown."""
    if difference.ends is None:
        return "no difference shown"
    low, high = difference.ends
    if high < 0:
        return "helps"
    return "hurts" if low > 0 else "no difference shown"


def spread(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation, 0 for one value."""
    return fmean(values), stdev(values) if len(values) > 1 else 0.0


def t_quantile(probability: float, freedom: int) -> float:
    """Quantile of Student's t with a whole number of degrees of freedom, by bisection.

    Raises:
        ValueError: a probability outside (0.5, 1), or no degree of freedom.
    """
    if not 0.5 < probability < 1 or freedom < 1:
        raise ValueError(f"t quantile of {probability} with {freedom} degrees of freedom")
    low, high = 0.0, 1.0
    while t_cdf(high, freedom) < probability:
        high *= 2
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if t_cdf(middle, freedom) < probability else (low, middle)
    return (low + high) / 2


def t_cdf(t: float, freedom: int) -> float:
    """P(T <= t) of Student's t; the finite sums of Abramowitz and Stegun, 26.7.3 and 26.7.4."""
    angle = math.atan2(t, math.sqrt(freedom))
    cosine, sine = math.cos(angle), math.sin(angle)
    if freedom % 2:
        terms, term = 0.0, cosine
        for k in range(1, (freedom - 1) // 2 + 1):
            terms += term
            term *= cosine**2 * 2 * k / (2 * k + 1)
        return 0.5 + (angle + sine * terms) / math.pi
    terms, term = 0.0, 1.0
    for k in range(1, freedom // 2 + 1):
        terms += term
        term *= cosine**2 * (2 * k - 1) / (2 * k)
    return 0.5 + sine * terms / 2
