"""What an error rate is made of: false alarms, and defects that are named wrong."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from defectaug.benchmark.result import ALL, Comparison, ConditionResult, Run
from defectaug.benchmark.runs import Outcome
from defectaug.benchmark.scoring import best_line, named_wrong, told_apart
from defectaug.reporting.study import alarm_sentence, alarm_table


def condition(
    name: str, *wrong: dict[str, tuple[int, int]], auroc: float = 0.5, best: float = 0.2
) -> ConditionResult:
    runs = tuple(
        Run(seed, {}, some, None, None, 0.0, {}, {ALL: best}, {}, {ALL: auroc}) for seed, some in enumerate(wrong)
    )
    return ConditionResult(name, "none", None, None, {}, runs)


@pytest.fixture
def result() -> SimpleNamespace:
    """Synthetic images halve what is missed, and treble the false alarms."""
    without = {"A/good": (2, 20), "A/dent": (8, 10), "B/good": (0, 10), "B/dent": (4, 10), "B/hole": (6, 10)}
    with_them = {"A/good": (6, 20), "A/dent": (4, 10), "B/good": (0, 10), "B/dent": (2, 10), "B/hole": (3, 10)}
    found = [condition("none", without, without), condition("none + made", with_them, with_them, auroc=0.75, best=0.1)]
    return SimpleNamespace(classes=("good", "dent", "hole"), conditions=found,
                           condition=lambda name: next(one for one in found if one.name == name))  # fmt: skip


def test_false_alarms_are_told_beside_what_is_missed(result: SimpleNamespace) -> None:
    said = alarm_sentence(result, Comparison("none + made", "none", "made", {}))  # type: ignore[arg-type]
    alarms, wrong = said.split(", of defective ones ")
    assert "of normal images 15" in alarms and "named a defect (5" in alarms
    assert wrong.startswith("30") and "wrong (60" in wrong
    assert "AUROC 75" in wrong and "(50" in wrong
    table = alarm_table(result)  # type: ignore[arg-type]
    assert [row[0] for row in table.rows] == ["none", "none + made"]
    assert [[round(cell.mean) for cell in row[1:]] for row in table.rows] == [[5, 60, 50, 20], [15, 30, 75, 10]]


def test_without_normal_test_images_there_are_no_alarms_to_tell_of(result: SimpleNamespace) -> None:
    found = condition("none", {"A/dent": (1, 4)})
    assert found.named_wrong("good", defective=False) == []
    assert found.named_wrong("good", defective=True) == [0.25]
    result.conditions = [found]
    assert alarm_table(result).rows[0][1] is None  # type: ignore[arg-type]


def test_the_area_does_not_depend_on_where_the_line_is_drawn() -> None:
    shown = "A/good A/good A/dent A/dent B/dent C/good C/hole"
    categories = [tuple(one.split("/")) for one in shown.split()]
    trial = SimpleNamespace(
        classes=("good", "dent", "hole"), real=SimpleNamespace(test=SimpleNamespace(categories=categories))
    )
    likely = (1e-9, 1e-8, 1e-7, 5e-9, 0.5, 0.9, 0.2)  # all but two are named good
    found = told_apart(trial, Outcome((1,) * 7, (0.0,) * 7, likely, (), 0.0))  # type: ignore[arg-type]
    assert found == {"A": 0.75, "C": 0.0, ALL: 0.375}  # B has no good ones to compare with


def test_the_line_is_moved_where_fewest_are_named_wrong() -> None:
    """A: the classifier calls all good, but its margins part the kinds; one hole looks like a dent wherever the line
    is. B has no good images, and C's line is as good as any."""
    shown = "A/good A/good A/dent A/hole A/hole B/dent C/good C/dent"
    categories = [tuple(one.split("/")) for one in shown.split()]
    trial = SimpleNamespace(
        classes=("good", "dent", "hole"), real=SimpleNamespace(test=SimpleNamespace(categories=categories))
    )
    margins = (-5.0, -4.0, -3.0, -2.0, -1.0, -1.0, -1.0, 1.0)
    outcome = Outcome((1, 1, 1, 2, 1, 1, 1, 1), margins, (0.0,) * 8, (), 0.0)

    def wrong(*, best: bool) -> dict[str, dict[str, list[bool]]]:
        found = named_wrong(trial, outcome, best=best)  # type: ignore[arg-type]
        return {product: {name: row.tolist() for name, row in of.items()} for product, of in found.items()}

    own = {"A": {"good": [False] * 2, "dent": [True], "hole": [True] * 2}, "B": {"dent": [True]},
           "C": {"good": [False], "dent": [False]}}  # fmt: skip
    assert wrong(best=False) == own
    assert wrong(best=True) == {"A": {"good": [False] * 2, "dent": [False], "hole": [False, True]}, "C": own["C"]}


def test_the_best_line_is_the_one_that_a_search_finds() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        count = int(rng.integers(1, 12))
        margins, weights = rng.integers(-3, 4, count).astype(float), rng.random(count)
        normal, confused = rng.random((2, count)) < 0.4
        line = best_line(margins, normal, confused, weights)

        def error(at: float, now: tuple = (margins, normal, confused, weights)) -> float:
            margins, normal, confused, weights = now
            return float((weights * np.where(margins > at, normal | confused, ~normal)).sum())

        least = min(map(error, np.arange(-4.5, 5, 0.5)))
        assert error(line) == pytest.approx(least)
        assert line == 0 or error(0) > least + 1e-9
    with pytest.raises(ValueError, match="no images"):
        best_line(np.zeros(0), np.zeros(0, bool), np.zeros(0, bool), np.zeros(0))
