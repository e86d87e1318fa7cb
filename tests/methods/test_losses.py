"""The losses at inputs whose value is known in closed form."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from defectaug.methods.dtgan import losses
from defectaug.methods.dtgan.codes import Codes
from defectaug.methods.layered import losses as layered
from defectaug.nn.kernel_distance import kernel_distance


def codes(c: float, s: float) -> Codes:
    return Codes(torch.full((2, 3, 4, 4), c), torch.full((2, 5), s), torch.tensor([1, 2]))


def test_adversarial_at_zero_logits() -> None:
    zero = torch.zeros(5)
    assert losses.adversarial_d(zero, zero).item() == pytest.approx(2 * math.log(2))
    assert losses.adversarial_g(zero).item() == pytest.approx(math.log(2))


def test_adversarial_falls_as_its_player_wins() -> None:
    sure = torch.full((5,), 20.0)
    assert losses.adversarial_d(sure, -sure).item() == pytest.approx(0, abs=1e-6)
    assert losses.adversarial_g(sure).item() == pytest.approx(0, abs=1e-6)
    assert losses.adversarial_d(-sure, sure).item() == pytest.approx(40)


def test_r1_of_a_linear_discriminator() -> None:
    weight = torch.randn(1, 8, 8, generator=torch.Generator().manual_seed(0), requires_grad=True)
    x = torch.randn(4, 1, 8, 8, requires_grad=True)
    penalty = losses.r1((x * weight).sum((1, 2, 3)), x)
    assert penalty.item() == pytest.approx(0.5 * weight.square().sum().item(), rel=1e-5)
    penalty.backward()
    assert weight.grad is not None and torch.allclose(weight.grad, weight, atol=1e-5)


def test_code_reconstruction_adds_shape_and_style() -> None:
    assert losses.code_reconstruction(codes(0.5, 0), codes(0, 0.25)).item() == pytest.approx(0.75)
    left = torch.zeros(2, 1, 4, 4)
    left[..., :2] = 2
    for weight, styled, expected in ((left, [1, 1], 0.75), (0 * left, [1, 1], 0.25), (left, [1, 0], 0.625)):
        found = layered.code_reconstruction(codes(0.5, 0), codes(0, 0.25), weight, torch.tensor(styled))
        assert found.item() == pytest.approx(expected)


def test_split_consistency() -> None:
    cut, encoded = torch.full((2, 3, 4, 4), 0.3), torch.full((2, 3, 4, 4), -0.1)
    assert losses.split_consistency(cut, encoded).item() == pytest.approx(0.4)
    assert layered.weighted_l1(cut, encoded, torch.full((2, 1, 4, 4), 3.0)).item() == pytest.approx(1.2)


def test_diversity_is_the_mean_over_the_six_pairs() -> None:
    renders = [torch.full((2, 1, 4, 4), level) for level in (0.0, 1.0, 2.0, 4.0)]
    assert losses.diversity(renders, torch.tensor([True, True])).item() == pytest.approx((1 + 2 + 4 + 1 + 3 + 2) / 6)


def test_diversity_is_of_the_counted_sources_alone() -> None:
    renders = [torch.tensor([level, 9 * level]).view(2, 1, 1, 1) for level in (0.0, 1.0, 2.0, 4.0)]
    for counted, expected in (([True, False], 13 / 6), ([False, True], 9 * 13 / 6), ([False, False], 0)):
        assert losses.diversity(renders, torch.tensor(counted)).item() == pytest.approx(expected)


def test_reconstruction_even_and_weighted() -> None:
    a, b = torch.zeros(2, 3, 4, 4), torch.full((2, 3, 4, 4), 0.5)
    weight = torch.zeros(2, 1, 4, 4)
    weight[:, :, :1] = 1
    assert losses.reconstruction(a, b).item() == pytest.approx(0.5)
    assert layered.weighted_l1(a, b, weight).item() == pytest.approx(0.125)


def test_classification_of_even_logits() -> None:
    assert losses.classification(torch.zeros(4, 3), torch.tensor([0, 1, 2, 0])).item() == pytest.approx(math.log(3))


def square(edge: int, level: float = 1.0) -> Tensor:
    area = torch.zeros(1, 1, 32, 32)
    area[..., :edge, :edge] = level
    return area


@pytest.mark.parametrize(("edge", "level"), [(2, 1.0), (6, 0.4), (32, 0.7)])
def test_emphasis_has_mean_1_and_gives_the_area_its_share(edge: int, level: float) -> None:
    area = square(edge, level).requires_grad_(True)
    weight = layered.emphasis(area, share=0.5)
    assert weight.mean().item() == pytest.approx(1, rel=1e-5)
    # Half of the total to the area; the other half is even, so that the area has its part of it too.
    assert weight[area > 0].sum().item() / 32**2 == pytest.approx(0.5 + 0.5 * edge**2 / 32**2, rel=1e-5)
    assert not weight.requires_grad


def test_emphasis_of_nothing_is_even() -> None:
    assert layered.emphasis(torch.zeros(2, 1, 8, 8)).tolist() == torch.full((2, 1, 8, 8), 0.5).tolist()


def test_contrast_is_the_share_of_the_greatest_change() -> None:
    clean = torch.zeros(2, 1, 4, 4)
    image, other = clean.clone(), clean.clone()
    image[0, 0, 1, 1], other[0, 0, 2, 2], image[1, 0, 0, 0] = 0.8, -0.4, 0.05
    found = layered.contrast(clean, image, other)
    assert found[0, 0, 1, 1].item() == pytest.approx(1) and found[0, 0, 2, 2].item() == pytest.approx(0.5)
    assert found[1, 0, 0, 0].item() == pytest.approx(0.5)  # of a tenth at least: noise is no defect
    assert found.count_nonzero() == 3


def test_mask_match() -> None:
    truth, other = square(4), square(32) - square(28)
    assert layered.mask_match(truth, truth).item() == pytest.approx(0, abs=1e-6)
    apart = (truth + other).mean().item()
    assert layered.mask_match(other, truth).item() == pytest.approx(1 + apart, abs=1e-4)
    # Without truth there is nothing to overlap: L1 alone.
    assert layered.mask_match(truth, torch.zeros_like(truth)).item() == pytest.approx(truth.mean().item())


def test_kernel_distance_against_loops() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(5, 3, 4, 4, generator=generator), torch.randn(4, 3, 4, 4, generator=generator) + 0.5
    x, y = (torch.cat([h.amax((2, 3)), h.mean((2, 3))], 1) for h in (a, b))
    scale = y.std(0, correction=0)
    x, y = x / scale, y / scale

    def kernel(p: Tensor, q: Tensor) -> float:
        return (float(p @ q) / 6 + 1) ** 3

    def within(rows: Tensor) -> float:
        pairs = [(i, j) for i in range(len(rows)) for j in range(len(rows)) if i != j]
        return sum(kernel(rows[i], rows[j]) for i, j in pairs) / len(pairs)

    across = sum(kernel(p, q) for p in x for q in y) / (len(x) * len(y))
    assert kernel_distance(a, b).item() == pytest.approx(within(x) + within(y) - 2 * across, rel=1e-3)


def test_kernel_distance_tells_populations_apart() -> None:
    generator = torch.Generator().manual_seed(1)
    a, b = (torch.randn(64, 8, 4, 4, generator=generator) for _ in range(2))
    assert abs(kernel_distance(a, b).item()) < 0.1 * kernel_distance(a + 1, b).item()
