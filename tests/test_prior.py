"""How M's codes are fitted to E's."""

from __future__ import annotations

import pytest
import torch
from small_networks import small_model
from torch import Tensor

from defectaug.dtgan import losses, prior
from defectaug.dtgan.codes import Codes
from defectaug.dtgan.critic import batch_spread


def one_hot_places(columns: list[int]) -> Tensor:
    """Opacities (N, 1, 16, 16), each with one opaque column."""
    opacity = torch.zeros(len(columns), 1, 16, 16)
    for row, column in enumerate(columns):
        opacity[row, 0, :, column] = 1
    return opacity


def test_likeness_looks_at_pairs_of_one_class() -> None:
    same = one_hot_places([3, 3, 9, 9])
    assert losses.likeness(same, torch.tensor([1, 1, 2, 2])).item() == pytest.approx(1)
    assert losses.likeness(same, torch.tensor([1, 2, 1, 2])).item() == pytest.approx(0)
    assert losses.likeness(same, torch.tensor([1, 2, 3, 4])).item() == 0  # no pairs at all


def test_only_more_likeness_than_real_defects_have_is_punished() -> None:
    group = torch.tensor([1, 1, 1])
    alike, apart = one_hot_places([5, 5, 5]), one_hot_places([1, 5, 9])
    assert losses.excess_likeness(alike, group, apart, group).item() == pytest.approx(1)
    assert losses.excess_likeness(apart, group, alike, group).item() == 0


def made_match(latent: list[int], truth: list[int]) -> prior.Match:
    def codes(places: Tensor) -> Codes:
        c = places.requires_grad_(True)
        return Codes(c, torch.ones(len(places), 4), torch.ones(len(places), dtype=torch.long))

    pool, real = one_hot_places(latent), one_hot_places(truth)
    return prior.Match(codes(real.clone()).detach(), real, codes(pool.clone()), pool)


def test_cover_is_zero_where_every_defect_has_its_latent() -> None:
    assert prior.cover(made_match([2, 7, 11], [7, 2])).item() == pytest.approx(0, abs=1e-3)
    assert prior.cover(made_match([2, 2, 11], [7, 2])).item() > 0.3


def test_cover_moves_the_nearest_latent_alone() -> None:
    found = made_match([2, 7], [7])
    prior.cover(found).backward()
    assert found.codes.c.grad is not None
    assert not found.codes.c.grad[0].any()


def test_critic_notices_a_batch_of_equals() -> None:
    h = torch.randn(6, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    assert batch_spread(h[:1].expand(6, -1, -1, -1)).item() < 1e-3
    assert batch_spread(h).item() > 0.5


def test_the_critic_is_no_part_of_decoded_recipes() -> None:
    assert small_model("tiny").critic is not None
    assert small_model("paper", code_channels=4).critic is None
