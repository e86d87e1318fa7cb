"""The losses at inputs whose value is known in closed form."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from defectaug.methods.dtgan import losses
from defectaug.methods.dtgan.codes import Codes
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


def test_split_consistency() -> None:
    cut, encoded = torch.full((2, 3, 4, 4), 0.3), torch.full((2, 3, 4, 4), -0.1)
    assert losses.split_consistency(cut, encoded).item() == pytest.approx(0.4)


def test_diversity_is_the_mean_over_the_six_pairs() -> None:
    renders = [torch.full((2, 1, 4, 4), level) for level in (0.0, 1.0, 2.0, 4.0)]
    assert losses.diversity(renders, torch.tensor([True, True])).item() == pytest.approx((1 + 2 + 4 + 1 + 3 + 2) / 6)


def test_diversity_is_of_the_counted_sources_alone() -> None:
    renders = [torch.tensor([level, 9 * level]).view(2, 1, 1, 1) for level in (0.0, 1.0, 2.0, 4.0)]
    for counted, expected in (([True, False], 13 / 6), ([False, True], 9 * 13 / 6), ([False, False], 0)):
        assert losses.diversity(renders, torch.tensor(counted)).item() == pytest.approx(expected)


def test_reconstruction() -> None:
    a, b = torch.zeros(2, 3, 4, 4), torch.full((2, 3, 4, 4), 0.5)
    assert losses.reconstruction(a, b).item() == pytest.approx(0.5)


def test_classification_of_even_logits() -> None:
    assert losses.classification(torch.zeros(4, 3), torch.tensor([0, 1, 2, 0])).item() == pytest.approx(math.log(3))


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
