"""The paper's equations, one pure function each, and the penalty that it adds to them. All means are over the batch."""

from __future__ import annotations

from itertools import combinations

import torch
import torch.nn.functional as F
from torch import Tensor

from defectaug.methods.dtgan.codes import Codes


def adversarial_d(real: Tensor, fake: Tensor) -> Tensor:
    """Eq. (1) as D minimises it, from logits (N,) and (M,) of the domains' own branches."""
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def adversarial_g(fake: Tensor) -> Tensor:
    """Eq. (1) as G minimises it, in the non-saturating form of StarGAN v2."""
    return F.softplus(-fake).mean()


def code_reconstruction(target: Codes, found: Codes) -> Tensor:
    """Eq. (2): L1 between given and re-encoded shape map, plus L1 between the styles."""
    return (target.c - found.c).abs().mean() + (target.s - found.s).abs().mean()


def split_consistency(cut: Tensor, encoded: Tensor) -> Tensor:
    """Eq. (3), one term: the code cut away in G, FG_G(x), against E's."""
    return (cut - encoded).abs().mean()


def diversity(renders: list[Tensor], counted: Tensor) -> Tensor:
    """Eq. (4): mean L1 over the pairs among the renders {c1, c2} x {s1, s2} of one source. It is maximised.

    Args:
        renders: four images (N, C, S, S) of each source.
        counted: (N,) booleans, the sources that the mean is over; 0 if there is none.
    """
    pairs = torch.stack([(a - b).abs().mean((1, 2, 3)) for a, b in combinations(renders, 2)]).mean(0)
    return (pairs * counted).sum() / counted.sum().clamp(min=1)


def reconstruction(x: Tensor, rebuilt: Tensor) -> Tensor:
    """Eq. (5): L1 between a source and what the way there and back makes of it. Also G(x, E(x)) = x."""
    return (x - rebuilt).abs().mean()


def hidden_reconstruction(x: Tensor, share: Tensor, rebuilt: Tensor) -> Tensor:
    """L1 between images (N, C, S, S) and what was rebuilt without seeing their defects, whose pixels, a ``share``
    (N, 1, S, S) of one each, weigh 31 times as much: a scratch is a hundredth of an image."""
    return ((x - rebuilt).abs() * (1 + 30 * share)).mean()


def silence(c: Tensor, there: Tensor) -> Tensor:
    """Mean size of shape maps (N, C, h, w) outside of masks (N, 1, h, w), as a share of each map's root mean square:
    maps are not asked to fade, which AdaIN would not even see."""
    size = (c.square().mean((1, 2, 3), keepdim=True) + 1e-8).sqrt()
    return (c.abs() / size * (1 - there)).mean()


def classification(logits: Tensor, label: Tensor) -> Tensor:
    """Eq. (6) and (7), one term: cross-entropy of (N, K) logits and (N,) classes."""
    return F.cross_entropy(logits, label)


def r1(real: Tensor, x: Tensor) -> Tensor:
    """R1 penalty (Mescheder et al. 2018): half the squared gradient norm of D's logits (N,) at real images x."""
    (gradient,) = torch.autograd.grad(real.sum(), x, create_graph=True)
    return 0.5 * gradient.flatten(1).square().sum(1).mean()
