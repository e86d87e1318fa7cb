"""Paired differences, their confidence interval, and the verdict on them. No torch."""

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

    @property
    def verdict(self) -> Verdict:
        """By `RULE`; without an interval no difference is shown."""
        if self.ends is None or self.ends[0] <= 0 <= self.ends[1]:
            return "no difference shown"
        return "helps" if self.ends[1] < 0 else "hurts"


def paired_difference(first: Sequence[float], second: Sequence[float], confidence: float = CONFIDENCE) -> Difference:
    """Mean of `first - second` and its interval by Student's t.

    Raises:
        ValueError: of different lengths, or empty.
    """
    from scipy.stats import t as student

    differences = [a - b for a, b in zip(first, second, strict=True)]
    if not differences:
        raise ValueError("no runs to compare")
    mean, runs = fmean(differences), len(differences)
    if runs == 1:
        return Difference(mean, None, None, 1)
    half = float(student.ppf((1 + confidence) / 2, runs - 1)) * stdev(differences) / math.sqrt(runs)
    return Difference(mean, mean - half, mean + half, runs)


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation, 0 for one value."""
    return fmean(values), stdev(values) if len(values) > 1 else 0.0
