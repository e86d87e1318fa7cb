"""examples/planted.py: the shipped model's acceptance test rejects what is planted, and little else."""

from __future__ import annotations

import sys
from pathlib import Path

import defectaug

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "examples"))

import planted  # noqa: E402


def test_planted_defects_are_rejected_by_the_model_that_ships(tmp_path: Path) -> None:
    model, source = defectaug.load_model(ROOT / "models/demo"), ROOT / "examples/demo/data"
    kinds = {
        "own": model,
        "faint": planted.spoilt(model, planted.SPOILT["hardly there"]),
        "relabelled": planted.relabelled(model),
    }
    found = {name: planted.reasons(kind, source, tmp_path / name, 3) for name, kind in kinds.items()}
    accepted = {name: one[""] / one.total() for name, one in found.items()}
    assert accepted["own"] >= 0.75
    assert accepted["faint"] == 0 and found["faint"]["no visible defect"] > found["faint"].total() / 2
    assert accepted["relabelled"] < 0.25
    assert planted.row("faint", found["faint"]).startswith("| faint | 18 of 18 | no visible defect")
