"""Sources that are read once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from fake_model import FakeModel, data, info
from small_networks import codes_like, images, small_inference

import defectaug
from defectaug.synthesis.feature_cache import FeatureCache


def views(count: int) -> list[np.ndarray]:
    return [np.full((1, 32, 32), number / 10, np.float32) for number in range(count)]


def test_a_source_is_read_once_while_it_is_kept() -> None:
    model = FakeModel(info())
    cache = FeatureCache(model)
    first = cache.of("aba", [views(2)[0], views(2)[1], views(2)[0]])
    again = cache.of("bac", [views(3)[1], views(3)[0], views(3)[2]])
    assert model.read_sources == 3
    assert [features.parts[0].max().item() for features in again] == [np.float32(0.1), 0, np.float32(0.2)]
    assert first[0] is first[2] is again[1]


def test_what_was_used_longest_ago_makes_room() -> None:
    model = FakeModel(info())
    size = views(1)[0].nbytes
    cache = FeatureCache(model, most=2 * size)
    cache.of("ab", views(2))
    cache.of("a", views(1))
    cache.of("c", views(1))  # b goes
    assert model.read_sources == 3
    cache.of("ac", views(2))
    assert model.read_sources == 3
    cache.of("b", views(1))
    assert model.read_sources == 4
    assert len(cache.of("abcdefgh", views(8))) == 8  # a batch may be larger than what is kept


def test_synthesis_reads_each_source_once(tmp_path: Path) -> None:
    root = data(tmp_path / "data")
    model = FakeModel(info(root))
    defectaug.synthesize(model=model, product="A", defect="scratch", n=20, keep="all", out=tmp_path / "out")
    assert model.read_sources == 5 and sum(model.batches) == 20
    assert all(model.said_normal)  # nothing is to be taken away from them


def test_painting_on_what_was_read_is_painting() -> None:
    model = small_inference("paper", info())
    x, defect = images(3), torch.tensor([1, 2, 1])
    codes = codes_like(model.networks, defect)
    whole = model.paint(x, codes)
    rows = model.source_features(x[[2, 0, 1]])
    apart = model.paint_on([rows[1], rows[2], rows[0]], codes)
    assert torch.allclose(whole.delta, apart.delta, atol=1e-5)


@pytest.mark.parametrize("recipe", [*(f"ablation_{letter}" for letter in "abcde"), "paper"])
def test_every_form_of_g_changes_what_it_paints_on(recipe: str) -> None:
    model = small_inference(recipe, info())
    x, defect = images(2), torch.tensor([1, 2])
    delta = model.paint(x, codes_like(model.networks, defect)).delta
    assert (delta.abs().amax((1, 2, 3)) > 0).all()


@pytest.mark.parametrize("recipe", [f"ablation_{letter}" for letter in "bcde"])
def test_what_is_read_of_a_normal_image_changes_nothing(recipe: str) -> None:
    model = small_inference(recipe, info())
    x = images(2)
    codes = model.networks.encoder(x, torch.tensor([0, 0]))
    assert codes.c.any() == (recipe != "ablation_e")
    assert model.paint(x, codes).delta.abs().max() < 1e-5
