"""Differentiable augmentation of what D sees (Zhao et al. 2020): real and generated images alike, so that D
cannot learn tens of defect images by heart."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SHIFT = 0.125  # of the side, at most


def differentiable_augment(x: Tensor, generator: torch.Generator) -> Tensor:
    """Random mirror images, a shift of at most SHIFT of the side, brightness and contrast, per image.

    Args:
        x: (N, C, S, S) in [-1, 1].
        generator: on the CPU.

    CHOICE: no cut-out: it would hide the defects.
    """
    x = mirror_and_shift(x, generator)
    draw = torch.rand(len(x), 2, generator=generator).to(x.device)[:, :, None, None, None]
    brightness, contrast = (draw[:, 0] - 0.5) * 0.4, 0.75 + 0.5 * draw[:, 1]
    mean = x.mean(dim=(1, 2, 3), keepdim=True)
    return (x - mean) * contrast + mean + brightness


def diff_augment(x: Tensor, generator: torch.Generator) -> Tensor:
    """The policies "color" and "translation" of DiffAugment (Zhao et al. 2020, section 3), per image: brightness,
    saturation and contrast, then a shift that zeros fill. Without "cutout", as :func:`differentiable_augment`.

    Args:
        x: (N, C, S, S) in [-1, 1].
        generator: on the CPU.
    """
    brightness, saturation, contrast = torch.rand(3, len(x), 1, 1, 1, generator=generator).to(x.device)
    reach = int(x.shape[-1] * SHIFT + 0.5)
    by = torch.randint(-reach, reach + 1, (len(x), 2), generator=generator).to(x.device)
    x = x + brightness - 0.5
    x = (x - x.mean(1, keepdim=True)) * (2 * saturation) + x.mean(1, keepdim=True)
    mean = x.mean(dim=(1, 2, 3), keepdim=True)
    return moved((x - mean) * (contrast + 0.5) + mean, by)


def mirror_and_shift(x: Tensor, generator: torch.Generator) -> Tensor:
    """Random mirror images both ways and shifts; reflections fill what they uncover."""
    reach = int(x.shape[-1] * SHIFT)
    coins = torch.rand(len(x), 2, generator=generator).to(x.device) < 0.5
    offsets = torch.randint(0, 2 * reach + 1, (len(x), 2), generator=generator).to(x.device)
    x = torch.where(coins[:, :1, None, None], x.flip(3), x)
    x = torch.where(coins[:, 1:, None, None], x.flip(2), x)
    return _window(F.pad(x, (reach, reach, reach, reach), mode="reflect"), offsets, x.shape[-1])


def moved(x: Tensor, by: Tensor) -> Tensor:
    """Every image of (N, C, S, S) moved by (N, 2) whole pixels down and to the right, half the side at most; zero
    comes in."""
    reach = x.shape[-1] // 2
    return _window(F.pad(x, (reach, reach, reach, reach)), reach - by.clamp(-reach, reach), x.shape[-1])


def _window(padded: Tensor, offsets: Tensor, size: int) -> Tensor:
    """A square of each of (N, C, P, P), its top left corner at (N, 2)."""
    rows = offsets[:, :1] + torch.arange(size, device=padded.device)
    columns = offsets[:, 1:] + torch.arange(size, device=padded.device)
    channels, width = padded.shape[1], padded.shape[3]
    picked = padded.gather(2, rows[:, None, :, None].expand(-1, channels, -1, width))
    return picked.gather(3, columns[:, None, None, :].expand(-1, channels, size, -1))
