"""What c is in the layered form: the opacities of its layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from defectaug.config.schema import NetworkConfig
from defectaug.nn.blocks import blur3

THRESHOLD = 0.1  # CHOICE: a weaker response is none at all, so that most pixels are exactly untouched
LEAK = 0.1  # CHOICE: see SoftThreshold
LAYERS = 2  # CHOICE: a scratch is a bright core and a dark burr, a pit has a rim


class SoftThreshold(torch.autograd.Function):
    """relu(tanh(response) - THRESHOLD), stretched to reach 1: under a weaker layer a ghost of a removed defect is left.
    Below the threshold only gradients that ask for more pass back, scaled by LEAK: a plain relu never wakes a dead
    place, a leaky one lets the area penalty bury it ever deeper. Near 1 LEAK passes back at least: a young G that has
    covered everything finds the way back."""

    @staticmethod
    def forward(ctx: Any, response: Tensor) -> Tensor:
        squashed = torch.tanh(response)
        ctx.save_for_backward(squashed)
        return F.relu(squashed - THRESHOLD) / (1 - THRESHOLD)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (squashed,), (grad,) = ctx.saved_tensors, grads
        slope = (1 - squashed.square()).clamp(min=LEAK) / (1 - THRESHOLD)
        return torch.where(squashed > THRESHOLD, grad * slope, LEAK * grad.clamp(max=0))


def soft_threshold(response: Tensor) -> Tensor:
    """Response of any shape to [0, 1): exactly 0 unless it is clear."""
    return SoftThreshold.apply(response)


@dataclass(frozen=True)
class LayerForm:
    """c is the opacities of G's layers themselves, (N, layers, S, S) in [0, 1).

    Not in the paper, whose decoders turn features into pixels. The anchor is a zero map where there is no defect; here
    the same holds of every pixel, so that E learns shapes as a segmentation network does, and M has shapes alone to
    draw.
    """

    layers: int
    fold: int
    size: int

    @property
    def channels(self) -> int:
        return self.layers * self.fold**2

    def activate(self, response: Tensor) -> Tensor:
        """Response (N, channels, size, size) to c."""
        return soft_threshold(blur3(F.pixel_shuffle(response, self.fold)).float())


def layer_form(net: NetworkConfig) -> LayerForm:
    """Opacities as large as the image."""
    return LayerForm(LAYERS, net.fold, net.image_size // net.fold)


def union(opacities: Tensor) -> Tensor:
    """Opacity (N, 1, S, S) of layers (N, L, S, S) that lie on each other."""
    return 1 - (1 - opacities).prod(1, keepdim=True)
