"""What an error rate is made of: false alarms, and defects that are named wrong."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from defectaug.benchmark.api import told_apart
from defectaug.benchmark.result import ALL, Comparison, ConditionResult, Run
from defectaug.benchmark.runs import Outcome
from defectaug.reporting.study import alarm_sentence, alarm_table


def condition(name: str, *wrong: dict[str, tuple[int, int]], auroc: float = 0.5) -> ConditionResult:
    runs = tuple(Run(seed, {}, some, None, None, 0.0, {}, {ALL: auroc}) for seed, some in enumerate(wrong))
    return ConditionResult(name, "none", None, None, {}, runs)


@pytest.fixture
def result() -> SimpleNamespace:
    """Synthetic images halve what is missed, and treble the false alarms."""
    without = {"A/good": (2, 20), "A/dent": (8, 10), "B/good": (0, 10), "B/dent": (4, 10), "B/hole": (6, 10)}
    with_them = {"A/good": (6, 20), "A/dent": (4, 10), "B/good": (0, 10), "B/dent": (2, 10), "B/hole": (3, 10)}
    found = [condition("none", without, without), condition("none + made", with_them, with_them, auroc=0.75)]
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
    assert [[round(cell.mean) for cell in row[1:]] for row in table.rows] == [[5, 60, 50], [15, 30, 75]]


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
    outcome = Outcome((0,) * 7, (1e-9, 1e-8, 1e-7, 5e-9, 0.5, 0.9, 0.2), (), 0.0)  # all but two are named good
    found = told_apart(trial, outcome)  # type: ignore[arg-type]
    assert found == {"A": 0.75, "C": 0.0, ALL: 0.375}  # B has no good ones to compare with
