"""One pure function an equation of the paper, and the few terms that it lacks. All means are over the batch."""

from __future__ import annotations

from itertools import combinations

import torch
import torch.nn.functional as F
from torch import Tensor

from defectaug.methods.dtgan.codes import Codes


def adversarial_d(real: Tensor, fake: Tensor, real_share: float = 1.0, fake_share: float = 1.0) -> Tensor:
    """Eq. (1) as D minimises it, from logits (N,) of the domains' own branches; the shares are those of a batch that
    this process holds."""
    return real_share * F.softplus(-real).mean() + fake_share * F.softplus(fake).mean()


def adversarial_g(fake: Tensor) -> Tensor:
    """Eq. (1) as G minimises it, in the non-saturating form of StarGAN v2."""
    return F.softplus(-fake).mean()


def r1(real: Tensor, x: Tensor) -> Tensor:
    """R1 penalty (Mescheder et al. 2018): half the squared gradient norm of D's logits (N,) at real images x."""
    (gradient,) = torch.autograd.grad(real.sum(), x, create_graph=True)
    return 0.5 * gradient.flatten(1).square().sum(1).mean()


def code_reconstruction(
    target: Codes, found: Codes, support: Tensor | None = None, styled: Tensor | None = None
) -> Tensor:
    """Eq. (2): L1 between given and re-encoded shape map, plus L1 between the styles.

    Args:
        support: (N, 1, h, w) weights of mean about 1; a defect covers a few per cent of the map, and an even mean
            hardly notices it.
        styled: (N,) weights of the rows' styles.
    """
    shape = (target.c - found.c).abs()
    if support is not None:
        shape = shape * support
    style = (target.s - found.s).abs().mean(1)
    return shape.mean() + (style if styled is None else style * styled).mean()


def split_consistency(cut: Tensor, encoded: Tensor, support: Tensor | None = None) -> Tensor:
    """Eq. (3), one term: the code cut away in G against E's."""
    difference = (cut - encoded).abs()
    return (difference if support is None else difference * support).mean()


def diversity(renders: list[Tensor]) -> Tensor:
    """Eq. (4): mean L1 over the pairs among the renders {c1, c2} x {s1, s2} of one source. It is maximised."""
    pairs = list(combinations(renders, 2))
    return torch.stack([(a - b).abs().mean() for a, b in pairs]).mean()


def weighted_l1(a: Tensor, b: Tensor, weight: Tensor | None = None) -> Tensor:
    """Eq. (5), and G(x, E(x)) = x: mean absolute difference of images, weighted by (N, 1, S, S) where given."""
    difference = (a - b).abs()
    return (difference if weight is None else difference * weight).mean()


def classification(logits: Tensor, label: Tensor) -> Tensor:
    """Eq. (6) and (7), one term: cross-entropy of (N, K) logits and (N,) classes."""
    return F.cross_entropy(logits, label)


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
