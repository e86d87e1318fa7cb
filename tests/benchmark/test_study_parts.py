"""Parts of the downstream study: statistics, conditions and sampling budgets, settings."""

from __future__ import annotations

import math

import numpy as np
import pytest

from defectaug.benchmark.conditions import Condition, conditions, sampling_budget
from defectaug.benchmark.intervals import Difference, enough_images, over_test_images, paired_difference
from defectaug.benchmark.settings import StudySettings
from defectaug.errors import ConfigError


def test_paired_interval_is_scipys() -> None:
    # scipy.stats.ttest_rel([1, 2, 4, 3, 6], [2, 2, 5, 6, 8]).confidence_interval(): (-2.815715, 0.015715)
    found = paired_difference([1, 2, 4, 3, 6], [2, 2, 5, 6, 8])
    assert (found.mean, found.runs) == (pytest.approx(-1.4), 5)
    assert found.ends == (pytest.approx(-2.8157148, abs=1e-6), pytest.approx(0.0157148, abs=1e-6))


def test_verdict_follows_the_rule() -> None:
    assert Difference(-0.1, 5, {"seeds": (-0.2, -0.01)}).verdict == "helps"
    assert Difference(0.1, 5, {"seeds": (0.01, 0.2)}).verdict == "hurts"
    assert Difference(-0.1, 5, {"seeds": (-0.3, 0.1)}).verdict == "no difference shown"
    assert Difference(-0.1, 5, {"seeds": (-0.2, -0.01)}, enough=False).verdict == "cannot be known"
    assert paired_difference([0.0], [0.9]).verdict == "no difference shown"
    assert paired_difference([0.1, 0.1], [0.1, 0.1]).verdict == "no difference shown"
    assert paired_difference([0.2, 0.3], [0.3, 0.4]).verdict == "no difference shown"  # no spread, no interval
    with pytest.raises(ValueError):
        paired_difference([], [])


def test_the_widest_interval_counts() -> None:
    found = Difference(-0.1, 5, {"seeds": (-0.12, -0.08), "test images": (-0.2, 0.01)})
    assert (found.over, found.verdict) == ("test images", "no difference shown")
    found = Difference(-0.1, 5, {"seeds": (-0.12, -0.08), "test images": (-0.15, -0.05)})
    spread = found.with_generators([-0.1, 0.1, -0.3])
    assert (spread.over, spread.verdict) == ("generators", "no difference shown")


def test_the_interval_over_test_images_is_that_of_a_mean() -> None:
    rng = np.random.default_rng(0)
    values = {defect: rng.normal(-0.2, 0.3, 60) for defect in ("scratch", "spot")}
    low, high = over_test_images({"A": values})
    error = np.sqrt(sum(one.var(ddof=1) / 60 for one in values.values())) / 2
    mean = np.mean([one.mean() for one in values.values()])
    assert (low, high) == (pytest.approx(mean - 1.96 * error, abs=0.01), pytest.approx(mean + 1.96 * error, abs=0.01))
    assert [enough_images(counts) for counts in ((10, 10), (9, 9), (40, 1, 1), (1,))] == [True, False, False, False]


def test_scarce_categories_are_filled_first() -> None:
    real = {("A", "normal"): 50, ("A", "scratch"): 30, ("A", "spot"): 4, ("B", "spot"): 10}
    available = {("A", "scratch"): 40, ("A", "spot"): 40, ("B", "spot"): 3}

    def budget(amount: float | None) -> list[int]:
        found = sampling_budget(real, available, "normal", amount)
        assert list(found) == list(available)
        return list(found.values())

    assert budget(None) == [20, 40, 3]
    assert budget(0.5) == [0, 19, 3]  # 22 for 44 real defective ones
    assert budget(0.1) == [0, 4, 0]
    assert budget(100) == list(available.values())


def test_conditions() -> None:
    settings = StudySettings(augmentations=("none",), synthetic_with=("cutout",), sweep=(4, 1))
    names = [one.name for one in conditions(settings, ["gan"])]
    assert names == ["none", "cutout", "cutout + gan", "cutout + gan (1 per real)", "cutout + gan (4 per real)"]
    assert conditions(settings, []) == (Condition("none"),)


@pytest.mark.parametrize(
    "bad",
    [
        {"seeds": ()}, {"seeds": (1, 1)}, {"steps": 0}, {"augmentations": ("blur",)}, {"amount": 0.0},
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
