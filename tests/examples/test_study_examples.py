"""The studies of examples/studies as commands."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import run_example
from data_helpers import mask, native, save, sdi
from PIL import Image
from study_helpers import folder, surface

from defectaug.data.index import index_folder
from defectaug.device import Compute
from defectaug.errors import DataError
from defectaug.reporting.sections import Spread

STUDIES = Path(__file__).parents[2] / "examples" / "studies"
sys.path.insert(0, str(STUDIES))

import common  # noqa: E402
import figure3  # noqa: E402
import protocol  # noqa: E402
import table5  # noqa: E402
import unet  # noqa: E402

DEMO = Path(__file__).parents[2] / "models" / "demo"
REAL = {"A/normal": 12, "A/scratch": 8, "A/spot": 6, "B/normal": 12, "B/scratch": 8, "B/spot": 6}


def options(data: Path, out: Path, *more: str) -> object:
    return common.parser(None).parse_args([str(data), "--out", str(out), *more])


def test_table_2_from_folders_to_files(tmp_path: Path) -> None:
    real, made = folder(tmp_path / "real", REAL), folder(tmp_path / "made", {"A/spot": 4, "B/scratch": 4}, stream=2)
    out = tmp_path / "out"
    arguments = [real, "--synthetic", f"other={made}", "--out", out, "--slim", "--steps", 2, "--seeds", 2]
    done = run_example("studies/table2.py", *arguments, "--image-size", 32, "--sweep", "0.1,0.2", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert done.stdout == (out / "table2.md").read_text()
    assert "| traditional + other |" in done.stdout and " ± " in done.stdout and "table2.py" in done.stdout
    found = json.loads((out / "table2.json").read_text())
    assert [arm["amount"] for arm in found["arms"]] == [None, None, None, 0.1, 0.2]
    assert found["settings"]["steps"] == 2 and found["machine"] and "table2.py" in found["command"]
    assert len(list((out / "cache").iterdir())) == 10
    assert len(list((out / "real").rglob("*.png"))) + len(list((out / "test").rglob("*.png"))) == sum(REAL.values())


def test_a_product_that_training_has_not_seen(tmp_path: Path) -> None:
    real, out = DEMO.parents[1] / "examples/demo/data", tmp_path / "out"
    arguments = [real, "--product", "C", "--model", DEMO, "--out", out, "--slim", "--device", "cpu"]
    done = run_example(
        "studies/unseen.py", *arguments, "--steps", 2, "--seeds", 2, "--image-size", 32, "--per-category", 2
    )
    assert done.returncode == 0, done.stderr
    assert {one.name for one in (out / "without-C").iterdir()} == {"A", "B"}
    assert {one.name for one in (out / "normal-C/C").iterdir()} == {"normal"}
    assert sorted(one.parent.name for one in out.glob("synthetic/*/*/C/*/*.png")) == ["scratch"] * 2 + ["spot"] * 2
    assert "| traditional + synthetic |" in done.stdout and not (out / "models").exists()
    done = run_example("studies/unseen.py", real, "--product", "X", "--out", tmp_path / "none")
    assert done.returncode == 2 and "--product X: must be one of several" in done.stderr


def test_errors_are_one_line(tmp_path: Path) -> None:
    done = run_example("studies/table2.py", native(tmp_path / "data"), "--out", tmp_path / "out")
    assert done.returncode == 2 and done.stderr.startswith("error: --model DIR, --synthetic NAME=DIR or")
    assert len(done.stderr.splitlines()) == 1 and not done.stdout


def test_parted_once_near_duplicates_and_own_splits_kept(tmp_path: Path) -> None:
    real, test = common.real_images(options(sdi(tmp_path / "sdi"), tmp_path / "out"))  # type: ignore[arg-type]
    assert set(real.products) == {"A", "B"} and len(real) + len(test) == 30
    assert all("_test_" in sample.path.name for sample in test.samples if sample.defect != "normal")
    assert all("_test_" not in sample.path.name for sample in real.samples)
    again = common.real_images(options(tmp_path / "sdi", tmp_path / "out"))  # type: ignore[arg-type]
    assert (real, test) == again
    with pytest.raises(common.OutputError, match="other data"):
        common.real_images(options(native(tmp_path / "other"), tmp_path / "out"))  # type: ignore[arg-type]


def test_links_keep_masks(tmp_path: Path) -> None:
    root = native(tmp_path / "data")
    save(root / "A/scratch/000_mask.png", mask())
    linked = index_folder(common.link(index_folder(root), tmp_path / "linked"))
    assert linked.counts() == index_folder(root).counts()
    assert [sample.mask is not None for sample in linked.category("A", "scratch")].count(True) == 1


def test_few_defects_of_one_product(tmp_path: Path) -> None:
    index = index_folder(folder(tmp_path / "real", REAL))
    counts = common.few(index, "A", 3, seed=0).counts()
    assert counts == index.counts() | {("A", "scratch"): 3, ("A", "spot"): 3}
    assert common.few(index, "A", 3, seed=0) == common.few(index, "A", 3, seed=0) != common.few(index, "A", 3, seed=1)


def test_every_product_gets_every_other_ones_defects_once() -> None:
    plans = table5.plans(("A", "B", "C"))
    assert plans["v-Same"] == {"A": ("A",), "B": ("B",), "C": ("C",)}
    assert plans["v-Others 1"] == {"A": ("B",), "B": ("C",), "C": ("A",)}
    assert plans["v-Others 2"] == {"A": ("C",), "B": ("A",), "C": ("B",)}
    assert plans["v-All"]["A"] == ("A", "B", "C") and list(plans)[-1] == "v-All"


def test_table_4_from_folders_to_files(tmp_path: Path) -> None:
    data, out = folder(tmp_path / "data", REAL, side=128), tmp_path / "out"
    test = folder(tmp_path / "test", dict.fromkeys(REAL, 3), stream=2, side=128)
    slim = ["--slim", "--steps", 2, "--seeds", 2, "--image-size", 32, "--per-category", 3, "--device", "cpu"]
    named = ["--model", DEMO, "--model-few", DEMO, "--product", "A", "--few", 4]
    done = run_example("studies/table4.py", data, "--out", out, "--test", test, *named, *slim, "--control")
    assert done.returncode == 0, done.stderr
    assert done.stdout == (out / "table4.md").read_text()
    header = next(line for line in done.stdout.splitlines() if line.startswith("| product"))
    assert [part.split(":")[0].strip() for part in header.split("|")[2:-1]] == ["4A"] * 5 + ["all"] * 5
    assert "all: traditional + cut and paste" in header and "cut and paste, whose error" in done.stdout
    few = index_folder(out / "real-4A").counts()
    assert (few["A", "scratch"], few["A", "spot"], few["B", "scratch"]) == (4, 4, 8)
    assert {"4A", "all"} <= set(json.loads((out / "table4.json").read_text()))


def test_a_model_that_was_trained_otherwise_is_not_taken(tmp_path: Path) -> None:
    data = native(tmp_path / "data")
    parser = common.parser(None)
    common.training_options(parser)
    asked = parser.parse_args([str(data), "--out", str(tmp_path), "--training-steps", "7"])
    (tmp_path / "models").mkdir()
    (tmp_path / "models/all.done").write_text('{"preset": "small", "config": null, "seed": 0, "steps": 6}\n')
    with pytest.raises(common.OutputError, match="other settings"):
        common.trained("all", index_folder(data), asked, "small")


def test_pairs_of_figure_3_are_of_all_products(tmp_path: Path) -> None:
    index = index_folder(folder(tmp_path / "real", REAL))
    places = [one.path.relative_to(index.root).as_posix() for one in figure3.spread_over(index, "spot", 5)]
    assert places == ["A/spot/000.png", "B/spot/000.png", "A/spot/001.png", "B/spot/001.png", "A/spot/002.png"]


@pytest.mark.slow
def test_figure_3_from_folders_to_files(tmp_path: Path) -> None:
    data, out = folder(tmp_path / "data", REAL, side=128), tmp_path / "out"
    slim = ["--slim", "--training-steps", 2, "--columns", 3, "--per-category", 4, "--device", "cpu"]
    done = run_example("studies/figure3.py", data, "--out", out, *slim, "--variants", "a,e", "--model", DEMO)
    assert done.returncode == 0, done.stderr
    assert [line.split(" | ")[0] for line in done.stdout.splitlines() if line.startswith("| (")] == [
        "| (a) StarGAN v2", "| (e) + anchor and noise",
    ]  # fmt: skip
    with Image.open(out / "figure3.png") as picture:
        assert picture.size == (3 * 132 - 4, 5 * 132 - 4)


def mvtec(root: Path, *, bare: bool = False, side: int = 32) -> Path:
    """One category in MVTec's layout: two types of six images, normal ones for training and testing."""
    for number in range(6):
        save(root / f"train/good/{number:03d}.png", surface("A", "normal", number, 0, side))
        save(root / f"test/good/{number:03d}.png", surface("A", "normal", number, 1, side))
        for kind in ("scratch", "spot"):
            image = surface("A", kind, number, 2, side)
            save(root / f"test/{kind}/{number:03d}.png", image)
            strange = (np.abs(image.astype(float) - 120) > 60).astype(np.uint8) * 255
            if not bare:
                save(root / f"ground_truth/{kind}/{number:03d}_mask.png", strange)
    return root


def test_the_protocol_parts_by_thirds_and_hides_training_masks(tmp_path: Path) -> None:
    train, test = protocol.parted(index_folder(mvtec(tmp_path / "part")))
    assert train.counts() == {("part", "good"): 6, ("part", "scratch"): 2, ("part", "spot"): 2}
    assert test.counts() == {("part", "good"): 6, ("part", "scratch"): 4, ("part", "spot"): 4}
    first = {sample.path.name for sample in train.samples if sample.defect == "spot"}
    assert first == {"000.png", "001.png"} and all(sample.mask is None for sample in train.samples)
    assert all(sample.mask for sample in test.samples if sample.defect != "good")
    with pytest.raises(DataError, match="has no mask"):
        protocol.parted(index_folder(mvtec(tmp_path / "bare", bare=True)))


def test_the_protocol_tells_how_far_trainings_differ() -> None:
    assert protocol.spread([2.0, 4.0, 6.0]) == Spread(4.0, 2.0)
    assert protocol.spread([2.0]) == 2.0 and protocol.spread([None, None]) is None


def test_the_score_of_classes_at_closed_forms() -> None:
    assert protocol.class_score(torch.eye(4)) == pytest.approx(4)
    assert protocol.class_score(torch.full((3, 4), 0.25)) == pytest.approx(1)
    half = torch.tensor([[1.0, 0, 0, 0], [0, 1.0, 0, 0]])
    assert protocol.class_score(half) == pytest.approx(2)  # 0 / 0 of classes that none has counts nothing


def test_localisation_scores_at_closed_forms() -> None:
    masks = np.zeros((2, 20, 20), bool)
    masks[0, 2:6, 2:6], masks[0, 10:12, 10:12] = True, True
    perfect = unet.localisation(masks.astype(np.float32), masks)
    assert (perfect.auroc, perfect.precision, perfect.f1) == pytest.approx((1, 1, 1))
    assert perfect.pro == pytest.approx(1, abs=0.01)
    half = masks.astype(np.float32)
    half[0, 10:12, 10:12] = -1  # the small region is missed: half of the regions, a fifth of the pixels
    found = unet.localisation(half, masks)
    assert found.pro == pytest.approx(0.5, abs=0.01) and found.f1 == pytest.approx(2 * 0.8 / 1.8, abs=0.01)


def test_a_small_u_net_learns_masks() -> None:
    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.integers(90, 120, (12, 3, 32, 32), dtype=np.uint8))
    masks = torch.zeros(12, 32, 32, dtype=torch.bool)
    for number in range(8):
        row, column = rng.integers(2, 24, 2)
        masks[number, row : row + 6, column : column + 6] = True
        images[number, :, row : row + 6, column : column + 6] += 60
    compute = Compute(torch.device("cpu"), bf16=False)
    network = unet.train_unet(
        images, masks, compute, width=6, steps=60, batch=8, seed=0, progress=lambda done, total: None
    )
    assert unet.localisation(unet.maps_of(network, images, compute), masks.numpy()).auroc > 0.85


@pytest.mark.slow
def test_the_protocol_from_folder_to_table(tmp_path: Path) -> None:
    arguments = [mvtec(tmp_path / "part", side=64), "--out", tmp_path / "out", "--slim", "--steps", 2]
    arguments += ["--per-category", 3, "--training-steps", 4, "--image-size", 32, "--seeds", 2, "--device", "cpu"]
    done = run_example("studies/protocol.py", *arguments)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "out/protocol.json").read_text())
    assert len(found["tables"][0]["rows"][0]) == 10 and "4 defective images of 2 types train" in done.stdout
    assert set(found["tables"][0]["rows"][0][2]) == {"mean", "deviation"}
