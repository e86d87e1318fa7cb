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


def made_match(near: list[int], truth: list[int]) -> prior.Match:
    def drawn(places: Tensor) -> prior.Drawn:
        c = places.clone().requires_grad_(True)
        codes = Codes(c, torch.ones(len(places), 4), torch.ones(len(places), dtype=torch.long))
        return prior.Drawn(codes, c * 1)

    made, real = drawn(one_hot_places(near)), drawn(one_hot_places(truth)).detach()
    nothing = torch.zeros(len(near), 3)
    return prior.Match(real, nothing, nothing, made, made)


def test_cover_is_zero_where_every_defect_is_made_again() -> None:
    assert prior.cover(made_match([7, 2], [7, 2])).item() == pytest.approx(0, abs=1e-3)
    assert prior.cover(made_match([2, 2], [7, 2])).item() > 0.3


def test_divergence_of_what_is_drawn_as_latents_are() -> None:
    assert prior.divergence(made_match([7], [7])).item() == 0
    mean, log_variance = torch.full((2, 3), 2.0), torch.zeros(2, 3)
    assert losses.kl_from_normal(mean, log_variance).item() == pytest.approx(6)  # half of 4, thrice


def codes_of(model: DTGAN, columns: list[int]) -> Codes:
    """Shape maps with one column of cells each."""
    c = one_hot_places(columns).expand(-1, model.net.code_channels, -1, -1).clone()
    return Codes(c, torch.ones(len(columns), model.net.style_dim), torch.ones(len(columns), dtype=torch.long))


def test_places_are_drawn_apart_from_shapes() -> None:
    model = small_model()
    with torch.no_grad():
        model.generator.opacity.out.conv.weight.fill_(0.5)  # type: ignore[union-attr, operator]
        model.generator.opacity.first.weight.fill_(0.5)  # type: ignore[union-attr, operator]
    codes = codes_of(model, [4, 10])
    found = prior.match(model, Codes(codes.c / 4, codes.s, codes.defect), torch.Generator().manual_seed(0))
    left, right = found.target.codes.c
    assert torch.equal(left, right)  # both in the middle
    seen = model.mapping.observed
    assert seen is not None
    low, high = seen.low[1, 1].item(), seen.high[1, 1].item()
    assert low == pytest.approx((4.5 - 8) / 16, abs=0.02) and high == pytest.approx((10.5 - 8) / 16, abs=0.02)
    assert not seen.low[2].any() and not seen.high[2].any()  # of the other domain nothing was seen
    assert seen.strength.item() == pytest.approx(0.25, abs=1e-3)  # M's maps are as strong as these
    assert found.fresh.codes.c.abs().max().item() < 1


def test_the_example_is_tidied() -> None:
    model = small_model()
    with torch.no_grad():
        model.generator.opacity.out.conv.weight.fill_(0.5)  # type: ignore[union-attr, operator]
        model.generator.opacity.first.weight.fill_(0.5)  # type: ignore[union-attr, operator]
    codes = codes_of(model, [8])
    codes.c[:, :, 10:] *= -1  # where the decoder's answer is negative nothing is painted
    found = prior._tidied(model, codes).c
    assert found[:, :, prior.RIM : 10, 8].all()
    assert not found[:, :, 10 + 2 * prior.RIM :].any()
    assert not found[:, :, : prior.RIM].any()


def test_no_gradient_of_the_prior_reaches_e_or_g() -> None:
    model = small_model()
    encoded = model.encoder(torch.rand(4, 1, 32, 32), torch.tensor([1, 2, 1, 2]))
    found = prior.match(model, encoded, torch.Generator().manual_seed(0))
    loss = prior.cover(found) + prior.divergence(found) + prior.shape_loss(model, found, torch.Generator())
    loss.backward()
    for name in ("encoder", "generator"):
        assert all(p.grad is None for p in getattr(model, name).parameters())
    assert model.mapping.style.linear.weight.grad is not None


def test_critic_notices_a_batch_of_equals() -> None:
    h = torch.randn(6, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    assert batch_spread(h[:1].expand(6, -1, -1, -1)).item() < 1e-3
    assert batch_spread(h).item() > 0.5


def test_the_critic_is_no_part_of_decoded_recipes() -> None:
    assert small_model("tiny").critic is not None
    assert small_model("paper", code_channels=4).critic is None
