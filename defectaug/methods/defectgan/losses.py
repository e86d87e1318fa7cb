"""Terms of the objective, pure functions; all means are over batch, places and channels, the batch's by weights (N,)
where these are given."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def adversarial_d(real: Tensor, fake: Tensor, weight: Tensor | None = None) -> Tensor:
    """What D minimises, from logits of patches (N, K)."""
    return mean(F.softplus(-real), weight) + mean(F.softplus(fake), weight)


def adversarial_g(fake: Tensor, weight: Tensor | None = None) -> Tensor:
    """What G minimises, non-saturating."""
    return mean(F.softplus(-fake), weight)


def classification(logits: Tensor, label: Tensor, weight: Tensor | None = None) -> Tensor:
    """Cross-entropy of (N, K) logits and (N,) classes."""
    return mean(F.cross_entropy(logits, label, reduction="none"), weight)


def cycle(x: Tensor, back: Tensor, weight: Tensor | None = None) -> Tensor:
    """L1 between images and what the way there and back makes of them."""
    return mean((x - back).abs(), weight)


def mask_cycle(there: Tensor, back: Tensor, weight: Tensor | None = None) -> Tensor:
    """Spatial distribution cycle: a defect is taken away where it was painted, and painted where it was taken away."""
    return mean((there - back).abs(), weight)


def mask_area(there: Tensor, back: Tensor, weight: Tensor | None = None) -> Tensor:
    """Spatial distribution constraint: defects are small."""
    return mean(there.abs(), weight) + mean(back.abs(), weight)


def mean(values: Tensor, weight: Tensor | None) -> Tensor:
    """Mean of (N, ...), its rows weighed by weights (N,) whose mean is 1."""
    return values.mean() if weight is None else (values.reshape(len(values), -1).mean(1) * weight).mean()


def r1(real: Tensor, x: Tensor) -> Tensor:
    """R1 penalty (Mescheder et al. 2018): half the squared gradient norm of the mean logit (N, K) at real images x."""
    (gradient,) = torch.autograd.grad(real.mean(1).sum(), x, create_graph=True)
    return 0.5 * gradient.flatten(1).square().sum(1).mean()
