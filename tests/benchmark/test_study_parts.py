"""Parts of the downstream study: statistics, conditions and sampling budgets, settings."""

from __future__ import annotations

import math

import pytest

from defectaug.benchmark.conditions import Arm, arms, portions
from defectaug.benchmark.intervals import Difference, paired_difference, t_cdf, t_quantile, verdict
from defectaug.benchmark.settings import StudySettings
from defectaug.errors import ConfigError


# Student's t as scipy.stats.t.ppf and .cdf give it
@pytest.mark.parametrize(
    ("freedom", "quantile"),
    [(1, 12.706204736), (2, 4.302652730), (4, 2.776445105), (9, 2.262157163), (29, 2.045229642)],
)
def test_t_quantiles(freedom: int, quantile: float) -> None:
    assert t_quantile(0.975, freedom) == pytest.approx(quantile, rel=1e-8)
    assert t_cdf(quantile, freedom) == pytest.approx(0.975, rel=1e-8)
    assert t_cdf(-quantile, freedom) == pytest.approx(0.025, rel=1e-7)


def test_paired_interval_is_scipys() -> None:
    # scipy.stats.ttest_rel([1, 2, 4, 3, 6], [2, 2, 5, 6, 8]).confidence_interval(): (-2.815715, 0.015715)
    found = paired_difference([1, 2, 4, 3, 6], [2, 2, 5, 6, 8])
    assert (found.mean, found.runs) == (pytest.approx(-1.4), 5)
    assert (found.low, found.high) == (pytest.approx(-2.8157148, abs=1e-6), pytest.approx(0.0157148, abs=1e-6))


def test_verdict_follows_the_rule() -> None:
    assert verdict(Difference(-0.1, -0.2, -0.01, 5)) == "helps"
    assert verdict(Difference(0.1, 0.01, 0.2, 5)) == "hurts"
    assert verdict(Difference(-0.1, -0.3, 0.1, 5)) == "no difference shown"
    assert verdict(paired_difference([0.0], [0.9])) == "no difference shown"
    assert verdict(paired_difference([0.1, 0.1], [0.1, 0.1])) == "no difference shown"
    assert verdict(paired_difference([0.2, 0.3], [0.3, 0.4])) == "no difference shown"  # no spread, no interval
    with pytest.raises(ValueError):
        paired_difference([], [])


def test_scarce_cells_are_filled_first() -> None:
    real = {("A", "normal"): 50, ("A", "scratch"): 30, ("A", "spot"): 4, ("B", "spot"): 10}
    there = {("A", "scratch"): 40, ("A", "spot"): 40, ("B", "spot"): 3}
    full = portions(real, there, "normal", None, "scarce")
    assert full == {("A", "scratch"): 20, ("A", "spot"): 40, ("B", "spot"): 3}
    half = portions(real, there, "normal", 0.5, "scarce")  # 22 for 44 real defective ones
    assert half == {("A", "scratch"): 0, ("A", "spot"): 19, ("B", "spot"): 3}
    assert portions(real, there, "normal", 0.1, "scarce") == {("A", "scratch"): 0, ("A", "spot"): 4, ("B", "spot"): 0}
    assert portions(real, there, "normal", 0.5, "even") == {("A", "scratch"): 10, ("A", "spot"): 9, ("B", "spot"): 3}
    assert portions(real, there, "normal", 100, "scarce") == there


def test_arms() -> None:
    settings = StudySettings(augmentations=("none",), synthetic_with=("cutout",), sweep=(4, 1))
    names = [arm.name for arm in arms(settings, ["gan"])]
    assert names == ["none", "cutout", "cutout + gan", "cutout + gan (1 per real)", "cutout + gan (4 per real)"]
    assert arms(settings, []) == (Arm("none"),)


@pytest.mark.parametrize(
    "bad",
    [
        {"seeds": ()}, {"seeds": (1, 1)}, {"steps": 0}, {"augmentations": ("blur",)}, {"amount": 0.0}, {"fill": "all"},
        {"validation": 0.6, "test": 0.5}, {"real_share": 1.0}, {"sweep": (-1.0,)}, {"image_size": 8}, {"rate": 0.0},
    ],
)  # fmt: skip
def test_bad_settings(bad: dict) -> None:
    with pytest.raises(ConfigError, match="study setting"):
        StudySettings(**bad)


def test_full_study_is_the_papers() -> None:
    full = StudySettings.full()
    assert full.classifier == "resnet50" and len(full.seeds) == 5 and len(full.augmentations) == 5
    assert math.isclose(full.validation + full.test, 0.45)
