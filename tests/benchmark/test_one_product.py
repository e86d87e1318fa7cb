"""Folders of one product, DEFECT/*, of any names: test images and synthetic ones belong to the product of the real."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from small_networks import small_config
from study_helpers import folder, not_taught
from test_study import QUICK

from defectaug.benchmark import runs
from defectaug.benchmark.api import run_study
from defectaug.data.index import alike, index_folder
from defectaug.io.progress import unheard
from defectaug.reporting.api import evaluate
from defectaug.training.prepare import DataOptions

COUNTS = {"A/normal": 12, "A/scratch": 12}


@pytest.fixture
def flat(tmp_path: Path) -> dict[str, Path]:
    """Real, test and synthetic images, each in DEFECT/*."""
    streams = {"parts": 0, "later": 1, "from another tool": 2}
    for name, stream in streams.items():
        counts = COUNTS if stream < 2 else {"A/scratch": 6}
        folder(tmp_path / "native", counts, stream=stream)
        (tmp_path / "native/A").rename(tmp_path / name)
    return {name: tmp_path / name for name in streams}


def test_the_study_tests_on_and_takes_them(flat: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "train", not_taught)
    real, test, made = flat.values()
    told: list[str] = []
    result = run_study(real, [made], QUICK, test=test, log=told.append)
    assert result.products == ("parts",) and len(result.split["test"]) == 24 and not result.left_out[made.name]
    assert [f"{one}: no folder names the product; taken for 'parts'" in told for one in (test, made)] == [True] * 2
    said = evaluate(real, made, test=test, only=["counts"]).describe()
    assert "parts/scratch" in said and "later/scratch" not in said


def test_images_held_out_are_counted_as_its_own(flat: dict[str, Path]) -> None:
    real, test, _ = flat.values()
    shutil.copy(real / "scratch/000.png", test / "scratch/copy.png")
    told: list[str] = []
    *_, held = DataOptions(real, holdout=str(test)).read(small_config(), False, told.append)
    assert held.files == ("scratch/000.png",)
    assert not any("no test image" in line for line in told)


def test_a_folder_that_names_products_keeps_them(tmp_path: Path) -> None:
    one = index_folder(folder(tmp_path / "one", COUNTS))
    two = index_folder(folder(tmp_path / "two", COUNTS | {"B/normal": 1}))
    other = index_folder(folder(tmp_path / "other", {name.replace("A", "C"): 1 for name in COUNTS}))
    for further, index in ((two, one), (one, two), (other, one), (other, two)):
        assert alike(further, index, unheard) == further
