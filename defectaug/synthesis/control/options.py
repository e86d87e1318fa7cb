"""The options of place, strength, size, number and acceptance, checked once. No torch."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from defectaug.errors import ConfigError, nearest
from defectaug.io.files import expanded

LEAST, MOST = 0.05, 20.0  # factors; beyond them a defect is neither seen nor one
MOST_DEFECTS = 20  # on one image
REGION_WORDS, KEEP_WORDS = ("auto", "none"), ("good", "all")

Factors = str | float | Sequence[float]


@dataclass(frozen=True)
class Range:
    """Factors from `low` to `high`, as likely below 1 as above it where they reach as far."""

    low: float = 1.0
    high: float = 1.0

    def __str__(self) -> str:
        return f"{self.low:g}:{self.high:g}"

    @property
    def is_one(self) -> bool:
        """Whether it changes nothing."""
        return self.low == self.high == 1

    def draw(self, seed: int) -> float:
        """A factor, evenly by its logarithm; the same for the same seed."""
        if self.low == self.high:
            return self.low
        return math.exp(random.Random(seed).uniform(math.log(self.low), math.log(self.high)))


def parse_range(option: str, value: Factors) -> Range:
    """`"0.5:2"`, `(0.5, 2)`, or one number for both ends.

    Args:
        option: its name, for the message.
        value: what was given.

    Raises:
        ConfigError: no two numbers, a number out of bounds, or the first above the second.
    """
    shown = ":".join(map(str, value)) if isinstance(value, Sequence) and not isinstance(value, str) else str(value)
    ends = shown.split(":")
    try:
        low, high = float(ends[0]), float(ends[-1])
    except ValueError:
        low = high = math.nan
    if len(ends) > 2 or math.isnan(low) or math.isnan(high):
        raise ConfigError(f"{option} {shown}: give two factors LO:HI, as 0.5:2, or one for both")
    if not min(low, high) >= LEAST or not max(low, high) <= MOST:
        raise ConfigError(f"{option} {shown}: factors must be from {LEAST:g} to {MOST:g}; 1 leaves defects as they are")
    if low > high:
        raise ConfigError(f"{option} {shown}: the first factor is above the second; did you mean {high:g}:{low:g}?")
    return Range(low, high)


@dataclass(frozen=True)
class Control:
    """What a run is asked for beyond its categories.

    Attributes:
        region: ``auto``, ``none``, or a folder or file of masks.
        strength, size: factors on the contrast and on the sides of defects.
        max_defects: on one image.
        keep: ``good`` rejects and draws anew what fails the acceptance test, ``all`` keeps it.
    """

    region: str | Path = "auto"
    strength: Range = Range()
    size: Range = Range()
    max_defects: int = 1
    keep: str = "good"

    @property
    def wish(self) -> str | None:
        """The first option that only a model which paints on images can heed; None where there is none."""
        given = {
            f"--region {self.region}": self.region not in REGION_WORDS,
            f"--strength {self.strength}": not self.strength.is_one,
            f"--size {self.size}": not self.size.is_one,
            f"--max-defects {self.max_defects}": self.max_defects > 1,
        }
        return next((option for option, is_given in given.items() if is_given), None)

    @staticmethod
    def of(region: str | Path, strength: Factors, size: Factors, max_defects: int, keep: str) -> Control:
        """From the options as they are given.

        Raises:
            ConfigError: one of them cannot be.
        """
        place = str(region)
        if place.casefold() in REGION_WORDS:
            region = place.casefold()
        elif not place or not expanded(place).exists():
            advice = nearest(place, REGION_WORDS)
            hint = advice if advice.startswith("did") else "give auto, none, a folder of masks, or one mask"
            raise ConfigError(f"--region {place or '(empty)'}: no such folder or file; {hint}")
        else:
            region = expanded(place)
        if not 1 <= max_defects <= MOST_DEFECTS:
            raise ConfigError(f"--max-defects {max_defects}: must be from 1 to {MOST_DEFECTS}")
        if keep.casefold() not in KEEP_WORDS:
            raise ConfigError(f"--keep {keep}: must be good or all")
        return Control(
            region, parse_range("--strength", strength), parse_range("--size", size), max_defects, keep.casefold()
        )
