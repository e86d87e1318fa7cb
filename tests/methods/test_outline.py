"""Outlines: coarse masks become what looks like the defect."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from defectaug.methods.outline import outlined

SIZE = 64


def surface(channels: int = 1, light: float = 0.0) -> Tensor:
    """A grained surface, (1, C, SIZE, SIZE), which gets lighter to the right."""
    grain = 0.05 * torch.randn(1, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    return (grain + torch.linspace(-light, light, SIZE)).expand(1, channels, SIZE, SIZE).clone()


def box(top: int, bottom: int, left: int, right: int) -> Tensor:
    mask = torch.zeros(1, 1, SIZE, SIZE)
    mask[..., top:bottom, left:right] = 1
    return mask


def overlap(a: Tensor, b: Tensor) -> float:
    return float((a * b).sum() / torch.maximum(a, b).sum())


@pytest.mark.parametrize("channels", [1, 3])
def test_a_thin_line_in_a_wide_mask_is_what_is_left(channels: int) -> None:
    x, line, wide = surface(channels), box(30, 33, 18, 46), box(25, 38, 15, 49)
    x = torch.where(line > 0, x - 0.6, x)
    found = outlined(x, wide, 0.3 * wide + 0.25 * box(28, 35, 17, 47))  # E is sure of more than the line
    assert overlap(found, line) > 0.9 > 3 * overlap(wide, line)


def test_colours_of_one_brightness_are_told_apart() -> None:
    x, spot, wide = surface(3), box(20, 32, 20, 32), box(16, 36, 16, 36)
    x[:, 0], x[:, 1] = x[:, 0] + 0.3 * spot[0], x[:, 1] - 0.3 * spot[0]
    assert overlap(outlined(x, wide, 0.3 * wide + 0.25 * box(18, 34, 18, 34)), spot) > 0.9


@pytest.mark.parametrize("light", [0.0, 0.3, 0.6])
def test_a_gradient_of_light_is_no_defect(light: float) -> None:
    """Without evening out three to four times as much is found at 0.3 and 0.6."""
    x, spot, wide = surface(light=light), box(28, 36, 28, 36), box(24, 40, 24, 40)
    assert overlap(outlined(x - 0.35 * spot, wide, 0.3 * wide + 0.4 * spot), spot) > 0.9


def test_a_pixel_that_the_coarse_mask_misses_is_found_and_more_is_not() -> None:
    spot = box(20, 34, 20, 34)
    x = torch.where(spot > 0, surface() - 0.6, surface())
    found = outlined(x, box(21, 33, 21, 33), 0.9 * box(21, 33, 21, 33))
    assert overlap(found, spot) > 0.9
    found = outlined(x, box(23, 31, 23, 31), 0.9 * box(23, 31, 23, 31))
    assert 60 < found.sum() <= 100  # a pixel around eight by eight


def test_parts_that_hold_nothing_sure_are_left_out_and_narrow_gaps_closed() -> None:
    spots = [box(20, 26, 20, 26), box(20, 26, 28, 34), box(20, 26, 44, 50)]
    both = torch.maximum(*spots[:2])
    x = torch.where(torch.maximum(both, spots[2]) > 0, surface() - 0.6, surface())
    probability = 0.9 * both + 0.2 * spots[2]
    found = outlined(x, torch.maximum(both, spots[2]), probability)
    assert overlap(found, box(20, 26, 20, 34)) > 0.9 and not (found * spots[2]).any()


@pytest.mark.parametrize("mask", [torch.zeros(1, 1, SIZE, SIZE), torch.ones(1, 1, SIZE, SIZE), box(3, 5, 3, 5)])
def test_what_cannot_be_compared_stays_as_it_is(mask: Tensor) -> None:
    assert torch.equal(outlined(surface(), mask, 0.9 * mask), mask)


def test_every_image_has_its_own_outline() -> None:
    x, wide = surface(), box(20, 40, 20, 40)
    dark, bright = box(24, 36, 24, 28), box(24, 28, 24, 36)
    images = torch.cat([x - 0.6 * dark, x + 0.6 * bright])
    two = outlined(images, wide.repeat(2, 1, 1, 1), 0.8 * wide.repeat(2, 1, 1, 1))
    ones = [outlined(image[None], wide, 0.8 * wide) for image in images]
    assert torch.equal(two, torch.cat(ones)) and two.dtype == wide.dtype
    assert np.isfinite(two.numpy()).all()
