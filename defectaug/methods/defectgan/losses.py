"""Terms of the objective, pure functions; all means are over batch, places and channels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def adversarial_d(real: Tensor, fake: Tensor) -> Tensor:
    """What D minimises, from logits of patches (N, K)."""
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def adversarial_g(fake: Tensor) -> Tensor:
    """What G minimises, non-saturating."""
    return F.softplus(-fake).mean()


def classification(logits: Tensor, label: Tensor) -> Tensor:
    """Cross-entropy of (N, K) logits and (N,) classes."""
    return F.cross_entropy(logits, label)


def cycle(x: Tensor, back: Tensor) -> Tensor:
    """L1 between images and what the way there and back makes of them."""
    return (x - back).abs().mean()


def mask_cycle(there: Tensor, back: Tensor) -> Tensor:
    """Spatial distribution cycle: a defect is taken away where it was painted, and painted where it was taken away."""
    return (there - back).abs().mean()


def mask_area(there: Tensor, back: Tensor) -> Tensor:
    """Spatial distribution constraint: defects are small."""
    return there.abs().mean() + back.abs().mean()


def r1(real: Tensor, x: Tensor) -> Tensor:
    """R1 penalty (Mescheder et al. 2018): half the squared gradient norm of the mean logit (N, K) at real images x."""
    (gradient,) = torch.autograd.grad(real.mean(1).sum(), x, create_graph=True)
    return 0.5 * gradient.flatten(1).square().sum(1).mean()
