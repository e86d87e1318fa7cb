"""Crops at native scale, and the accuracy with which a classifier tells real from synthetic ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from defectaug.device import Compute
from defectaug.metrics.defects import (
    anywhere,
    around_defect,
    crop,
    halves,
    named,
    near_defect,
    small_classifier,
    told_from_real,
)


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


@pytest.mark.parametrize("channels", [(), (3,)])
def test_the_small_classifier_learns_what_it_is_shown(channels: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(100, 120, (24, 32, 32, *channels), dtype=np.uint8)
    images[::2, 12:20, 12:20] = 200
    labels = np.arange(24) % 2
    classify = small_classifier(Compute(torch.device("cpu"), bf16=False), steps=40, batch=12)
    assert (classify(images, labels, images, 0) == labels).mean() > 0.9
