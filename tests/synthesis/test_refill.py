"""Images that a person rejects are taken away, and others made in their place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from command_line import Run
from fake_model import FakeModel, contents, info, lines

from defectaug.data.class_map import ClassMap
from defectaug.errors import BundleError, DataError, OutputError
from defectaug.synthesis import api
from defectaug.synthesis.api import refill, synthesize


@pytest.fixture
def out(model: FakeModel, tmp_path: Path) -> Path:
    synthesize(
        model=model, product="A", n=4, out=tmp_path / "out", export="coco", report=tmp_path / "page.html", seed=3
    )
    return tmp_path / "out"


def listed(tmp_path: Path, *files: str) -> Path:
    path = tmp_path / "rejected.txt"
    path.write_text("\n".join(files) + "\n", encoding="utf-8")
    return path


def files(out: Path) -> list[str]:
    return [line["file"] for line in lines(out)]


def test_gaps_are_filled_by_the_images_that_a_longer_run_makes(model: FakeModel, tmp_path: Path, out: Path) -> None:
    before = contents(out)
    gone = ["A/scratch/scratch-s3-00001.png", "A/spot/spot-s3-00000.png", "A/scratch/scratch-s3-00003.png"]
    summary = refill(listed(tmp_path, *gone), out, model=model)
    assert (summary.synthetic, summary.kept, summary.complete) == (3, 5, True)
    synthesize(model=model, product="A", n=6, out=tmp_path / "longer", seed=3)
    after, longer = contents(out), contents(tmp_path / "longer")
    new = {"A/scratch/scratch-s3-00004.png", "A/scratch/scratch-s3-00005.png", "A/spot/spot-s3-00004.png"}
    assert set(files(out)) == ({file for file in before if file.endswith(".png")} - set(gone)) | new
    assert all(after[file] == longer[file] for file in files(out))
    assert not any((out / file).exists() or (tmp_path / "out.masks" / file).exists() for file in gone)
    assert all((tmp_path / "out.masks" / file).is_file() for file in new)
    assert [line["index"] for line in lines(out)] == sorted({line["index"] for line in lines(out)})
    annotated = json.loads((tmp_path / "out.coco/annotations.json").read_text())
    assert [image["file_name"] for image in annotated["images"]] == files(out)
    assert all(file in (tmp_path / "page.html").read_text() for file in new)
    assert not any(file in (tmp_path / "page.html").read_text() for file in gone)


def test_what_came_in_place_of_others_can_be_taken_away_too(model: FakeModel, tmp_path: Path, out: Path) -> None:
    for number in range(3):
        refill(listed(tmp_path, f"A/spot/spot-s3-{number + 2:05d}.png"), out, model=model)
    assert [file for file in files(out) if "spot" in file] == [
        f"A/spot/spot-s3-{number:05d}.png" for number in (0, 1, 5, 6)
    ]
    assert refill(listed(tmp_path, "A/spot/spot-s3-00003.png"), out, model=model).synthetic == 0  # taken away before


def test_a_balanced_set_is_filled_up_and_its_real_images_stay(model: FakeModel, tmp_path: Path) -> None:
    out = tmp_path / "out"
    synthesize(model=model, n=6, out=out, class_map=ClassMap(defects={"spot": "spot"}))
    gone = next(line["file"] for line in lines(out) if line["synthetic"])
    count = len(files(out))
    assert refill(listed(tmp_path, gone), out, model=model).synthetic == 1
    assert len(files(out)) == count
    real = next(line["file"] for line in lines(out) if not line["synthetic"])
    with pytest.raises(DataError, match="is a real image"):
        refill(listed(tmp_path, real), out, model=model)


def test_an_image_removed_by_hand_is_replaced_too(model: FakeModel, tmp_path: Path, out: Path) -> None:
    (out / "A/spot/spot-s3-00002.png").unlink()
    assert refill(listed(tmp_path), out, model=model).synthetic == 1
    assert "A/spot/spot-s3-00004.png" in files(out)


@pytest.mark.parametrize(
    "name", ["A/spot/none.png", "../victim.png", "/etc/passwd", "A/spot/../spot/spot-s3-00000.png", "A/spot"]
)
def test_a_name_that_is_not_there_or_leads_outside_changes_nothing(
    name: str, model: FakeModel, tmp_path: Path, out: Path
) -> None:
    (tmp_path / "victim.png").write_bytes(b"mine")
    before = contents(tmp_path)
    with pytest.raises(DataError, match="is not an image of"):
        refill(listed(tmp_path, "A/spot/spot-s3-00001.png", name), out, model=model)
    (tmp_path / "rejected.txt").unlink()
    assert contents(tmp_path) == before


def test_a_hostile_record_removes_nothing_outside(model: FakeModel, tmp_path: Path, out: Path) -> None:
    victim = tmp_path / "victim.png"
    victim.write_bytes(b"mine")
    memory = out / "defectaug-made.json"
    memory.write_text(json.dumps({**json.loads(memory.read_text()), "dropped": ["../victim.png"]}))
    with pytest.raises((DataError, OutputError)):
        refill(listed(tmp_path), out, model=model)
    assert victim.read_bytes() == b"mine"


def test_a_stopped_run_is_finished_by_the_same_command(
    model: FakeModel, tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    list_ = listed(tmp_path, "A/spot/spot-s3-00001.png", "A/scratch/scratch-s3-00000.png")

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(api, "_fill", stop)
        with pytest.raises(KeyboardInterrupt):
            refill(list_, out, model=model)
    assert len(files(out)) == 6
    with pytest.raises(OutputError, match="are being replaced there"):
        synthesize(model=model, product="A", n=4, out=out, seed=3)
    assert refill(list_, out, model=model).synthetic == 2
    assert len(files(out)) == 8
    assert not (out / ".defectaug-run.json").exists()


def test_folders_without_a_finished_run_are_refused(model: FakeModel, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(OutputError, match="holds no finished run"):
        refill(listed(tmp_path), tmp_path / "empty", model=model)
    (tmp_path / "half").mkdir()
    (tmp_path / "half/.defectaug-run.json").write_text('{"settings": {}}')
    with pytest.raises(OutputError, match="holds an interrupted run; finish it first"):
        refill(listed(tmp_path), tmp_path / "half", model=model)


def test_another_model_is_refused(root: Path, tmp_path: Path, out: Path) -> None:
    other = FakeModel(info(root, weights_sha256="1" * 64))
    with pytest.raises(BundleError, match="not the model that made"):
        refill(listed(tmp_path, "A/spot/spot-s3-00001.png"), out, model=other)
    assert len(files(out)) == 8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--drop", "x.txt"], "name the folder"),
        (["--drop", "x.txt", "--out", "o", "--n", "3"], "--n: not with --drop"),
        (["--drop", "x.txt", "--out", "o"], "o: holds no finished run"),
    ],
)
def test_the_command_line_tells_what_is_wrong(arguments: list[str], message: str, run: Run) -> None:
    code, _, error = run("synthesize", *arguments)
    assert (code, error.count("\n")) == (2, 1)
    assert message in error


def test_overwriting_forgets_how_the_folder_was_made(model: FakeModel, tmp_path: Path, out: Path) -> None:
    synthesize(model=model, product="B", n=1, out=out, overwrite=True)
    memory: dict[str, Any] = json.loads((out / "defectaug-made.json").read_text())
    assert (memory["settings"]["product"], memory["made"]) == ("B", {"B/scratch": 1, "B/spot": 1})
