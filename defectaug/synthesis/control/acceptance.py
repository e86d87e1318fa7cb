"""Is a painted defect good enough? Visible, of its class, within what real ones are like, and no copy. NumPy only.

Each check gives a number in [0, 1], 0.5 at its limit; the weakest of them is the score of an image, and 0.5 is the
least that is accepted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from defectaug.io.masks import SHARE_OF_PEAK, VISIBLE

LIMIT = 0.5
INVISIBLE = "no visible defect"
# The change must pass the mask's threshold by a margin: enlarging it rounds its peaks off.
FAINTEST = 1.25 * VISIBLE
LEAST_REAL = 3  # real defects that make a range
# CHOICE: how far the ranges of real ones are widened at both ends, since a few real ones do not show them whole, and a
# model may miss a part of a real defect: in natural logarithms of area and contrast, and in white levels of tone.
AREA, CONTRAST, TONE = 1.0, 0.7, 0.1
SHARE = 0.5  # and as a share of their width
FAR = 1.2  # CHOICE: times the greatest distance of a real one from the nearest other one
COPY = 0.15  # difference to a real image, as a share of what the defect changes, at which it is a copy
STEEP = 4  # how soon a check falls beyond its limit

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Shown:
    """One defect as it is seen at the model's size.

    Attributes:
        image: (C, S, S) in [-1, 1], with the defect.
        delta: (C, S, S), what the defect changes.
        features: (F,), what the model sees of it; F may be 0.
    """

    image: Floats
    delta: Floats
    features: Floats

    @property
    def mask(self) -> NDArray[np.bool_]:
        """(S, S), where the change is visible."""
        return visible(self.delta)

    def measures(self) -> dict[str, float]:
        """Logarithms of area and contrast, and the tone, in white levels."""
        mask = self.mask
        inside = self.delta[:, mask] / 2
        contrast = float(np.sqrt((inside**2).mean())) if mask.any() else 0.0
        return {
            "area": math.log(max(float(mask.mean()), 1e-6)),
            "contrast": math.log(max(contrast, 1e-4)),
            "tone": float(inside.mean()) if mask.any() else 0.0,
        }


@dataclass(frozen=True)
class Verdict:
    """Score in [0, 1], and what is wrong where it is below :data:`LIMIT`, else None."""

    score: float
    reason: str | None

    @property
    def accepted(self) -> bool:
        return self.reason is None

    @property
    def visible(self) -> bool:
        return self.reason != INVISIBLE


@dataclass(frozen=True)
class Real:
    """What real defects of one category are like; too few of them say nothing.

    Attributes:
        shown: the real ones, ``delta`` being the difference to what the model takes for their clean images.
        names: of their files.
    """

    shown: Sequence[Shown] = ()
    names: Sequence[str] = ()

    def ranges(self) -> dict[str, tuple[float, float]]:
        """Least and greatest of each measure, widened; none where there are too few real ones."""
        if len(self.shown) < LEAST_REAL:
            return {}
        found = [one.measures() for one in self.shown]
        wider = {"area": AREA, "contrast": CONTRAST, "tone": TONE}
        ends = {name: (min(one[name] for one in found), max(one[name] for one in found)) for name in wider}
        return {
            name: (low - wider[name] - SHARE * (high - low), high + wider[name] + SHARE * (high - low))
            for name, (low, high) in ends.items()
        }

    def distances(self) -> tuple[NDArray[np.float64], float] | None:
        """Features (M, F) in units of their deviation, and the distance from which one is far from all of them."""
        if len(self.shown) < LEAST_REAL or not self.shown[0].features.size:
            return None
        features = np.stack([one.features for one in self.shown]).astype(float)
        apart = np.linalg.norm(features[:, None] - features[None], axis=-1)
        np.fill_diagonal(apart, np.inf)
        return features, FAR * float(apart.min(1).max())


class Acceptance:
    """The acceptance test of one category.

    Args:
        real: real defects of it.
        copies: whether a defect like a real one at its own place counts as a copy; not so where references guide.
    """

    def __init__(self, real: Real, copies: bool = True) -> None:
        self._ranges, self._distances = real.ranges(), real.distances()
        self._names = list(real.names) if copies else []
        self._images = np.stack([one.image for one in real.shown]) if self._names else np.empty(0, np.float32)

    def verdict(
        self, shown: Shown, confidence: float, strength: float = 1.0, size: float = 1.0, varied: float = 1.0
    ) -> Verdict:
        """The verdict on one defect.

        Args:
            shown: the defect.
            confidence: of the model that it is of its class, at least 0.5 where it is.
            strength, size: factors that were asked for; real ones would be so much stronger and larger.
            varied: a further one on the sides, which it may have or not.
        """
        peak = float(np.abs(shown.delta).max(initial=0)) / 2
        checks = [(min(1.0, LIMIT * peak / FAINTEST), INVISIBLE)]
        if checks[0][0] >= LIMIT:
            checks.append((confidence, "taken for another defect, or for none"))
            checks += self._in_range(shown, strength, size, varied)
            sides = size * varied
            checks += self._near_real(shown, math.sqrt(max(strength, 1 / strength) * max(sides, 1 / sides)))
            checks += self._no_copy(shown)
        score, reason = min(checks, key=lambda check: check[0])
        return Verdict(round(score, 3), None if score >= LIMIT else reason)

    def _in_range(self, shown: Shown, strength: float, size: float, varied: float) -> list[tuple[float, str]]:
        values, own = shown.measures(), 2 * math.log(varied)
        room = {"area": (min(own, 0), max(own, 0))}
        as_found = {
            "area": values["area"] - 2 * math.log(size),
            "contrast": values["contrast"] - math.log(strength),
            "tone": values["tone"] / strength,
        }
        words = {"area": ("smaller", "larger"), "contrast": ("fainter", "stronger"), "tone": ("darker", "brighter")}
        return [
            (_within(as_found[name], low + less, high + more), f"{words[name][as_found[name] > high]} than real ones")
            for name, (low, high) in self._ranges.items()
            for less, more in [room.get(name, (0.0, 0.0))]
        ]

    def _near_real(self, shown: Shown, wished: float) -> list[tuple[float, str]]:
        """``wished``: by how much further away its features may be, since it was to be stronger or weaker, larger or
        smaller than real ones (CHOICE: the root of these factors)."""
        if self._distances is None:
            return []
        features, far = self._distances
        nearest = float(np.linalg.norm(features - shown.features, axis=1).min())
        return [(_falling(nearest / max(wished * far, 1e-6)), "unlike real ones")]

    def _no_copy(self, shown: Shown) -> list[tuple[float, str]]:
        if not self._names:
            return []
        mask = shown.mask
        change = float(np.abs(shown.delta[:, mask]).mean())
        apart = np.abs(self._images[:, :, mask] - shown.image[:, mask]).mean((1, 2)) / change
        nearest = int(apart.argmin())
        return [(_falling(COPY / max(float(apart[nearest]), 1e-3)), f"a copy of {self._names[nearest]}")]


def visible(delta: Floats) -> NDArray[np.bool_]:
    """Where a change (C, S, S) is visible: (S, S)."""
    strength = np.abs(delta).max(axis=0) / 2
    return strength > max(VISIBLE, SHARE_OF_PEAK * float(strength.max(initial=0)))


def _within(value: float, low: float, high: float) -> float:
    """1 in the middle of a range, 0.5 at its ends."""
    return _falling(abs(value - (low + high) / 2) / max((high - low) / 2, 1e-6))


def _falling(ratio: float) -> float:
    """1 at 0, 0.5 at 1, 0 far beyond."""
    return float(1 / (1 + ratio**STEEP))
