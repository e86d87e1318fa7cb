"""Defects by their masks: exact on known squares."""

from __future__ import annotations

import numpy as np
import pytest

from defectaug.metrics.defects import (
    DefectStatistics,
    dilated,
    distribution_distance,
    iou,
    map_distances,
    nearest_training_defect,
    style_effect,
)


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


def test_place_shape_tone_and_area() -> None:
    found = described((square(20, 20), 28), (square(80, 60), 28), (square(80, 60, 24), 208))
    assert found.place[1] - found.place[0] == pytest.approx([60, 40])
    assert found.tone == pytest.approx([-100, -100, 80])
    assert found.contrast == pytest.approx([0, 0, 0])
    assert found.area == pytest.approx([144 / 128**2, 144 / 128**2, 576 / 128**2])
    assert (found.shape[0] == found.shape[1]).all() and (found.shape[1] != found.shape[2]).any()
    assert map_distances(found.placed[:1], found.placed[1:2])[0, 0] == pytest.approx(1)
    assert map_distances(found.centred[:1], found.centred[1:2])[0, 0] == pytest.approx(0)


def test_an_empty_mask_is_described() -> None:
    found = described((np.zeros((128, 128), bool), 0))
    assert found.place.tolist() == [[64, 64]]
    assert np.isfinite(found.centred).all()


def test_spread_is_the_mean_distance_of_pairs() -> None:
    found = described((square(20, 20), 28), (square(20, 50), 28), (square(60, 20), 58)).spread()
    assert found["place"] == pytest.approx((30 + 40 + 50) / 3)
    assert found["shape"] == 0
    assert found["look"] == pytest.approx(20)


def test_distances_of_known_maps() -> None:
    a, b = np.array([[1, 1, 0, 0]], np.float32), np.array([[0, 1, 1, 0], [1, 1, 0, 0]], np.float32)
    assert map_distances(a, b) == pytest.approx(np.array([[0.5, 0]]))
    assert map_distances(np.array([[2.0, -1]]), np.array([[-2.0, 1]])) == pytest.approx(np.array([[1.0]]))
    assert iou(square(0, 0, 4), square(0, 2, 4)) == pytest.approx(8 / 24)
    assert iou(square(0, 0, 0), square(0, 0, 0)) == 1


def test_a_moved_copy_of_a_training_defect_is_found() -> None:
    training = described((square(20, 20), 28), (square(60, 40, 30), 58))
    copy = described((square(90, 90), 28))
    assert nearest_training_defect(copy.centred, training.centred) == pytest.approx([0])
    assert nearest_training_defect(copy.placed, training.placed) == pytest.approx([1])
    assert (nearest_training_defect(training.centred, training.centred, same=True) > 0.1).all()


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
