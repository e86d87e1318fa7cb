"""Wishes for place, strength and size, by changing what a model has painted."""

from __future__ import annotations

import pytest
import torch

from defectaug.methods.base import Painted
from defectaug.methods.placement import Placement, adjusted


def square(top: int, left: int, side: int, value: float = 0.2, size: int = 64) -> Painted:
    opacity = torch.zeros(1, 1, size, size)
    opacity[..., top : top + side, left : left + side] = 1
    delta = value * opacity.expand(-1, 3, -1, -1)
    return Painted(delta - 0.5, delta, opacity)


def wish(region: torch.Tensor | None = None, strength: float = 1, size: float = 1) -> Placement:
    region = torch.ones(1, 1, 64, 64) if region is None else region
    return Placement(region, torch.tensor([strength]), torch.tensor([size]))


def test_strength_is_a_factor_on_the_change() -> None:
    painted = adjusted(square(20, 20, 8), wish(strength=2.0))
    assert float(painted.delta.max()) == pytest.approx(0.4)
    assert torch.allclose(painted.image, painted.delta - 0.5)
    assert wish().is_free and not wish(strength=2.0).is_free


@pytest.mark.parametrize("size", [0.5, 2.0])
def test_size_is_a_factor_on_the_sides_about_the_middle(size: float) -> None:
    painted = adjusted(square(20, 28, 12), wish(size=size))
    assert float(painted.opacity.sum()) == pytest.approx(12 * 12 * size**2, rel=0.05)
    rows, columns = (painted.opacity[0, 0] > 0.5).nonzero().float().mean(0)
    assert (float(rows), float(columns)) == pytest.approx((25.5, 33.5), abs=0.6)


def test_what_is_enlarged_at_the_border_stays_in_the_image() -> None:
    painted = adjusted(square(0, 52, 12), wish(size=2.0))
    assert float(painted.opacity.sum()) == pytest.approx(24 * 24, rel=0.08)


def test_nothing_changes_outside_the_region() -> None:
    region = torch.zeros(1, 1, 64, 64)
    region[..., :24] = 1
    painted = adjusted(square(20, 20, 8), wish(region, strength=3.0, size=1.5))
    assert float((painted.delta * (1 - region)).abs().max()) == 0
    assert float(painted.delta[..., :24].max()) > 0.5
