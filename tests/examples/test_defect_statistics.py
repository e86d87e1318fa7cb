"""What the battery knows of defects and of crops: exact on known squares."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from defectaug.metrics.defects import around_defect, crop

sys.path.insert(0, str(Path(__file__).parents[2] / "examples" / "battery"))

from defect_statistics import (
    DefectStatistics,
    anywhere,
    dilated,
    distribution_distance,
    halves,
    iou,
    moved_iou,
    named,
    near_defect,
    nearest_training_defect,
    style_effect,
    told_from_real,
)
from pasting import WAYS


def defective(top: int, left: int, shape: tuple[int, ...] = (128, 128)) -> tuple[np.ndarray, np.ndarray]:
    """A dark square of 12 pixels on a ground of 128, and its mask."""
    mask = np.zeros(shape[:2], bool)
    mask[top : top + 12, left : left + 12] = True
    image = np.full(shape, 128, np.uint8)
    image[mask] = 40
    return image, mask


@pytest.mark.parametrize(("top", "left"), [(10, 10), (40, 80), (116, 0)])
def test_crops_hold_the_defect_and_lie_within_the_image(top: int, left: int) -> None:
    image, mask = defective(top, left)
    found = around_defect(image, mask, 48)
    assert found.shape == (48, 48) and (found != 128).sum() == 144
    rng = np.random.default_rng(0)
    assert all((near_defect(image, mask, 48, rng, offset=12) != 128).any() for _ in range(20))
    assert all(anywhere(image, 48, rng).shape == (48, 48) for _ in range(20))


def test_crops_of_small_and_of_colour_images() -> None:
    assert crop(np.zeros((40, 200), np.uint8), np.array([39, 199]), 96).shape == (96, 96)
    assert around_defect(*defective(5, 5, (64, 64, 3)), 32).shape == (32, 32, 3)
    assert around_defect(np.arange(16).reshape(4, 4), np.zeros((4, 4), bool), 2).tolist() == [[5, 6], [9, 10]]


def test_halves_share_nothing() -> None:
    first, second = halves(9, 7, np.random.default_rng(0))
    assert len(first) == len(second) == 3
    assert set(first).isdisjoint(second)


def test_told_from_real_is_balanced_and_by_category() -> None:
    crops = {"A/spot": np.zeros((10, 4, 4), np.uint8), "B/spot": np.zeros((4, 4, 4), np.uint8)}
    brighter = {name: some + np.uint8(9) for name, some in crops.items()} | {"C/spot": np.ones((4, 4, 4), np.uint8)}
    brighter["A/spot"] = brighter["A/spot"][:6]
    asked = []

    def by_level(images: np.ndarray, labels: np.ndarray, queries: np.ndarray, seed: int) -> np.ndarray:
        asked.append((labels.tolist(), len(queries)))
        return (queries.mean((1, 2)) > 5).astype(int)

    assert told_from_real(crops, brighter, by_level) == {"A/spot": 1, "B/spot": 1, "all": 1}
    assert asked == [([0] * 3 + [1] * 3 + [0] * 2 + [1] * 2, 10)]
    assert told_from_real(crops, crops, by_level)["all"] == 0.5
    assert told_from_real(crops, {"C/spot": crops["A/spot"]}, by_level) == {}


def test_what_groups_are_called() -> None:
    levels = {name: np.full((count, 4, 4), level, np.uint8) for name, count, level in (("b", 2, 9), ("a", 3, 1))}

    def by_level(images: np.ndarray, labels: np.ndarray, queries: np.ndarray, seed: int) -> np.ndarray:
        known = {int(image.mean()): label for image, label in zip(images, labels, strict=True)}
        return np.array([known[int(query.mean())] for query in queries])

    mixed = np.concatenate([levels["a"][:1], levels["b"]])
    assert named(levels, {"x": mixed, "y": levels["a"]}, by_level) == {"x": ["a", "b", "b"], "y": ["a"] * 3}


def square(top: int, left: int, side: int = 12) -> np.ndarray:
    mask = np.zeros((128, 128), bool)
    mask[top : top + side, left : left + side] = True
    return mask


def described(*defects: tuple[np.ndarray, int]) -> DefectStatistics:
    """Squares of a level on a ground of 128."""
    return DefectStatistics.of([np.where(mask, level, 128) for mask, level in defects], [mask for mask, _ in defects])


def test_widening_stays_within_the_image() -> None:
    assert dilated(square(50, 50, 4), 3).sum() == 10 * 10
    assert dilated(square(0, 0, 2), 1).sum() == 3 * 3


def test_tone_contrast_and_an_empty_mask() -> None:
    found = described((square(20, 20), 28), (square(80, 60), 28), (square(80, 60, 24), 208))
    assert found.tone == pytest.approx([-100, -100, 80])
    assert found.contrast == pytest.approx([0, 0, 0])
    assert np.isfinite(described((np.zeros((128, 128), bool), 0)).centred).all()
    assert iou(square(0, 0, 4), square(0, 2, 4)) == pytest.approx(8 / 24)
    assert iou(square(0, 0, 0), square(0, 0, 0)) == 1


def test_overlap_of_moved_masks_knows_no_place() -> None:
    small, large = np.zeros((9, 12), bool), np.zeros((20, 15), bool)
    small[1:4, 2:6] = True
    large[12:15, 8:12] = True
    assert moved_iou(small, large) == pytest.approx(1)
    large[12:15, 8:10] = False
    assert moved_iou(small, large) == pytest.approx(0.5)
    assert moved_iou(small, np.zeros((5, 5), bool)) == 0 and moved_iou(~small & small, ~large & large) == 1


def test_a_moved_copy_of_a_training_defect_is_found() -> None:
    training = described((square(20, 20), 28), (square(60, 40, 30), 58))
    assert nearest_training_defect(described((square(90, 90), 28)).centred, training.centred) == pytest.approx([0])
    a, b = np.array([[1, 1, 0, 0]], np.float32), np.array([[0, 1, 1, 0]], np.float32)
    assert nearest_training_defect(a, b) == pytest.approx([0.5])
    assert nearest_training_defect(a, -a) == pytest.approx([1])


def test_distance_of_distributions_is_about_one_for_halves_of_one() -> None:
    rng = np.random.default_rng(0)
    real = rng.normal(0, 10, 200)
    assert distribution_distance(rng.normal(0, 10, 200), real) < 2
    assert distribution_distance(rng.normal(30, 10, 200), real) > 5
    assert distribution_distance(real, real) == 0


def test_style_effect_inside_and_outside_the_mask() -> None:
    mask = square(40, 40)
    images = np.stack([np.where(mask, level, 100) for level in (110, 120, 140)])
    assert style_effect(images, mask) == pytest.approx((20, 0))
    assert style_effect(np.stack([images[0]] * 3), mask) == (0, 0)
    assert style_effect(images, np.ones_like(mask)) == pytest.approx((20 * 144 / 128**2, 0))


@pytest.mark.parametrize("way", list(WAYS))
def test_every_way_to_paste_puts_the_defect_where_its_mask_is(way: str) -> None:
    rng = np.random.default_rng(0)
    cracked, normal = (rng.uniform(-0.05, 0.05, (96, 80, 3)).astype(np.float32) for _ in range(2))
    mask = np.zeros((96, 80), np.float32)
    mask[40:50, 30:44] = 1
    cracked[mask > 0] -= 0.6
    made = WAYS[way](cracked, normal, mask)
    assert made[42:48, 32:42].mean() == pytest.approx(-0.6, abs=0.05)
    assert np.abs(made - normal)[:25].max() == 0 and made.shape == normal.shape
