"""Differentiable augmentation of what D sees (Zhao et al. 2020): real and generated images alike, so that D cannot
learn tens of defect images by heart."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def differentiable_augment(x: Tensor, generator: torch.Generator, shift: float = 0.125) -> Tensor:
    """Random mirror images, brightness, contrast and a shift of at most ``shift`` of the side, per image.

    Args:
        x: (N, C, S, S) in [-1, 1].
        generator: on the CPU.

    CHOICE: no cut-out: it would hide the defects; edges are mirrored when shifted, not filled with a constant.
    """
    count, size = len(x), x.shape[-1]
    draw = torch.rand(count, 4, generator=generator).to(x.device)
    x = _mirror(x, draw[:, 0] < 0.5, draw[:, 1] < 0.5)
    reach = int(size * shift)
    offsets = torch.randint(0, 2 * reach + 1, (count, 2), generator=generator).to(x.device)
    x = _shift(x, offsets, reach)
    brightness = (draw[:, 2] - 0.5)[:, None, None, None] * 0.4
    contrast = 0.75 + 0.5 * draw[:, 3][:, None, None, None]
    mean = x.mean(dim=(1, 2, 3), keepdim=True)
    return (x - mean) * contrast + mean + brightness


def _mirror(x: Tensor, sideways: Tensor, upside: Tensor) -> Tensor:
    x = torch.where(sideways[:, None, None, None], x.flip(3), x)
    return torch.where(upside[:, None, None, None], x.flip(2), x)


def _shift(x: Tensor, offsets: Tensor, reach: int) -> Tensor:
    size = x.shape[-1]
    padded = F.pad(x, (reach, reach, reach, reach), mode="reflect")
    rows = offsets[:, :1] + torch.arange(size, device=x.device)
    columns = offsets[:, 1:] + torch.arange(size, device=x.device)
    picked = padded.gather(2, rows[:, None, :, None].expand(-1, x.shape[1], -1, padded.shape[3]))
    return picked.gather(3, columns[:, None, None, :].expand(-1, x.shape[1], size, -1))
