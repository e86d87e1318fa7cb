"""Terms of the layered form, and the paper's with weights around the defect. All means are over the batch."""

from __future__ import annotations

import torch
from torch import Tensor

from defectaug.methods.dtgan.codes import Codes


def code_reconstruction(target: Codes, found: Codes, weight: Tensor, styled: Tensor) -> Tensor:
    """Eq. (2): L1 between given and re-encoded shape map, plus L1 between the styles.

    Args:
        weight: (N, 1, S, S) of mean about 1; a defect covers a few per cent of the map, and an even mean hardly notices
            it.
        styled: (N,) weights of the rows' styles.
    """
    style = (target.s - found.s).abs().mean(1)
    return weighted_l1(target.c, found.c, weight) + (style * styled).mean()


def weighted_l1(a: Tensor, b: Tensor, weight: Tensor) -> Tensor:
    """Mean absolute difference of images or maps (N, C, H, W), weighted by (N, 1, H, W): Eqs. (3) and (5)."""
    return ((a - b).abs() * weight).mean()


def emphasis(area: Tensor, share: float = 0.5) -> Tensor:
    """Weights (N, 1, H, W) of mean about 1 that give ``share`` of the total to an area (N, 1, H, W) in [0, 1].

    An even mean over the image prices a displaced defect at its area: less than a shade of the background.
    """
    size = area.mean(dim=(2, 3), keepdim=True).clamp(min=0.002)
    return ((1 - share) + share * area / size).detach()


def contrast(clean: Tensor, *images: Tensor) -> Tensor:
    """By how much images (N, C, H, W) differ from the clean one, the largest, (N, 1, H, W), as a share of each image's
    greatest difference."""
    change = torch.stack([(image - clean).abs().mean(1, keepdim=True) for image in images]).amax(0)
    return (change / change.amax((2, 3), keepdim=True).clamp(min=0.1)).detach()


def mask_match(found: Tensor, truth: Tensor) -> Tensor:
    """Soft Dice loss plus L1, between opacities (N, 1, S, S); rows without any truth count by L1 alone."""
    overlap = 2 * (found * truth).sum((1, 2, 3))
    total = (found.square() + truth.square()).sum((1, 2, 3))
    dice = 1 - (overlap + 1e-3) / (total + 1e-3)
    there = (truth.amax((1, 2, 3)) > 0.1).to(dice.dtype)
    return (dice * there).mean() + (found - truth).abs().mean()
