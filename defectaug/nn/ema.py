"""Exponential moving average of weights."""

from __future__ import annotations

import copy
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)


class Average(Generic[M]):
    """Keeps ``shadow``, a copy of a module whose weights trail the live ones.

    Args:
        live: the module that is trained.
    """

    def __init__(self, live: M) -> None:
        self.live = live
        self.shadow: M = copy.deepcopy(live).requires_grad_(False).eval()

    @torch.no_grad()
    def update(self, decay: float) -> None:
        """shadow = decay * shadow + (1 - decay) * live, in one pass over all weights."""
        shadow: list[Tensor] = list(self.shadow.parameters())
        live: list[Tensor] = list(self.live.parameters())
        torch._foreach_lerp_(shadow, live, 1 - decay)
        for kept, current in zip(self.shadow.buffers(), self.live.buffers(), strict=True):
            kept.copy_(current)
