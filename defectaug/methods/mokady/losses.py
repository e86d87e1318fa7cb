"""Terms of the objective, pure functions; all means are over batch, places and channels."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def reconstruction(x: Tensor, decoded: Tensor) -> Tensor:
    """L_Recon1 and L_Recon2 of either domain: L1."""
    return (x - decoded).abs().mean()


def focused(x: Tensor, decoded: Tensor, base: Tensor, focus: float) -> Tensor:
    """L1 with a weight for each place, 1 on average: a share ``focus / (1 + focus)`` of it is laid out as the squared
    differences of x and ``base``. In an even mean a defect of a hundredth of the image is hardly noticed."""
    off = (x - base).detach().square().mean(1, keepdim=True)
    weight = (1 + focus * off / off.mean((1, 2, 3), keepdim=True).clamp(min=1e-8)) / (1 + focus)
    return ((x - decoded).abs() * weight).mean()


def cycle(code: Tensor, found: Tensor) -> Tensor:
    """L_Cycle of either code: mean squared difference."""
    return (code - found).square().mean()


def domain(normal: Tensor, defective: Tensor) -> Tensor:
    """What the domain classifier minimises, from its logits (N,) of common codes of both domains."""
    return F.softplus(-normal).mean() + F.softplus(defective).mean()


def confusion(normal: Tensor, defective: Tensor) -> Tensor:
    """L_DC, which E_c minimises: the common codes of both domains pass for those of normal images."""
    return F.softplus(-normal).mean() + F.softplus(-defective).mean()
