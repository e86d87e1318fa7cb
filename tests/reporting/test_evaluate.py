"""Counts, exact duplicates, what painting has changed; which folders are refused, and what is said of others."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from command_line import Run
from fake_model import FakeModel, data, info, save, surface

from defectaug.benchmark.settings import StudySettings
from defectaug.errors import ConfigError, DataError, DefectaugError, OutputError
from defectaug.io.images import read_image
from defectaug.io.masks import read_mask
from defectaug.metrics.changes import repeats, shared
from defectaug.reporting import api
from defectaug.reporting.api import EvaluationResult, chosen_parts
from defectaug.synthesis.api import synthesize


def evaluate(*folders: object, **options: object) -> EvaluationResult:
    """The counts alone."""
    return api.evaluate(*folders, **{"only": ["counts"], **options})  # type: ignore[arg-type]


pytestmark = pytest.mark.usefixtures("no_network")


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


def test_json_and_report(root: Path, out: Path, tmp_path: Path) -> None:
    places = {"json": tmp_path / "new/r.json", "report": tmp_path / "r.html"}
    result = evaluate(root, out, command=["defectaug", "evaluate", "a b"], **places)
    written = json.loads(places["json"].read_text())
    assert written == json.loads(json.dumps(result.as_json()))
    assert written["command"] == "defectaug evaluate 'a b'"
    assert written["settings"]["seed"] == 0
    assert {"defectaug", "torch", "python"} <= set(written["versions"])
    page = places["report"].read_text()
    assert "A/spot" in page
    assert "http" not in page.replace("http://www.w3.org/", "")  # namespaces
    evaluate(root, out, **places)  # replaces its own files


def test_files_of_others_are_not_replaced(root: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text('{"mine": 1}')
    with pytest.raises(OutputError, match="no evaluation has left it"):
        evaluate(root, json=tmp_path / "mine.json")
    with pytest.raises(OutputError, match="is a folder"):
        evaluate(root, report=tmp_path)
    assert (tmp_path / "mine.json").read_text() == '{"mine": 1}'


def test_parts() -> None:
    assert chosen_parts(["study", "counts"], ()) == ("counts", "study")
    assert chosen_parts((), ["study"]) == ("counts", "fidelity", "memorisation", "correctness")
    for only, skip in ((["foo"], ()), (["counts"], ["study"]), ((), api.PARTS)):
        with pytest.raises(ConfigError):
            chosen_parts(only, skip)


def change_line(out: Path, **changes: object) -> None:
    lines = (out / "manifest.jsonl").read_text().splitlines()
    lines[0] = json.dumps({**json.loads(lines[0]), **changes})
    (out / "manifest.jsonl").write_text("\n".join(lines) + "\n")


def test_folders_that_are_refused(root: Path, out: Path, tmp_path: Path) -> None:
    for folder, said in ((tmp_path / "nothing", "no such folder"), (root, "same folder"), (root / "A", "shares files")):
        with pytest.raises(DefectaugError, match=said):
            evaluate(root, folder)
    save(tmp_path / "alien/C/spot/0.png", surface(1))
    with pytest.raises(DataError, match="no product of it"):
        evaluate(root, tmp_path / "alien")
    with pytest.raises(ConfigError, match="no such folder"):
        evaluate(root, out, masks=tmp_path / "nothing")
    (tmp_path / "empty.masks").mkdir()
    with pytest.raises(ConfigError, match="no mask of any image"):
        evaluate(root, out, masks=tmp_path / "empty.masks")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"file": "../elsewhere.png"}, "outside the folder"),
        ({"defect": "dent"}, "does not match the folder"),
        ({"product": None}, "no product"),
        ({"file": "A/spot/gone.png", "product": "A", "defect": "spot"}, "not there"),
    ],
)
def test_manifests_that_do_not_match(root: Path, out: Path, changes: dict, said: str) -> None:
    change_line(out, **changes)
    with pytest.raises(DataError, match=said):
        evaluate(root, out)


def test_images_that_the_manifest_does_not_list_are_counted_and_left_out(root: Path, out: Path) -> None:
    save(out / "A/spot/more.png", surface(5))
    said: list[str] = []
    assert evaluate(root, out, log=said.append).synthetic[0].synthetic["A/spot"] == 6
    assert any("1 images are not in manifest.jsonl" in line for line in said)


def test_links_to_real_images_are_left_out(root: Path, tmp_path: Path) -> None:
    save(tmp_path / "other/A/scratch/new.png", surface(77))
    (tmp_path / "other/A/scratch/link.png").symlink_to(root / "A/scratch/000.png")
    said: list[str] = []
    assert evaluate(root, tmp_path / "other", log=said.append).synthetic[0].synthetic == {"A/scratch": 1}
    assert any("1 files are links" in line for line in said)


def test_classes_sizes_and_modes_that_differ_are_said(root: Path, tmp_path: Path) -> None:
    save(tmp_path / "other/A/dent/0.png", surface(1, (20, 30), channels=3))
    save(tmp_path / "other/A/scratch/0.png", surface(2))
    text = evaluate(root, tmp_path / "other").describe()
    assert "A/dent (1), of which" in text
    assert "has no images of A/spot" in text
    assert "(1 of 2 differ)" in text
    assert "1 of 2 images have a size or colour mode that no real image has, such as 30 x 20" in text


def test_cells_that_are_empty_are_said(root: Path, tmp_path: Path) -> None:
    save(tmp_path / "other/A/scratch/0.png", surface(2))
    (tmp_path / "other/B/spot").mkdir(parents=True)
    (root / "A/spot").mkdir()
    text = evaluate(root, tmp_path / "other").describe()
    assert f"{tmp_path / 'other'} has no images of B/scratch, B/spot." in text
    assert f"{tmp_path / 'other'}: folders without any file: B/spot." in text
    assert f"{root}: folders without any file: A/spot." in text
    (tmp_path / "none/A/spot").mkdir(parents=True)
    with pytest.raises(DataError, match="no images"):
        evaluate(root, tmp_path / "none")


def test_an_interrupted_run_is_not_taken_for_a_finished_one(root: Path, out: Path) -> None:
    (out / ".defectaug-run.json").write_text("{}")
    said: list[str] = []
    evaluate(root, out, only=["counts"], log=said.append)
    assert sum(line.startswith(f"{out}: not finished, the ") for line in said) == 1


def test_a_manifest_that_cannot_be_read_is_not_taken_for_none(root: Path, out: Path) -> None:
    (out / "manifest.jsonl").write_text("no manifest\n" * 3)
    with pytest.raises(DataError, match=r"manifest\.jsonl: no line of it can be read"):
        evaluate(root, out)


def test_one_image_in_a_cell_is_said(root: Path, tmp_path: Path) -> None:
    save(tmp_path / "other/B/scratch/0.png", surface(2))
    text = evaluate(root, tmp_path / "other", only=["counts", "fidelity", "memorisation"]).describe()
    assert "B/scratch: a single image on one side, so no distance is taken." in text
    assert "mostly bias" not in text
    assert "\nVerdict on " in text


def test_what_one_line_on_standard_error_says(root: Path, tmp_path: Path, run: Run) -> None:
    save(tmp_path / "other/A/scratch/0.png", surface(2))
    (tmp_path / "junk.pth").write_bytes(b"junk")
    cases = [
        ((root, "--only", "counts"), "is the same folder as"),
        ((tmp_path / "other", "--only", "counts", "--weights", tmp_path / "nowhere"), "no such file or folder"),
        ((tmp_path / "other", "--only", "fidelity", "--weights", tmp_path / "junk.pth"), "cannot be read as weights"),
        ((tmp_path / "other", "--classifier", "resnet500"), "neither torchvision nor timm has one of that name"),
        ((tmp_path / "other", "--classifier", "zz"), "timm.list_models() lists the rest"),
    ]
    for arguments, wrong in cases:
        code, printed, told = run("evaluate", root, *arguments)
        lines = [line for line in told.splitlines() if line.startswith("error: ")]
        assert (code, printed, len(lines)) == (2, "", 1), told
        assert wrong in lines[0] and len(lines[0]) < 300


def test_the_control_cuts_out_by_the_model_that_made_the_images_or_says_what_it_lacks(
    root: Path, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The manifest names it: `--model` need not. A balanced copy of what was full already holds none."""
    with pytest.raises(ConfigError, match=r"--control: neither masks .* nor the one model .*; name masks with --masks"):
        evaluate(root, out, only=["counts"], control=True)
    full = shutil.copytree(root, tmp_path / "full")
    rows = [(path.relative_to(full).as_posix(), path.parts[-3:-1]) for path in sorted(full.rglob("*.png"))]
    copied = [
        {"file": file, "product": of, "defect": defect, "synthetic": False, "source": str(root / file), "index": number}
        for number, (file, (of, defect)) in enumerate(rows)
    ]
    (full / "manifest.jsonl").write_text("\n".join(map(json.dumps, copied)))
    with pytest.raises(ConfigError, match=r"out by: .*full holds no synthetic image; name masks"):
        evaluate(root, full, only=["counts"], control=True)
    monkeypatch.setattr("defectaug.reporting.api._maker", lambda bundles, device, log: FakeModel(info(root)))
    assert evaluate(root, out, only=["counts"], control=True).sections


def test_options_are_checked_before_folders_are_read(root: Path, out: Path, tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights/resnet18-1.pth").write_bytes(b"junk")
    junk, other = (tmp_path / name for name in ("resnet18.pth", "w.pt"))
    for path in (junk, other):
        path.write_bytes(b"junk")
    slim = StudySettings.slim()
    cases: list[tuple[dict, str]] = [
        ({"weights": tmp_path / "nowhere"}, "no such file or folder"),
        ({"study": replace(slim, classifier="resnet500")}, "neither torchvision nor timm has one of that name"),
        ({"study": replace(slim, classifier="resnet18"), "weights": tmp_path / "weights"}, "cannot be read as weights"),
        ({"study": replace(slim, classifier="resnet18"), "weights": junk}, "cannot be read as weights"),
        ({"study": slim, "weights": other}, r"w.pt: not used here; .* those of \S*lite1, named \S*lite1-\*"),
    ]
    said: list[str] = []
    for options, wrong in cases:
        with pytest.raises(ConfigError, match=wrong):
            evaluate(root, out, only=["counts", "study"], log=said.append, **options)
    assert said == []


@pytest.mark.parametrize(("cached", "told"), [(False, "nothing is kept"), (True, "the same command goes on")])
def test_an_interrupted_evaluation_tells_the_way_on(
    root: Path, out: Path, cached: bool, told: str, tmp_path: Path
) -> None:
    said: list[str] = []

    def interrupted(stage: str) -> Callable[[int, int], None]:
        if stage.startswith("naming"):
            raise KeyboardInterrupt
        return lambda done, total: None

    with pytest.raises(KeyboardInterrupt):
        cache = tmp_path / "kept" if cached else None
        evaluate(root, out, only=["correctness"], cache=cache, stages=interrupted, log=said.append)
    assert told in said[-1]


def test_a_synthetic_folder_without_product_folders(tmp_path: Path) -> None:
    root = data(tmp_path / "A", {"normal": 3, "scratch": 2})
    save(tmp_path / "other/scratch/0.png", surface(9))
    assert evaluate(root, tmp_path / "other").synthetic[0].synthetic == {"A/scratch": 1}


def test_unreadable_images_are_named_and_skipped(root: Path) -> None:
    (root / "A/normal/000.png").write_bytes(b"no image")
    said: list[str] = []
    assert evaluate(root, log=said.append).real["A/normal"] == 4
    assert any("A/normal/000.png" in line for line in said)


def test_command_line(root: Path, out: Path, tmp_path: Path, run: Run) -> None:
    code, text, said = run("evaluate", root, out, "--only", "counts,memorisation", "--json", tmp_path / "r.json")
    assert code == 0
    assert "A/spot" in text
    assert "reading 15 real images" in said
    assert json.loads((tmp_path / "r.json").read_text())["settings"]["parts"] == ["counts", "memorisation"]
    wrong_sweeps = [("--sweep", no, "must be numbers above 0") for no in ("a", "1,0", "-1", "nan", "inf")]
    for option, value, wrong in (("--only", "foo", "no such part"), *wrong_sweeps):
        code, text, said = run("evaluate", root, out, option, value)
        assert (code, text) == (2, "")
        assert f"{option} {value}: {wrong}" in said.splitlines()[-1]


def test_a_seed_below_zero_is_one_line_for_the_user(root: Path, out: Path, run: Run) -> None:
    code, printed, told = run("evaluate", root, out, "--only", "counts,study", "--seed", -1)
    assert (code, printed) == (2, "")
    assert "--seed -1: must be 0 or more" in told.splitlines()[-1]


@pytest.mark.parametrize("part", ["study", "fidelity", "correctness"])
def test_a_part_alone_without_what_it_needs_names_what_is_missing(root: Path, part: str, run: Run) -> None:
    code, printed, told = run("evaluate", root, "--only", part)
    assert (code, printed, len(told.splitlines())) == (2, "", 1), told
    assert f"{part}: nothing to measure without synthetic images" in told


def test_a_part_that_is_asked_for_in_vain_is_said(root: Path) -> None:
    told: list[str] = []
    result = evaluate(root, only=["counts", "study"], log=told.append)
    assert any(line.startswith("study: nothing to measure without synthetic images") for line in told)
    assert [section.title for section in result.sections] == ["Images"]
