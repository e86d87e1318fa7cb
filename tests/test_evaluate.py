"""The first, simple numbers: counts, exact duplicates, what painting has changed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from fake_model import FakeModel, data, info, save, surface

from defectaug.data.images import read_image, read_mask
from defectaug.errors import ConfigError, DataError
from defectaug.evaluation.api import evaluate
from defectaug.evaluation.measures import repeats, shared
from defectaug.synthesis.api import synthesize


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return data(tmp_path / "data")


@pytest.fixture
def out(root: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    synthesize(model=FakeModel(info(root)), n=6, masks=True, out=folder)
    return folder


def test_counts_of_a_balanced_folder(root: Path, out: Path) -> None:
    result = evaluate(root, out)
    assert result.real == {"A/normal": 5, "A/scratch": 2, "B/normal": 4, "B/scratch": 1, "B/spot": 3}
    (score,) = result.synthetic
    assert score.real == result.real
    assert score.synthetic == {"A/scratch": 4, "A/spot": 6, "B/scratch": 5, "B/spot": 3}
    assert (score.copies_of_real, score.repeats, result.repeats) == (0, 0, 0)
    assert "A/spot" in result.describe()


def test_change_is_the_mean_difference_from_the_source(root: Path, out: Path) -> None:
    change = evaluate(root, [out]).synthetic[0].change["A/scratch"]
    means, outside = [], []
    for line in map(json.loads, (out / "manifest.jsonl").read_text().splitlines()):
        if line["synthetic"] and (line["product"], line["defect"]) == ("A", "scratch"):
            before, after = read_image(Path(line["source"])).pixels, read_image(out / line["file"]).pixels
            difference = np.abs(after.astype(float) - before)
            means.append(difference.mean())
            outside.append(difference[~read_mask(out.with_name("out.masks") / line["file"])].mean())
    assert change.images == 4
    assert change.everywhere == pytest.approx(np.mean(means), rel=1e-4)
    assert change.outside == pytest.approx(np.mean(outside), rel=1e-4)
    assert change.outside is not None
    assert change.outside < 0.1 < change.everywhere


def test_copies_are_found_whatever_the_file_format(root: Path, out: Path) -> None:
    spots = sorted((out / "A/spot").glob("spot-*.png"))
    shutil.copy(spots[0], spots[1])
    shutil.copy(root / "A/scratch/000.png", spots[2])
    pixels = read_image(root / "A/normal/000.png").pixels
    save(root / "A/normal/copy.bmp", pixels)
    result = evaluate(root, out)
    assert result.repeats == 1
    assert (result.synthetic[0].repeats, result.synthetic[0].copies_of_real) == (1, 1)
    assert repeats(["a", "b", "a", "a"]) == 2
    assert shared(["a", "a", "c"], ["a", "b"]) == 2


def test_a_folder_without_manifest(root: Path, tmp_path: Path) -> None:
    for number in range(2):
        save(tmp_path / "other/A/spot" / f"{number}.png", surface(50 + number))
    (score,) = evaluate(root, tmp_path / "other").synthetic
    assert score.synthetic == {"A/spot": 2}
    assert score.change == {}


def test_images_of_the_model_that_is_named(root: Path, out: Path) -> None:
    assert evaluate(root, out, model=FakeModel(info(root))).synthetic[0].by_this_model == 18
    other = FakeModel(info(root, weights_sha256="1" * 64))
    assert evaluate(root, out, model=other).synthetic[0].by_this_model == 0


def test_json(root: Path, out: Path, tmp_path: Path) -> None:
    result = evaluate(root, out, json=tmp_path / "r.json")
    assert json.loads((tmp_path / "r.json").read_text()) == json.loads(json.dumps(result.as_json()))


def test_errors(root: Path, out: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--report"):
        evaluate(root, report=tmp_path / "r.html")
    with pytest.raises(DataError, match="no such folder"):
        evaluate(root, tmp_path / "nothing")
    next((out / "A/spot").glob("*.png")).unlink()
    with pytest.raises(DataError, match="not there"):
        evaluate(root, out)


def test_unreadable_images_are_named_and_skipped(root: Path) -> None:
    (root / "A/normal/000.png").write_bytes(b"no image")
    said: list[str] = []
    assert evaluate(root, say=said.append).real["A/normal"] == 4
    assert any("A/normal/000.png" in line for line in said)
