"""A defect as a layer that a network lays over an image."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from defectaug.methods.base import Painted

THIN = -2.0  # bias of the mask's logits at the start: 0.12 everywhere


@dataclass(frozen=True)
class Layers:
    """``image`` (N, C, S, S), and the ``mask`` (N, 1, S, S) in [0, 1] of the layer that it holds."""

    image: Tensor
    mask: Tensor

    @staticmethod
    def over(base: Tensor, out: Tensor, allowed: Tensor | float = 1.0) -> Layers:
        """A network's outputs (N, C + 1, S, S), a foreground and a mask's logits, laid over images (N, C, S, S): the
        foreground where the mask is 1, the image where it is 0.

        Args:
            allowed: factor on the mask.
        """
        foreground, mask = torch.tanh(out[:, :-1]), torch.sigmoid(out[:, -1:]) * allowed
        return Layers(base * (1 - mask) + foreground * mask, mask)

    def painted(self, x: Tensor) -> Painted:
        """What the layer changes in images (N, C, S, S)."""
        return Painted(self.image, self.image - x, self.mask)
