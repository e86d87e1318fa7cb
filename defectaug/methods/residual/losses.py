"""Terms of the objective, pure functions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SURE = 1.0  # prior above which a place stands out from normal ones
QUIET = 0.5  # prior below which it does not
TOP = 0.002  # share of an image that is defect at least
ALARM = 0.2  # weight of the Dice term where there is no defect; all of it makes E miss faint ones


def segmentation(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy and soft Dice of logits and target masks (N, K, S, S)."""
    return 4 * F.binary_cross_entropy_with_logits(logits, target) + _dice(logits, target)


def nothing(logits: Tensor) -> Tensor:
    """Cross-entropy of logits (N, K, S, S) where no pixel is a defect, and a part of the soft Dice term: among an
    image's thousands of pixels the mean of the first hardly hears the few that are taken for one."""
    return 4 * F.softplus(logits).mean() + ALARM * _dice(logits, torch.zeros_like(logits))


def _dice(logits: Tensor, target: Tensor) -> Tensor:
    """One less the soft Dice coefficient of logits and target masks (N, K, S, S), mean of the images."""
    p = torch.sigmoid(logits)
    overlap = 2 * (p * target).sum((1, 2, 3)) + 1
    return (1 - overlap / (p.square().sum((1, 2, 3)) + target.square().sum((1, 2, 3)) + 1)).mean()


def weak_segmentation(logits: Tensor, prior: Tensor) -> Tensor:
    """What the label alone says of a defective image's logits (N, 1, S, S): where the prior is quiet there is none, and
    the clearest places, by logits and prior together, are defect."""
    quiet = (prior < QUIET).to(logits.dtype)
    absent = (F.softplus(logits) * quiet).sum() / quiet.sum().clamp(min=1)
    clear = prior.clamp(max=3) / 2 + 2 * torch.sigmoid(logits.detach())
    top = clear.flatten(1).topk(max(1, int(TOP * clear[0].numel())), dim=1).indices
    return absent + 0.3 * F.softplus(-logits.flatten(1).gather(1, top)).mean()


def weighted_l1(a: Tensor, b: Tensor, weight: Tensor) -> Tensor:
    """Mean absolute difference of images (N, C, S, S) under weights (N, 1, S, S), over the weights' sum."""
    return ((a - b).abs().mean(1, keepdim=True) * weight).sum() / weight.sum().clamp(min=1)
