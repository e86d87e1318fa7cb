"""How M's codes are fitted to E's."""

from __future__ import annotations

import pytest
import torch
from small_networks import small_model
from torch import Tensor

from defectaug.dtgan import losses, prior
from defectaug.dtgan.codes import Codes
from defectaug.dtgan.critic import batch_spread
from defectaug.dtgan.model import DTGAN


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


def made_match(rebuilt: list[int], truth: list[int]) -> prior.Match:
    def codes(places: Tensor) -> Codes:
        return Codes(places, torch.ones(len(places), 4), torch.ones(len(places), dtype=torch.long))

    near, real = codes(one_hot_places(rebuilt)), codes(one_hot_places(truth))
    latent = torch.zeros(len(truth), 2)
    return prior.Match(real, torch.ones(1), latent, latent, near, near)


def test_cover_is_zero_where_every_defect_is_made_again() -> None:
    assert prior.cover(made_match([7, 2], [7, 2])).item() == pytest.approx(0, abs=1e-3)
    assert prior.cover(made_match([2, 2], [7, 2])).item() > 0.3


def test_divergence_is_that_of_normal_distributions() -> None:
    mean, log_variance = torch.tensor([[1.0, -2.0], [0.5, 0.0]]), torch.tensor([[0.0, 1.0], [-1.0, 0.3]])
    posterior = torch.distributions.Normal(mean, (log_variance / 2).exp())
    closed = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0.0, 1.0)).sum(1).mean()
    assert losses.kl_from_normal(mean, log_variance).item() == pytest.approx(closed.item(), rel=1e-5)
    assert losses.kl_from_normal(0 * mean, 0 * mean).item() == 0


def test_code_reconstruction_does_not_reward_small_codes() -> None:
    def pair(size: float) -> tuple[Codes, Codes]:
        draw = torch.Generator().manual_seed(0)
        c = torch.randn(4, 2, 8, 8, generator=draw) * size, torch.randn(4, 2, 8, 8, generator=draw) * size
        style, defect = torch.ones(4, 4), torch.ones(4, dtype=torch.long)
        return Codes(c[0], style, defect), Codes(c[1], style, defect)

    large, small = (losses.code_reconstruction(*pair(size)).item() for size in (1.0, 0.05))
    assert small == pytest.approx(large, rel=1e-3)


def encoded(model: DTGAN) -> tuple[Codes, Tensor]:
    image = torch.rand(3, 1, *2 * [model.net.image_size], generator=torch.Generator().manual_seed(0))
    codes = model.encoder(image, torch.tensor([1, 2, 1]))
    opacity = torch.zeros(3, 1, *image.shape[2:])
    opacity[:, :, 20:28, 4:12] = 1
    return codes, opacity


def test_fitting_m_changes_neither_e_nor_g() -> None:
    model = small_model("tiny")
    found = prior.match(model, *encoded(model), torch.Generator().manual_seed(1))
    assert found.near.defect.tolist() == found.fresh.defect.tolist() == [1, 2, 1]
    (prior.cover(found) + prior.spread(found) + prior.divergence(found) + found.fresh.c.sum()).backward()
    touched = {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    assert touched == {"mapping", "posterior"}


def test_encoded_maps_are_moved_to_the_middle_and_latent_ones_back_to_where_such_lie() -> None:
    model = small_model("tiny")
    observed, cells = model.mapping.observed, model.net.code_size
    assert observed is not None
    codes, opacity = encoded(model)
    found = prior.match(model, codes, opacity, torch.Generator().manual_seed(1))
    centre = torch.tensor([24.0, 8.0]) / 32 - 0.5
    assert torch.allclose(observed.low.minimum(observed.high)[1], centre.clamp(max=0), atol=1 / cells)
    down, right = (centre * cells).round().long().tolist()
    middle = found.target.c[0, :, cells // 2, cells // 2]
    assert torch.equal(middle, codes.c[0, :, cells // 2 + down, cells // 2 + right])
    observed.low.copy_(centre.expand(3, 2))
    observed.high.copy_(centre.expand(3, 2))
    dot = torch.zeros(1, 1, cells, cells)
    dot[..., cells // 2, cells // 2] = 1
    placed = observed.moved(dot, torch.rand(1, 2), torch.tensor([1]))
    assert placed[0, 0, cells // 2 + down, cells // 2 + right] == 1 and placed.sum() == 1


def test_critic_notices_a_batch_of_equals() -> None:
    h = torch.randn(6, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    assert batch_spread(h[:1].expand(6, -1, -1, -1)).item() < 1e-3
    assert batch_spread(h).item() > 0.5


def test_the_critic_is_no_part_of_decoded_recipes() -> None:
    assert small_model("tiny").critic is not None
    assert small_model("paper", code_channels=4).critic is None
