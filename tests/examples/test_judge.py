"""The judge's measures: exact on known values, and sound on a tiny folder."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

FOLDER = Path(__file__).parents[2] / "examples" / "judge"
sys.path.insert(0, str(FOLDER))

import classifier  # noqa: E402
import folders  # noqa: E402
import maps  # noqa: E402
import measure  # noqa: E402
import name_cuts  # noqa: E402
import real_or_synthetic  # noqa: E402
import restoration  # noqa: E402


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).save(path)


def square(top: int, left: int, side: int = 12) -> np.ndarray:
    mask = np.zeros((128, 128), bool)
    mask[top : top + side, left : left + side] = True
    return mask


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """real/ and out/ of one cell: flat images with squares; out/ moved one background by 3 grey levels."""
    manifest = []
    for index, (top, left) in enumerate([(10, 10), (40, 80), (90, 30), (60, 60)]):
        mask = square(top, left)
        name = f"P/spot/{index}.png"
        save(tmp_path / "real" / name, np.where(mask, 40 + 20 * index, 128))
        save(tmp_path / "real.masks" / name, mask * 255)
        save(tmp_path / "real" / "P" / "normal" / f"{index}.png", np.full((128, 128), 120))
        output = np.where(mask, 200, 123 if index == 0 else 120)
        save(tmp_path / "out" / name, output)
        save(tmp_path / "out.masks" / name, mask * 255)
        manifest.append(
            {
                "file": name,
                "product": "P",
                "defect": "spot",
                "synthetic": True,
                "source": str(tmp_path / "real" / "P" / "normal" / f"{index}.png"),
                "reference": str(tmp_path / "real" / name),
                "guide": "reference",
                "seed": 0,
                "index": index,
                "model": "0",
            }
        )
    manifest.append(manifest[0] | {"file": "P/spot/real.png", "synthetic": False})
    text = "".join(json.dumps(line) + "\n" for line in manifest)
    (tmp_path / "out" / "manifest.jsonl").write_text(text)
    return tmp_path


def run(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(FOLDER / script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("scores", "masks", "expected"),
    [
        ([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1], 0.75),
        ([1, 2, 3, 4], [0, 0, 1, 1], 1.0),
        ([4, 3, 2, 1], [0, 0, 1, 1], 0.0),
        ([5, 5, 5, 5], [0, 1, 0, 1], 0.5),
        ([1, 2, 2, 3], [0, 0, 1, 1], 0.875),
    ],
)
def test_auroc_of_known_values(scores: list[float], masks: list[int], expected: float) -> None:
    found = restoration.pixel_auroc(np.array(scores, float), np.array(masks, bool))
    assert found == pytest.approx(expected)


def test_auroc_refuses_masks_of_one_kind() -> None:
    with pytest.raises(ValueError, match="defective and sound"):
        restoration.pixel_auroc(np.arange(4.0), np.ones(4, bool))
    with pytest.raises(ValueError, match="scores are"):
        restoration.pixel_auroc(np.arange(4.0), np.ones((2, 2), bool))


def test_blur_keeps_the_sum_and_spreads_by_sigma() -> None:
    image = np.zeros((41, 41))
    image[20, 20] = 1
    out = restoration.blurred(image, 2.0)
    y = np.arange(41) - 20
    assert out.sum() == pytest.approx(1)
    assert (out.sum(1) * y**2).sum() == pytest.approx(4, rel=0.05)
    assert np.array_equal(restoration.blurred(image, 0), image)


def test_dilate_widens_by_its_reach_and_does_not_wrap() -> None:
    assert maps.dilate(square(50, 50, 4), 3).sum() == 10 * 10
    assert maps.dilate(square(0, 0, 2), 1).sum() == 3 * 3


def test_distances_of_known_rows() -> None:
    a, b = np.array([[1, 1, 0, 0]], np.float32), np.array([[0, 1, 1, 0], [1, 1, 0, 0]], np.float32)
    assert maps.one_less_iou(a, b) == pytest.approx(np.array([[2 / 3, 0]]))
    assert maps.relative_l1(a, b) == pytest.approx(np.array([[0.5, 0]]))
    assert maps.pairs(np.arange(9).reshape(3, 3)).tolist() == [1, 2, 5]
    assert maps.iou(square(0, 0, 4), square(0, 2, 4)) == pytest.approx(8 / 24)


def test_descriptors_tell_place_shape_and_look() -> None:
    masks = [square(20, 20), square(80, 60), square(80, 60, 24)]
    images = [
        np.where(mask, level, 128).astype(np.uint8) for mask, level in zip(masks, (28, 28, 208), strict=True)
    ]
    found = maps.describe(images, masks)
    assert found.place[1] - found.place[0] == pytest.approx([60, 40])
    assert found.look[:, 0] == pytest.approx([-100, -100, 80])
    assert maps.one_less_iou(found.shape[:1], found.shape[1:2])[0, 0] == 0
    assert maps.one_less_iou(found.shape[:1], found.shape[2:])[0, 0] > 0.5
    assert maps.relative_l1(found.painted[:1], found.painted[1:2])[0, 0] == pytest.approx(1)
    assert maps.relative_l1(found.centred[:1], found.centred[1:2])[0, 0] == pytest.approx(0)


def test_measures_of_a_tiny_folder(tiny: Path) -> None:
    shown = folders.synthetic_defects(tiny / "out")
    assert len(shown) == 4
    assert measure.background_change(shown) == pytest.approx(3 / 4)
    assert measure.reference_overlap(shown) == 1
    real = folders.real_defects(tiny / "real")
    numbers = measure.measure_cell(shown, real, [], judge=None)
    variety = numbers["variety"]
    assert variety["spread"]["place"] == pytest.approx(1)
    assert variety["spread"]["look"] < 0.2  # every synthetic square is as bright as the next
    assert variety["alike"] == {"pairs": 0, "of": 6}
    assert (variety["real"]["dark"], variety["synthetic"]["dark"]) == (1, 0)


def test_copies_count_as_alike_and_as_near_the_training_images(tiny: Path) -> None:
    real = folders.real_defects(tiny / "real")
    copies = measure.descriptors([real[0], real[0], real[1]])
    trained_on = measure.descriptors(real)
    assert copies is not None and trained_on is not None
    variety = measure.variety(copies, trained_on, trained_on)
    assert variety["alike"]["pairs"] == 1
    assert variety["synthetic"]["placed_min"] == 0
    assert variety["real"]["placed_min"] > 0.9


def test_measure_command_prints_a_table_and_writes_json(tiny: Path) -> None:
    judge = classifier.Classifier(["normal", "spot"], ["P"], width=2)
    classifier.save(judge, tiny / "judge.safetensors")
    result = run(
        "measure.py",
        *("--real", tiny / "real", "--synthetic", tiny / "out", "--json", tiny / "numbers.json"),
        *("--judge", tiny / "judge.safetensors"),
    )
    assert result.returncode == 0, result.stderr
    assert "P/spot" in result.stdout
    numbers = json.loads((tiny / "numbers.json").read_text())["P/spot"]
    assert numbers["images"] == 4 and numbers["product"] == 1
    assert run("measure.py", "--real", tiny / "real", "--synthetic", tiny).returncode == 1


def test_restoration_command(tiny: Path) -> None:
    for file in (tiny / "real" / "P" / "spot").iterdir():
        save(tiny / "restored" / "P" / "spot" / file.name, np.full((128, 128), 128))
    result = run("restoration.py", "--real", tiny / "real", "--restored", tiny / "restored", "--blur", 0)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1].split() == ["all", "4", "1.000"]


def test_cuts_lie_around_the_defect_and_within_the_image(tiny: Path) -> None:
    for item in folders.real_defects(tiny / "real"):
        cut = real_or_synthetic.cut_around(item)
        assert cut.shape == (48, 48)
        assert (cut != 128).sum() == 144


def test_cuts_at_native_scale_show_the_defect(tiny: Path) -> None:
    rng = np.random.default_rng(0)
    cuts = list(name_cuts.defect_cuts(folders.real_defects(tiny / "real"), 5, rng))
    assert len(cuts) == 20 and {kind for kind, _ in cuts} == {"spot"}
    assert all(cut.shape == (96, 96) and (cut != 128).any() for _, cut in cuts)
    assert all((cut == 120).all() for _, cut in name_cuts.normal_cuts(tiny / "real", 2, rng))
    assert name_cuts.square(np.zeros((40, 200), np.uint8), np.array([39, 199])).shape == (96, 96)


def test_name_cuts_command(tiny: Path) -> None:
    result = run(
        "name_cuts.py", "--real", tiny / "real", "--held-out", tiny / "real", "--synthetic", tiny / "out",
        "--seeds", 1, "--epochs", 2,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert [line.split()[:2] for line in result.stdout.splitlines()[1:]] == [
        ["real", "normal"], ["real", "spot"], ["synthetic", "spot"],
    ]  # fmt: skip


def test_halves_share_nothing_and_are_balanced(tiny: Path) -> None:
    real, synthetic = folders.real_defects(tiny / "real"), folders.synthetic_defects(tiny / "out")
    train, test = real_or_synthetic.halves(real, synthetic, seed=0)
    assert {item.file for item, _ in train}.isdisjoint(item.file for item, _ in test)
    assert [sum(kind for _, kind in part) for part in (train, test)] == [2, 2]


def test_classifier_learns_saves_and_loads(tmp_path: Path) -> None:
    torch.manual_seed(0)
    images = torch.full((32, 1, 64, 64), 120, dtype=torch.uint8)
    images[::2, :, 20:44, 20:44] = 220
    images += torch.randint(0, 8, images.shape, dtype=torch.uint8)
    labels = torch.arange(32) % 2
    model = classifier.Classifier(["spot", "normal"], ["P"], width=4)
    losses = list(classifier.fit(model, images, (labels, labels * 0), epochs=8, batch=8, balanced=True))
    assert losses[-1] < losses[0]
    defect, product = classifier.predict(model, images)
    assert (defect == labels).float().mean() > 0.9
    assert not product.any()
    classifier.save(model, tmp_path / "judge.safetensors")
    loaded = classifier.load(tmp_path / "judge.safetensors")
    assert loaded.defects == model.defects
    assert torch.equal(classifier.predict(loaded, images)[0], defect)


def test_judge_command_prints_the_held_out_accuracy(tmp_path: Path) -> None:
    for kind, level in (("normal", 0), ("spot", 90)):
        for index in range(10):
            save(tmp_path / "data" / "P" / kind / f"{index}.png", 100 + level * square(50, 10 * index))
    result = run("train_judge.py", tmp_path / "data", "--epochs", 1, "--out", tmp_path / "judge.safetensors")
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1].split()[:2] == ["all", "4"]
    assert classifier.load(tmp_path / "judge.safetensors").defects == ["normal", "spot"]
