"""The hinge loss and orthogonal regularisation. All means are over the batch."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor


def hinge_d(real: Tensor, fake: Tensor) -> Tensor:
    """What D minimises (Lim and Ye 2017), from logits (N,) and (M,)."""
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


def hinge_g(fake: Tensor) -> Tensor:
    """What G minimises."""
    return -fake.mean()


def orthogonal(weights: Iterable[Tensor]) -> Tensor:
    """Eq. (3): the squared products of different filters of each weight (filters, ...); their norms are left free."""
    terms = []
    for weight in weights:
        flat = weight.flatten(1)
        # W W^T and W^T W have one Frobenius norm; of a layer with thousands of filters only the second is small.
        gram = flat.T @ flat if len(flat) > flat.shape[1] else flat @ flat.T
        terms.append(gram.square().sum() - flat.square().sum(1).square().sum())
    return torch.stack(terms).sum()
