"""The demonstration data: deterministic, counted, and true to its masks."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from command_line import run_example
from PIL import Image

FOLDER = Path(__file__).parents[2] / "examples" / "demo"
sys.path.insert(0, str(FOLDER))

import make_data  # noqa: E402

DEFECTIVE = [(product, kind) for product in "ABC" for kind in ("scratch", "spot")]


def test_an_image_depends_on_its_own_names_alone() -> None:
    first = make_data.make_sample("A", "scratch", 3, seed=5)
    make_data.make_sample("A", "scratch", 4, seed=5)
    again = make_data.make_sample("A", "scratch", 3, seed=5)
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.mask, again.mask)
    others = (
        make_data.make_sample("A", "scratch", 4, seed=5),
        make_data.make_sample("A", "scratch", 3, seed=6),
        make_data.make_sample("A", "scratch", 3, seed=5, stream=make_data.TEST),
        make_data.make_sample("B", "scratch", 3, seed=5),
    )
    assert not any(np.array_equal(first.image, other.image) for other in others)


@pytest.mark.parametrize(("product", "kind"), DEFECTIVE)
def test_masks_tell_the_truth(product: str, kind: str) -> None:
    areas, changes = [], []
    for index in range(12):
        sample = make_data.make_sample(product, kind, index)
        assert sample.image.shape == (128, 128) and sample.image.dtype == np.uint8
        assert set(np.unique(sample.mask)) == {0, 255}
        change = np.abs(sample.image.astype(int) - sample.clean)
        inside = sample.mask > 0
        assert change[~inside].max() <= make_data.MASK_GREY_LEVELS
        assert change[~inside].mean() < 0.1
        areas.append(inside.mean())
        changes.append(change[inside].mean())
    assert 0.005 < np.median(areas) < 0.04
    assert min(changes) > 5 and np.median(changes) > 20


def test_normal_images_are_their_own_clean_twins() -> None:
    sample = make_data.make_sample("C", "normal", 0)
    assert np.array_equal(sample.image, sample.clean)
    assert not sample.mask.any()


def test_defects_vary_and_spots_of_b_are_dark_and_bright() -> None:
    samples = [make_data.make_sample("B", "spot", index) for index in range(20)]
    change = [(s.image.astype(int) - s.clean)[s.mask > 0].mean() for s in samples]
    assert min(change) < -10 and max(change) > 10
    masks = {s.mask.tobytes() for s in samples}
    assert len(masks) == len(samples)


@pytest.mark.parametrize(("product", "kind"), DEFECTIVE)
def test_colour_keeps_grey_levels_and_masks_and_gives_defects_their_own_tint(product: str, kind: str) -> None:
    grey, colour = (make_data.make_sample(product, kind, 1, colour=colour) for colour in (False, True))
    assert colour.image.shape == colour.clean.shape == (128, 128, 3) and colour.image.dtype == np.uint8
    assert np.array_equal(colour.mask, grey.mask)
    luminance = np.asarray(Image.fromarray(colour.image).convert("L")).astype(int)
    assert np.median(np.abs(luminance - grey.image)) <= 1

    def tint(image: np.ndarray, where: np.ndarray) -> np.ndarray:
        mean = image[where].mean(0)
        return mean / mean.sum()

    inside = colour.mask > 0
    assert np.abs(tint(colour.image, inside) - tint(colour.clean, inside)).max() > 0.01
    assert np.abs(tint(colour.image, ~inside) - tint(colour.clean, ~inside)).max() < 0.001


def test_size_scales_the_same_lengths() -> None:
    areas = [
        [(make_data.make_sample("A", "spot", i, size=size).mask > 0).mean() for i in range(8)]
        for size in (64, 192)
    ]
    assert make_data.make_sample("A", "spot", 0, size=64).image.shape == (64, 64)
    assert 0.4 < np.mean(areas[0]) / np.mean(areas[1]) < 2.5


def test_counts_are_as_skewed_as_sdi() -> None:
    for scale, counts in (("quick", make_data.QUICK), ("full", make_data.FULL)):
        planned = list(make_data.plan(scale, None))
        assert len(planned) == len(set(planned)) == sum(map(sum, counts.values()))
        for product in make_data.PRODUCTS:
            for kind, count in zip(make_data.CLASSES, counts[product], strict=True):
                assert sum(item[:2] == (product, kind) for item in planned) == count
    assert len(list(make_data.plan("quick", 5))) == 45


def test_command_writes_images_masks_and_clean_twins(tmp_path: Path) -> None:
    out = tmp_path / "data"
    assert run_example("demo/make_data.py", out, "--test-per-category", 2, "--clean", "--seed", 3).returncode == 0
    images = sorted(path.relative_to(out) for path in out.rglob("*.png"))
    assert len(images) == 18
    for extra in ("data.masks", "data.clean"):
        found = sorted(path.relative_to(tmp_path / extra) for path in (tmp_path / extra).rglob("*.png"))
        assert found == [path for path in images if path.parts[1] != "normal"]
    with Image.open(out / "B" / "spot" / "spot_00001.png") as image:
        assert image.mode == "L"
        expected = make_data.make_sample("B", "spot", 1, seed=3, stream=make_data.TEST)
        assert np.array_equal(np.asarray(image), expected.image)


def test_command_refuses_a_folder_that_is_not_empty(tmp_path: Path) -> None:
    (tmp_path / "data.masks").mkdir()
    (tmp_path / "data.masks" / "mine.txt").write_text("keep")
    result = run_example("demo/make_data.py", tmp_path / "data", "--test-per-category", 1)
    assert result.returncode != 0 and "data.masks is not empty" in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "data").exists()
