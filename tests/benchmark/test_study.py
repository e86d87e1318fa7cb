"""The downstream study from folders to verdict."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from data_helpers import save
from study_helpers import MORE, REAL, folder, noise, not_taught, surface

from defectaug.benchmark import runs
from defectaug.benchmark.api import run_study
from defectaug.benchmark.result import ALL, StudyResult
from defectaug.benchmark.settings import StudySettings
from defectaug.bundle import CONFIG, TrainedOn, write_config
from defectaug.config.schema import Config
from defectaug.data.index import index_folder
from defectaug.errors import ConfigError, DataError
from defectaug.reporting.sections import as_json
from defectaug.reporting.study import sentences, study_section
from defectaug.reporting.verdict import verdicts

QUICK = StudySettings(
    image_size=32, steps=3, batch_size=12, checks=1, augmentations=("none",), synthetic_with=("none",), seeds=(0, 1),
    device="cpu",
)


@pytest.fixture
def untaught(monkeypatch: pytest.MonkeyPatch) -> None:
    """No classifier is trained."""
    monkeypatch.setattr(runs, "train", not_taught)


def manifest(root: Path, real: Path, **fields: object) -> None:
    """Lists every image of a folder as painted on the first normal image of its product, or as `fields` say."""
    lines = []
    for number, path in enumerate(sorted(root.rglob("*.png"))):
        product, defect, _ = path.relative_to(root).parts
        line = {"file": path.relative_to(root).as_posix(), "product": product, "defect": defect, "synthetic": True}
        line |= {"source": str(real / product / "normal/000.png"), "reference": None, "index": number}
        lines.append(json.dumps(line | fields))
    (root / "manifest.jsonl").write_text("\n".join(lines) + "\n")


def made_counts(result: StudyResult, condition: str) -> dict[str, int]:
    return {category: synthetic for category, (_, synthetic) in result.condition(condition).images.items() if synthetic}


def errors(result: StudyResult) -> dict[str, list[float]]:
    return {one.name: one.errors() for one in result.conditions}


def test_result_holds_what_was_asked(real: Path, test: Path, made: Path) -> None:
    settings = replace(QUICK, synthetic_with=("cutmix",), sweep=(0.2, 0.5))
    result = run_study(real, [made], settings, test=test)
    assert list(errors(result)) == [
        "none", "cutmix", "cutmix + made", "cutmix + made (0.2 per real)", "cutmix + made (0.5 per real)",
    ]  # fmt: skip
    assert result.test_folder == str(test) and len(result.split["test"]) == 60
    assert {len(one.runs) for one in result.conditions} == {2}
    run = result.conditions[0].runs[0]
    assert set(run.errors) == set(run.auroc) == {"A", "B", ALL} and run.wrong["A/spot"][1] == 10
    of_a = [run.wrong[f"A/{defect}"][0] / 10 for defect in ("normal", "scratch", "spot")]
    assert run.errors["A"] == pytest.approx(np.mean(of_a))
    assert run.errors[ALL] == pytest.approx((run.errors["A"] + run.errors["B"]) / 2)
    assert [comparison.against for comparison in result.comparisons] == ["cutmix"] * 3
    assert sum(made_counts(result, "cutmix + made (0.2 per real)").values()) == round(0.2 * (8 + 5 + 5 + 8))
    content = json.loads(json.dumps(result.as_json()))
    assert content["arms"][0]["error_rates"]["all"]["mean"] == pytest.approx(np.mean(result.conditions[0].errors()))
    section = study_section(result)
    assert "made" in section.lines[0] and len(section.figures) == 2
    assert json.dumps(as_json(section)) and not any("from scratch" in line for line in section.warnings)


def test_a_set_too_small_for_a_sweep_is_said_and_drawn_where_it_lies(real: Path, test: Path, made: Path) -> None:
    settings = replace(QUICK, sweep=(0.1, 50, 100))
    result = run_study(real, [made], settings, test=test)
    first, second, third = result.sweep("made")
    assert result.per_real(first) == pytest.approx(0.1, abs=0.02)
    assert second.synthetic_images == third.synthetic_images > first.synthetic_images
    assert [result.falls_short(one) for one in (first, second, third)] == [False, True, True]
    section = study_section(result)
    assert sum("synthetic images were there" in line for line in section.warnings) == 2
    assert f"up to {result.per_real(second):.3g} synthetic" in section.figures[1].note
    assert section.figures[1].svg().count("<use") >= 3 * len({"all", *result.products})  # 0, the first, the others
    (decisive,) = (finding for finding in section.findings if finding.decides)
    assert decisive.text.startswith("none + made: ") and "over all products" in decisive.text
    assert {"classifier of the study", "real images of the study"} <= {name for name, _ in section.method}
    assert not any("per real)" in line for line in section.lines)


@pytest.mark.usefixtures("untaught")
def test_a_set_that_is_full_already_takes_no_synthetic_image(test: Path, made: Path, tmp_path: Path) -> None:
    full = folder(tmp_path / "full", dict.fromkeys(REAL, 8))
    result = run_study(full, [made], QUICK, test=test)
    assert made_counts(result, "none + made") == {}
    assert any("no synthetic image was used" in line for line in study_section(result).warnings)


@pytest.mark.usefixtures("untaught")
def test_where_nothing_is_left_to_gain_the_verdict_says_so(real: Path, test: Path, made: Path) -> None:
    """More seeds would not tell: without the set no test image is named wrong."""
    result = run_study(real, [made], QUICK, test=test)
    flawless = []
    for one in result.conditions:
        right = [
            replace(run, errors=dict.fromkeys(run.errors, 0.0), missed={k: "0" * len(v) for k, v in run.missed.items()})
            for run in one.runs
        ]
        flawless.append(replace(one, runs=tuple(right)))
    section = study_section(replace(result, conditions=tuple(flawless)))
    (verdict,) = verdicts(["made"], [section])
    assert verdict.lines[0].startswith("NO GAIN SHOWN: without the images a classifier names every test image right")
    assert "seeds" not in verdict.lines[0]
    assert "seeds" in verdicts(["made"], [study_section(result)])[0].lines[0]


def test_order_and_names_of_files_change_nothing(real: Path, test: Path, made: Path, tmp_path: Path) -> None:
    first = run_study(real, {"s": made}, QUICK)
    for root in (real, made):
        for number, path in enumerate(sorted(root.rglob("*.png"))):
            path.rename(path.with_name(f"{(number * 7) % 97:03d}-x.png"))
    second = run_study(real, {"s": made}, QUICK)
    assert errors(first) == errors(second)
    assert first.conditions[1].runs[0].wrong == second.conditions[1].runs[0].wrong


def test_finished_trainings_are_not_done_again(
    real: Path, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, whole, done = tmp_path / "cache", run_study(real, [made], QUICK), []
    train = runs.train

    def twice_then_stop(trial: runs.Trial, progress: object = None) -> runs.Outcome:
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(trial.key())
        return train(trial, progress)  # type: ignore[arg-type]

    monkeypatch.setattr(runs, "train", twice_then_stop)
    with pytest.raises(KeyboardInterrupt):
        run_study(real, [made], QUICK, cache=cache)
    assert sorted(path.stem for path in cache.iterdir()) == sorted(done)
    (cache / f"{done[1]}.json").write_text('{"predicted": [0')  # as a full disk might have left it
    calls: list[str] = []
    monkeypatch.setattr(runs, "train", lambda trial, progress: (calls.append(trial.key()), train(trial, progress))[1])
    seen: list[tuple[int, int]] = []
    result = run_study(real, [made], QUICK, cache=cache, progress=lambda *both: seen.append(both))
    assert len(calls) == 3 and done[0] not in calls and errors(result) == errors(whole)
    assert seen[-1] == (4 * QUICK.steps, 4 * QUICK.steps) and seen == sorted(seen)
    run_study(real, [made], replace(QUICK, steps=4), cache=cache)
    assert len(calls) == 7  # other settings are another study


@pytest.mark.usefixtures("untaught")
def test_splits_keep_near_duplicates_together(real: Path) -> None:
    for number in range(6):
        pixels = surface("A", "scratch", number, 0).astype(int)
        for exposure in (1, 2):
            brighter = np.clip(pixels + 12 * exposure, 0, 255).astype(np.uint8)
            save(real / f"A/scratch/{number:03d}-{exposure}.png", brighter)
    result = run_study(real, (), replace(QUICK, seeds=(0,)))
    where = {file: name for name, files in result.split.items() for file in files}
    for number in range(6):
        names = {where[f"A/scratch/{number:03d}{ending}.png"] for ending in ("", "-1", "-2")}
        assert len(names) == 1
    for category in REAL:
        assert {name for file, name in where.items() if file.startswith(category)} == {"train", "val", "test"}


@pytest.mark.usefixtures("untaught")
def test_a_split_is_drawn_by_its_own_seed(real: Path) -> None:
    first = run_study(real, (), replace(QUICK, split_seed=5)).split
    assert run_study(real, (), replace(QUICK, split_seed=5)).split == first != run_study(real, (), QUICK).split


@pytest.mark.usefixtures("untaught")
def test_near_duplicates_of_the_test_folder_are_not_trained_on(real: Path, test: Path) -> None:
    shutil.copy(real / "A/spot/000.png", test / "A/spot/copy.png")
    shutil.copy(real / "A/spot/001.png", test / "A/scratch/mislabelled.png")
    result = run_study(real, (), QUICK, test=test)
    used = [*result.split["train"], *result.split["val"]]
    assert len(used) == sum(REAL.values()) - 2 and not {"A/spot/000.png", "A/spot/001.png"} & set(used)
    assert any("2 real images are near-duplicates" in note for note in result.notes)


@pytest.mark.usefixtures("untaught")
@pytest.mark.parametrize("field", ["source", "reference"])
def test_images_made_from_test_images_are_left_out(real: Path, made: Path, field: str) -> None:
    held = run_study(real, (), QUICK).split["test"]
    manifest(made, real, **{field: str(real / next(file for file in held if "spot" in file))})
    with pytest.raises(DataError, match="20 made from a held-out real image"):
        run_study(real, [made], QUICK)


@pytest.mark.usefixtures("untaught")
def test_sources_are_known_again_in_a_copy_of_the_data(real: Path, made: Path, tmp_path: Path) -> None:
    held = next(file for file in run_study(real, (), QUICK).split["test"] if "normal" in file)
    twin = shutil.copytree(real, tmp_path / "elsewhere")
    manifest(made, real, source=str(twin / held))
    with pytest.raises(DataError, match="made from a held-out"):
        run_study(real, [made], QUICK)
    shutil.rmtree(twin)  # then the last parts of the path are all there is
    with pytest.raises(DataError, match="made from a held-out"):
        run_study(real, [made], QUICK)


@pytest.mark.usefixtures("untaught")
def test_copies_of_test_images_are_left_out(real: Path, test: Path, made: Path) -> None:
    shutil.copy(test / "A/spot/000.png", made / "A/spot/copy.png")
    result = run_study(real, [made], replace(QUICK, amount=9.0), test=test)
    assert result.left_out == {"made": {"pixel for pixel a held-out real image": 1}}
    assert made_counts(result, "none + made (9 per real)") == MORE


def bundle(root: Path, data: Path, count: int) -> Path:
    classes = ("normal", "scratch", "spot")
    write_config(root, Config(), TrainedOn(("A", "B"), classes, {"A/normal": count}, "native", root=str(data)))
    assert (root / CONFIG).is_file()
    return root


@pytest.mark.usefixtures("untaught")
def test_a_bundle_trained_on_the_test_images_is_said(real: Path, test: Path, made: Path, tmp_path: Path) -> None:
    guilty, said = bundle(tmp_path / "guilty", real, sum(REAL.values())), []
    result = run_study(real, [made], QUICK, models=[guilty], log=said.append)
    assert f"{guilty}, which made these images, was trained on" in result.warnings[0] and result.warnings[0] in said
    assert run_study(real, [made], QUICK, models=[guilty], test=test).warnings == ()
    shutil.copy(real / "B/spot/003.png", test / "B/spot/copied.png")
    leak = run_study(real, [made], QUICK, models=[guilty], test=test).warnings[0]
    assert "was trained on 1 of the 61 test images" in leak
    away = bundle(tmp_path / "away", tmp_path / "gone", 60)
    assert "are not here" in run_study(real, [made], QUICK, models=[away], test=test).warnings[0]
    result = run_study(real, [made], QUICK, models=[bundle(tmp_path / "worse", test, 61)], test=test)
    assert "which flatters them" in result.warnings[0]
    assert "not known" in run_study(real, [made], QUICK).warnings[0]
    manifest(made, real, source=str(real / run_study(real, (), QUICK).split["train"][0]))
    assert "defectaug train" in run_study(real, [made], QUICK).warnings[0]


@pytest.mark.usefixtures("untaught")
def test_a_relative_data_root_starts_at_the_bundle(
    real: Path, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The current folder may hold other data under the same name."""
    folder(tmp_path / "here/data", dict.fromkeys(REAL, 3), stream=5)
    real.rename(tmp_path / "data")
    model = bundle(tmp_path / "model", Path("../data"), sum(REAL.values()))
    (tmp_path / "here/models").mkdir()
    monkeypatch.chdir(tmp_path / "here/models")
    assert "which flatters them" in run_study(tmp_path / "data", [made], QUICK, models=[model]).warnings[0]


@pytest.mark.usefixtures("untaught")
def test_classes_that_one_folder_lacks(real: Path, test: Path, tmp_path: Path) -> None:
    made, said = folder(tmp_path / "made", {"A/spot": 3, "C/spot": 4, "A/scratch": 2}, stream=3), []
    shutil.rmtree(test / "B/spot")
    save(test / "C/normal/0.png")
    result = run_study(real, [made], QUICK, test=test, log=said.append)
    assert result.left_out["made"] == {"of a product and defect that the real images lack": 4}
    assert any("no test image of B/spot" in note for note in result.notes)
    assert any("1 images of products or defects" in line for line in said)
    with pytest.raises(DataError, match="no image that may be trained on"):
        run_study(real, [folder(tmp_path / "other", {"C/spot": 2})], QUICK, test=test)


@pytest.mark.usefixtures("untaught")
def test_normal_class_under_another_name(real: Path, test: Path) -> None:
    for product in ("A", "B"):
        (test / product / "normal").rename(test / product / "good")
    assert run_study(real, (), QUICK, test=test).conditions[0].runs[0].wrong["A/normal"][1] == 10


@pytest.mark.usefixtures("untaught")
def test_bad_folders(real: Path, test: Path, made: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="same folder"):
        run_study(real, [made], QUICK, test=real)
    with pytest.raises(DataError, match="no such folder"):
        run_study(real, [tmp_path / "none"], QUICK)
    shutil.copytree(real, tmp_path / "again")
    with pytest.raises(DataError, match=r"two classes .*; \d+ images that show what a test image shows"):
        run_study(real, (), QUICK, test=tmp_path / "again")
    with pytest.raises(DataError, match="too few images"):
        run_study(folder(tmp_path / "one", {"A/normal": 1, "A/spot": 1}), (), QUICK)
    said: list[str] = []
    (real / "A/normal/000.png").write_bytes(b"no image")
    run_study(real, (), QUICK, log=said.append)
    assert any("A/normal/000.png" in line for line in said)


@pytest.mark.usefixtures("untaught")
def test_colour_images_and_the_data_sets_own_split(tmp_path: Path) -> None:
    root = tmp_path / "sdi"
    for number in range(12):
        grey = surface("A", "normal", number, 0)
        save(root / f"A_ok/{number}.png", np.dstack([grey, grey // 2, grey]))
        for split in ("train", "val", "test"):
            name = f"{number}{split}.png"
            save(root / f"A_nok/{split}/spots/{name}", surface("A", "spot", number, ord(split[1])))
    result = run_study(index_folder(root), (), QUICK)
    assert len([file for file in result.split["test"] if "/test/" in file]) == 12
    assert len([file for file in result.split["val"] if "/val/" in file]) == 12
    assert 1 <= len([file for file in result.split["test"] if "ok/" in file and "nok" not in file]) <= 5


LEARN = replace(QUICK, image_size=64, steps=150, batch_size=24, checks=2, seeds=(0, 1, 2, 3), amount=6.0)


def test_planted_verdicts(tmp_path: Path) -> None:
    """Fresh real images help as synthetic ones, and noise that is labelled as defects hurts."""
    real = folder(tmp_path / "real", dict.fromkeys(REAL, 10))
    test = folder(tmp_path / "test", dict.fromkeys(REAL, 25), stream=1)
    categories = {category: 60 for category in REAL if "normal" not in category}
    sets = {"fresh": folder(tmp_path / "fresh", categories, stream=2), "noise": noise(tmp_path / "noise", categories)}
    result = run_study(real, sets, LEARN, test=test)
    verdicts = {comparison.synthetic: comparison.verdicts[ALL] for comparison in result.comparisons}
    assert verdicts == {"fresh": "helps", "noise": "hurts"}, sentences(result)
    at_best = {comparison.synthetic: comparison.at_best[ALL] for comparison in result.comparisons}
    assert at_best["fresh"].verdict == "helps", sentences(result)
