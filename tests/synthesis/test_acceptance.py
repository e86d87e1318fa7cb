"""The acceptance test against planted bad defects."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from defectaug.synthesis.control.acceptance import Acceptance, Real, Shown

SIZE = 32


def spot(seed: int, radius: float = 4, tone: float = -0.5, features: float = 0.0) -> Shown:
    """A dark disc somewhere on a noisy surface, with features around a common middle."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    row, column = rng.uniform(8, 24, 2)
    there = (rows - row) ** 2 + (columns - column) ** 2 < (radius * rng.uniform(0.8, 1.25)) ** 2
    delta = (tone * rng.uniform(0.8, 1.2) * there)[None].astype(np.float32)
    image = rng.normal(0.2, 0.05, (1, SIZE, SIZE)).astype(np.float32) + delta
    return Shown(image, delta, (features + rng.normal(0, 1, 8)).astype(np.float32))


REAL = Real([spot(seed) for seed in range(8)], [f"{seed}.png" for seed in range(8)])


def test_defects_like_real_ones_are_accepted() -> None:
    verdicts = [Acceptance(REAL).verdict(spot(seed), 0.9) for seed in range(20, 60)]
    assert np.mean([verdict.accepted for verdict in verdicts]) > 0.9
    assert all(0 <= verdict.score <= 1 for verdict in verdicts)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (spot(90, tone=-0.02), "no visible defect"),
        (spot(91, radius=15), "larger than real ones"),
        (spot(92, radius=1), "smaller than real ones"),
        (spot(93, tone=0.6), "brighter than real ones"),
        (spot(94, tone=-0.09), "fainter than real ones"),
        (spot(95, features=20), "unlike real ones"),
        (replace(REAL.shown[3]), "a copy of 3.png"),
    ],
)
def test_planted_bad_ones_are_rejected_and_told_why(bad: Shown, reason: str) -> None:
    verdict = Acceptance(REAL).verdict(bad, 0.9)
    assert verdict.reason == reason and verdict.score < 0.5 and not verdict.accepted


def test_the_class_counts_and_copies_do_not_where_references_guide() -> None:
    assert Acceptance(REAL).verdict(spot(20), 0.3).reason == "taken for another defect, or for none"
    assert Acceptance(REAL, copies=False).verdict(REAL.shown[3], 0.9).accepted


def test_wishes_shift_what_is_expected() -> None:
    strong, large = spot(96, tone=-1.4), spot(97, radius=11)
    assert not Acceptance(REAL).verdict(strong, 0.9).accepted
    assert Acceptance(REAL).verdict(strong, 0.9, strength=3.0).accepted
    assert not Acceptance(REAL).verdict(large, 0.9).accepted
    assert Acceptance(REAL).verdict(large, 0.9, size=3.0).accepted
    unlike, far = (spot(98, radius=8, features=features) for features in (2.7, 20))
    assert Acceptance(REAL).verdict(unlike, 0.9).reason == "unlike real ones"
    assert Acceptance(REAL).verdict(unlike, 0.9, size=2.0).accepted
    assert Acceptance(REAL).verdict(far, 0.9, size=2.0).reason == "unlike real ones"


def test_without_real_ones_it_is_visible_and_of_its_class() -> None:
    assert Acceptance(Real()).verdict(spot(91, radius=15), 0.8).accepted
    assert not Acceptance(Real()).verdict(spot(90, tone=-0.02), 0.8).accepted
