"""A model that has seen the test images makes the verdict conditional; what training held out is found."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from study_helpers import folder, not_taught

from defectaug.benchmark import runs
from defectaug.benchmark.settings import StudySettings
from defectaug.bundle import TrainedOn, write_config
from defectaug.config.schema import Config
from defectaug.reporting.api import EvaluationResult
from defectaug.reporting.api import evaluate as run

QUICK = StudySettings(
    image_size=32, steps=2, batch_size=12, checks=1, augmentations=("traditional",), seeds=(0, 1), device="cpu"
)
REAL = {"A/normal": 12, "A/scratch": 8, "A/spot": 8}
HELD = tuple(f"{category}/{number:03d}.png" for category in REAL for number in range(3))


@pytest.fixture(autouse=True)
def untaught(monkeypatch: pytest.MonkeyPatch) -> None:
    """No classifier is trained."""
    monkeypatch.setattr(runs, "train", not_taught)


@pytest.fixture
def real(tmp_path: Path) -> Path:
    return folder(tmp_path / "real", REAL)


def bundle(root: Path, data: Path, **changes: object) -> Path:
    """A model folder as far as its records go."""
    known = {"counts": REAL, "layout": "native", "root": str(data), **changes}
    write_config(root, Config(), TrainedOn(("A",), ("normal", "scratch", "spot"), **known))  # type: ignore[arg-type]
    (root / "model.safetensors").write_bytes(str(root).encode())
    return root


def made(out: Path, model: Path | None, source: Path | None, stream: int = 2) -> Path:
    """Synthetic images with a manifest."""
    folder(out, {"A/scratch": 4, "A/spot": 4}, stream=stream)
    weights = hashlib.sha256((model / "model.safetensors").read_bytes()).hexdigest() if model else None
    line = {"synthetic": True, "source": str(source) if source else None, "model": weights, "bundle": str(model)}
    files = [path.relative_to(out) for path in sorted(out.rglob("*.png"))]
    line |= {"reference": None, "guide": "latent", "seed": 0}
    lines = [
        {"file": str(one), "product": one.parts[0], "defect": one.parts[1], "index": number, **line}
        for number, one in enumerate(files)
    ]
    (out / "manifest.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))
    return out


def evaluate(real: Path, *sets: Path, **options: object) -> EvaluationResult:
    return run(real, sets, only=["counts", "study"], seeds=2, study=QUICK, device="cpu", **options)  # type: ignore[arg-type]


def verdict(result: EvaluationResult) -> str:
    """The first sentences of the verdict on the first set."""
    return next(section.lines[0] for section in result.sections if section.is_verdict)


def test_a_model_that_has_seen_the_test_images_is_a_condition_with_the_way_out(real: Path, tmp_path: Path) -> None:
    model = bundle(tmp_path / "model", real)
    result = evaluate(real, made(tmp_path / "out", model, None))
    first = verdict(result)
    assert first.startswith(f"CONDITIONAL: {model}, which made these images, was trained on ")
    assert f"defectaug train {real} --holdout" in first
    assert result.describe().count("CONDITIONAL") == 1
    (section,) = (section for section in result.sections if section.is_verdict)
    assert section.numbers["verdict"] == "conditional"


def test_what_training_held_out_is_tested_on(real: Path, tmp_path: Path) -> None:
    model, told = bundle(tmp_path / "model", real, holdout=HELD), list[str]()
    result = evaluate(real, made(tmp_path / "out", model, real / "A/normal/005.png"), log=told.append)
    assert "CONDITIONAL" not in verdict(result)
    study = next(section.numbers for section in result.sections if "splits" in section.numbers)
    assert sorted(study["splits"]["test"]) == sorted(HELD)
    assert any(f"{len(HELD)} images of {real} that {model} has not seen" in line for line in told)
    assert sum(result.real.values()) == sum(REAL.values()) - len(HELD)


def test_images_painted_on_the_studys_validation_images_are_none(real: Path, tmp_path: Path) -> None:
    model = bundle(tmp_path / "model", real, holdout=HELD)
    out = made(tmp_path / "out", model, None)
    lines = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
    for number, line in enumerate(lines):  # on all normal images that training has seen
        line["source"] = str(real / f"A/normal/{3 + number:03d}.png")
    (out / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    result = evaluate(real, out)
    study = next(section.numbers for section in result.sections if "splits" in section.numbers)
    assert study["left_out"][str(out)]["made from a held-out real image"] >= 1
    assert "CONDITIONAL" not in verdict(result)


def test_of_two_models_the_images_that_neither_has_seen(real: Path, tmp_path: Path) -> None:
    sets = []
    for name, held in (("one", HELD), ("two", HELD[:6])):
        sets.append(made(tmp_path / name, bundle(tmp_path / f"m{name}", real, holdout=held), None, len(sets) + 2))
    result = evaluate(real, *sets)
    study = next(section.numbers for section in result.sections if "splits" in section.numbers)
    assert sorted(study["splits"]["test"]) == sorted(HELD[:6])
    sets.append(made(tmp_path / "three", bundle(tmp_path / "mthree", real), None, 7))
    result = evaluate(real, *sets)
    verdicts = [section.lines[0] for section in result.sections if section.is_verdict]
    study = next(section.numbers for section in result.sections if "splits" in section.numbers)
    spans = [one["differences"]["all"]["spans"] for one in study["comparisons"]]
    assert [set(one) for one in spans] == [{"seeds", "test images", "generators"}] * 3
    assert [line.startswith("CONDITIONAL") for line in verdicts] == [True] * 3  # there is no image that all left out


def test_three_sets_of_one_model_do_not_tell_how_far_models_differ(real: Path, tmp_path: Path) -> None:
    model = bundle(tmp_path / "model", real, holdout=HELD)
    result = evaluate(real, *(made(tmp_path / f"out{number}", model, None, number) for number in (2, 3, 4)))
    section = next(section for section in result.sections if "splits" in section.numbers)
    spans = [one["differences"]["all"]["spans"] for one in section.numbers["comparisons"]]
    assert [set(one) for one in spans] == [{"seeds", "test images"}] * 3
    assert any("another training of the generator" in line for line in section.warnings)


def test_a_folder_of_test_images_is_found_too(real: Path, tmp_path: Path) -> None:
    test = folder(tmp_path / "test", dict.fromkeys(REAL, 5), stream=1)
    model = bundle(tmp_path / "model", real, test="../test")
    result = evaluate(real, made(tmp_path / "out", model, None))
    assert "CONDITIONAL" not in verdict(result)
    study = next(section.numbers for section in result.sections if "splits" in section.numbers)
    assert len(study["splits"]["test"]) == 15 and study["test_folder"] == str(test)


def test_images_painted_on_test_images_are_a_condition(real: Path, tmp_path: Path) -> None:
    test = folder(tmp_path / "test", dict.fromkeys(REAL, 5), stream=1)
    out = made(tmp_path / "out", None, test / "A/normal/000.png")
    folder(out, {"A/scratch": 9, "A/spot": 9}, stream=3, start=4)
    lines = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
    for number in range(4, 9):
        file, source = f"A/scratch/{number:03d}.png", real / "A/normal/001.png"
        lines.append({**lines[0], "index": 100 + number, "file": file, "source": str(source)})
    (out / "manifest.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))
    first = verdict(evaluate(real, out, test=test))
    assert first.startswith("CONDITIONAL: 8 of the images show or were made from test images")


def test_what_another_tool_made_is_a_condition_until_test_images_are_named(real: Path, tmp_path: Path) -> None:
    out = folder(tmp_path / "out", {"A/scratch": 4, "A/spot": 4}, stream=2)
    first = verdict(evaluate(real, out))
    assert first.startswith("CONDITIONAL: whether what made these images has seen the test images")
    assert "--test" in first
    test = folder(tmp_path / "test", dict.fromkeys(REAL, 5), stream=1)
    assert "CONDITIONAL" not in verdict(evaluate(real, out, test=test))
