"""Data with next to nothing in them, and trainings that run away: trained, or stopped with what to try."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from fake_model import defective, save, surface
from safetensors.torch import load_file
from small_networks import SMALL, train_small

import defectaug
from defectaug.data.batches import BalancedBatches
from defectaug.data.index import index_folder
from defectaug.data.stores import ImageStore
from defectaug.errors import TrainingError


def train(root: Path, place: Path, steps: int = 2, **changes: object) -> Path:
    """A short training at 32 pixels."""
    settings = {**SMALL, "run": {"batch_size": 4, "warmup": 0}, "data": {"min_images": 1}, **changes}
    out = train_small(root, place / "model", settings, steps=steps)
    assert out is not None
    assert all(value.isfinite().all() for value in load_file(out / "model.safetensors").values())
    return out


def fill(root: Path, categories: dict[str, int], same: bool = False) -> Path:
    for category, count in categories.items():
        make = surface if category.endswith("/normal") else defective
        for number in range(count):
            save(root / category / f"{number}.png", make(0 if same else number))
    return root


@pytest.mark.parametrize(
    "categories",
    [
        {"A/normal": 1, "A/scratch": 1},
        {"A/normal": 3, "A/scratch": 1, "B/normal": 1},
        {"A/normal": 2, "A/scratch": 2, "B/normal": 2, "B/spot": 2, "C/normal": 2, "C/stain": 1},
        {"A/normal": 2, "A/scratch": 2, "B/spot": 2},
    ],
    ids=["one image each", "a product without defects", "each defect on one product", "a product without normals"],
)
def test_categories_with_little_or_nothing(tmp_path: Path, categories: dict[str, int]) -> None:
    out = train(fill(tmp_path / "data", categories), tmp_path)
    made = defectaug.synthesize(model=out, out=tmp_path / "out", n=3, product="A")
    assert made.synthetic >= 3


def test_images_that_are_all_the_same(tmp_path: Path) -> None:
    train(fill(tmp_path / "data", {"A/normal": 3, "A/scratch": 3, "B/normal": 3, "B/spot": 3}, same=True), tmp_path, 3)


@pytest.mark.parametrize("level", [0, 255])
def test_images_without_anything_on_them(tmp_path: Path, level: int) -> None:
    for category in ("A/normal", "A/scratch"):
        for number in range(2):
            save(tmp_path / "data" / category / f"{number}.png", np.full((40, 40), level, np.uint8))
    train(tmp_path / "data", tmp_path, 3)


def test_one_defect_among_ten_thousand_is_seen_as_often(tmp_path: Path) -> None:
    first = save(tmp_path / "A/normal/0.png", surface(0))
    for number in range(1, 10_000):
        os.link(first, tmp_path / f"A/normal/{number}.png")
    save(tmp_path / "A/scratch/0.png", defective(0))
    index = index_folder(tmp_path)
    batches = BalancedBatches(index, ImageStore(index.samples, 16, 1), 4, seed=0, normal_target=0.0)
    drawn = [batches.batch(step) for step in range(20)]
    assert sum(int((batch.defect == 1).sum()) for batch in drawn) == 40  # half of the sources
    assert all((batch.target == 1).all() for batch in drawn)


@pytest.mark.parametrize("optimizer", [{"rate": 1e30}, {"discriminator_rate": 1e30, "rate": 1e30}])
def test_a_training_that_explodes_keeps_the_last_good_state(tmp_path: Path, optimizer: dict) -> None:
    root = fill(tmp_path / "data", {"A/normal": 3, "A/scratch": 3})
    run = {"batch_size": 4, "warmup": 0, "save_every": 1}
    with pytest.raises(TrainingError, match=r"not finite; try .*a lower optimizer\.rate.*the last good state is kept"):
        train(root, tmp_path, 30, optimizer=optimizer, run=run)
    for name in ("model.safetensors", "state/state.safetensors"):
        file = tmp_path / "model" / name
        assert not file.exists() or all(value.isfinite().all() for value in load_file(file).values())
