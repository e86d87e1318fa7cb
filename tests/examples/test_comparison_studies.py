"""Table 1, Figure 4 and nearest neighbours: which methods are compared, how images are joined, what tables show."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from command_line import run_example
from data_helpers import native
from fake_model import FakeModel, data, info, lines
from PIL import Image
from study_helpers import folder

from defectaug.config.resolve import recipe_names, resolve
from defectaug.data.index import index_folder
from defectaug.errors import ConfigError, TrainingError
from defectaug.methods.base import METHODS, method_spec
from defectaug.metrics.distances import Interval
from defectaug.synthesis.api import synthesize

STUDIES = Path(__file__).parents[2] / "examples" / "studies"
sys.path.insert(0, str(STUDIES))

import common  # noqa: E402
import comparison  # noqa: E402
import figure4  # noqa: E402
import nearest  # noqa: E402
import table1  # noqa: E402
import table3  # noqa: E402

REAL = {"A/normal": 12, "A/scratch": 8, "A/spot": 6, "B/normal": 12, "B/scratch": 8, "B/spot": 6}


def options(*more: str) -> object:
    made = common.parser(None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["table1.py", "DATA", "--out", "OUT", *more])
        return comparison.options_of(made)


def test_every_method_is_compared_and_a_new_recipe_appears_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    found = comparison.presets(options())  # type: ignore[arg-type]
    assert {resolve(name).method for name in found} == {name for name in METHODS if method_spec(name).train is not None}
    monkeypatch.setattr(comparison, "recipe_names", lambda: [*recipe_names(), "newest"])
    assert comparison.presets(options()) == [*found, "newest"]  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"'gan' is no recipe; known: .*biggan"):
        comparison.presets(options("--presets", "small,gan"))  # type: ignore[arg-type]


def test_each_recipe_can_have_a_length_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = options("--slim", "--training-steps", "7,biggan=3", "--presets", "biggan,mokady")
    asked.out = tmp_path  # type: ignore[attr-defined]
    (tmp_path / "models").mkdir()
    found = {}
    monkeypatch.setattr("defectaug.train", lambda _, out, steps, **more: found.update({out.name: steps}))
    index = index_folder(native(tmp_path / "data"))
    list(comparison.trained(index, asked))  # type: ignore[arg-type]
    assert found == {"biggan": 3, "mokady": 7}
    assert '"steps": 3,' in (tmp_path / "models/biggan.done").read_text()
    with pytest.raises(ConfigError, match=r"--training-steps: 'bigan' is no recipe; known: .*biggan"):
        comparison.presets(options("--training-steps", "bigan=3"))  # type: ignore[arg-type]


def test_settings_of_both_sizes_can_be_used() -> None:
    changed = {(name, slim): comparison.settings_file(name, slim) for name in recipe_names() for slim in (True, False)}
    assert all(resolve(name, file).recipe == name for (name, _), file in changed.items() if file)
    assert changed["paper", True] and changed["stargan2", True] and changed["biggan", False]
    assert not changed["small", True] and not changed["paper", False]


def test_a_training_that_fails_is_left_out(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def trained(preset: str, *_: object) -> Path:
        if preset == "biggan":
            raise TrainingError("step 3: collapsed")
        return Path(preset)

    monkeypatch.setattr(common, "trained", trained)
    found = list(comparison.trained(None, options("--slim", "--presets", "biggan,stylegan2,small")))  # type: ignore[arg-type]
    assert [(one.preset, one.references) for one in found] == [("stylegan2", False), ("small", True)]
    assert capsys.readouterr().err == "biggan: left out, its training has failed (step 3: collapsed)\n"


def test_images_of_all_defects_become_one_folder(tmp_path: Path) -> None:
    model = FakeModel(info(data(tmp_path / "data")))
    made = [tmp_path / "set" / defect for defect in ("scratch", "spot")]
    for out in made:
        synthesize(model=model, defect=out.name, n=2, out=out)
    whole = comparison.joined(made)
    assert [line["index"] for line in lines(whole)] == list(range(8))
    assert sorted(str(path.relative_to(whole).parent) for path in whole.rglob("*.png")) == [
        f"{product}/{defect}" for product in "AB" for defect in ("scratch", "spot") for _ in range(2)
    ]
    assert comparison.joined(made) == whole


def test_the_table_has_a_column_a_product_and_the_real_images_last(tmp_path: Path) -> None:
    some = comparison.Fidelity(4, 4, frechet=Interval(0.5, 0.4, 0.6), frechet_real=0.2)
    groups = {"A/scratch": some, "A/spot": some, "B/spot": replace(some, frechet_real=0.3), "product A": some}
    groups["all"] = replace(some, frechet=Interval(0.7, 0.6, 0.8))
    numbers = {f"Fidelity and diversity: {tmp_path}": {"measures": {"one": {"groups": groups}}}}
    numbers["Fidelity and diversity: whole"] = {"measures": {}}  # has no masks, so no crops
    rows = [("small", "latents", tmp_path), ("stylegan2", "latents", Path("whole"))]
    shown = table1.table("one", rows, numbers, ("A", "B", "C"))
    assert shown.columns == ["recipe", "guided by", "A", "B", "C", "all"]
    assert shown.rows[0] == ["small", "latents", some.frechet, some.frechet, None, groups["all"].frechet]
    assert shown.rows[1] == ["stylegan2", "latents", *[None] * 4]
    assert shown.rows[-1] == [table1.REAL, None, 0.2, 0.3, None, 0.2]


def test_the_columns_of_one_product_are_its_defects(tmp_path: Path) -> None:
    several = index_folder(native(tmp_path / "several", REAL))
    assert comparison.parts_of(several) == ["A", "B"]
    one = index_folder(native(tmp_path / "one", {name: count for name, count in REAL.items() if name[0] == "A"}))
    assert comparison.parts_of(one) == ["A/scratch", "A/spot"]
    scratch, spot, both = (comparison.Fidelity(4, 4, frechet_real=share) for share in (0.1, 0.2, 0.3))
    groups = {"A/scratch": scratch, "A/spot": spot, "product A": both}  # as `evaluate` names them: "all" is the same
    assert comparison.by_part(groups, comparison.parts_of(one)) == [scratch, spot, both]


def test_table_3_has_a_table_a_number_that_was_taken(tmp_path: Path) -> None:
    some = comparison.Fidelity(4, 4, diversity=Interval(0.5, 0.4, 0.6), diversity_real=Interval(0.6, 0.5, 0.7))
    groups = {"product A": replace(some, clustered=0.3), "all": some}
    numbers = {f"Fidelity and diversity: {tmp_path}": {"measures": {"one": {"groups": groups}}}}
    (shown,) = table3.of_methods([("small", "latents", tmp_path)], numbers, ("A",))
    assert shown.title == "one: mean over pairs of images"
    one, last = shown.rows
    assert one == ["small", "latents", *[some.diversity] * 2]
    assert last == ["real images", None, *[some.diversity_real] * 2]
    groups["all"] = replace(some, clustered=0.4)
    _, shown = table3.of_methods([("small", "latents", tmp_path)], numbers, ("A",))
    assert shown.rows == [["small", "latents", 0.3, 0.4], ["real images", None, None, None]]


def test_nearest_neighbours_are_counted_and_the_unseen_images_are_last() -> None:
    def found(likeness: list[float | None], closer: dict[str, float]) -> dict[str, object]:
        near = [{"file": "a.png", "nearest defective": None, "likeness": one} for one in likeness]
        defects = {name: {"closer to training": (share, 0.1)} for name, share in closer.items()}
        shared = {"images": len(near), "copies": 1, "unchanged": 2, "threshold": 0.9}
        return {**shared, "neighbours": near, "defects": defects}

    rows = [("small", "latents", found([0.2, None, 0.6], {"scratch": 0.75, "spot": float("nan")}))]
    rows.append((nearest.UNSEEN, None, found([], {"scratch": 0.5})))  # type: ignore[arg-type]
    shown = nearest.table(rows, ("scratch", "spot"))
    assert shown.rows[0] == ["small", "latents", 3, 1, 2, 0.4, 0.6, 75, None]
    assert shown.rows[1] == [nearest.UNSEEN, None, 0, 1, 2, None, None, None, None]
    assert len(shown.columns) == 9 and "from 0.9 on" in shown.note


def test_columns_of_the_latent_grid_are_the_categories_in_turn(tmp_path: Path) -> None:
    root = native(tmp_path / "data", {"A/scratch": 2, "B/spot": 1})
    categories = [category("A", "scratch"), category("A", "spot"), category("B", "spot")]
    found = figure4.row(root, categories, 6)
    names = [one and str(one.relative_to(root)) for one in found]
    assert names == ["A/scratch/000.png", None, "B/spot/000.png", "A/scratch/001.png", None, "B/spot/000.png"]
    picture = common.picture([found, found], tmp_path / "grid.png")
    with Image.open(picture) as shown:
        assert shown.size == (6 * 132 - 4, 2 * 132 - 4) and shown.getpixel((140, 8)) == 255


def category(product: str, defect: str) -> figure4.Category:
    return figure4.Category(product, defect)


@pytest.mark.slow
def test_table_1_and_figure_4_from_folders_to_files(tmp_path: Path) -> None:
    real, out = folder(tmp_path / "data", REAL, side=64), tmp_path / "out"
    test = folder(tmp_path / "test", dict.fromkeys(REAL, 4), stream=2, side=64)
    few = ["--slim", "--training-steps", 2, "--per-category", 4, "--device", "cpu", "--test", test]
    arguments = [real, "--out", out, "--presets", "tiny,stylegan2", *few]
    done = run_example("studies/table1.py", *arguments)
    assert done.returncode == 0, done.stderr
    rows = [line.split(" | ")[:2] for line in done.stdout.splitlines() if line.startswith(("| tiny", "| stylegan2"))]
    assert rows[:3] == [["| tiny", "latents"], ["| tiny", "references"], ["| stylegan2", "latents"]]
    done = run_example("studies/figure4.py", *arguments, "--columns", 4)
    assert done.returncode == 0, done.stderr
    with Image.open(out / "figure4_latent.png") as latent, Image.open(out / "figure4_reference.png") as reference:
        assert latent.size == (4 * 132 - 4, 3 * 132 - 4) and reference.size == (4 * 132 - 4, 3 * 132 - 4)
    done = run_example("studies/table2.py", *arguments, "--steps", 2, "--seeds", 1, "--image-size", 32)
    assert done.returncode == 0, done.stderr
    assert "| traditional + tiny |" in done.stdout and "| traditional + stylegan2 |" in done.stdout
    done = run_example("studies/table3.py", *arguments)
    assert done.returncode == 0 and "| tiny | references |" in done.stdout, done.stderr
    done = run_example("studies/nearest.py", *arguments, "--columns", 4)
    assert done.returncode == 0 and f"| {nearest.UNSEEN} |" in done.stdout, done.stderr
    with Image.open(out / "nearest.png") as shown:
        assert shown.size == (4 * 132 - 4, 4 * 132 - 4)
