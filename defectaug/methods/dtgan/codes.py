"""Defect codes (c, s): what is handed from M or E to G."""

from __future__ import annotations

from collections.abc import Sequence
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


def normalised(style: Tensor) -> Tensor:
    """Divides each style (N, S) by its root mean square: a style has a direction but no size, so it can neither fade
    nor saturate (CHOICE)."""
    return style * torch.rsqrt(style.square().mean(1, keepdim=True) + 1e-6)


class SoftThreshold(torch.autograd.Function):
    """relu(tanh(response) - THRESHOLD), stretched to reach 1: under a weaker layer a ghost of a removed defect is left.
    Below the threshold only the wish for more passes back, scaled by LEAK: a plain relu never wakes a dead place, a
    leaky one lets the area penalty bury it ever deeper. Near 1 LEAK passes back at least: a young G that has covered
    everything finds the way back."""

    @staticmethod
    def forward(ctx: Any, response: Tensor) -> Tensor:
        squashed = torch.tanh(response)
        ctx.save_for_backward(squashed)
        return F.relu(squashed - THRESHOLD) / (1 - THRESHOLD)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (squashed,), (wish,) = ctx.saved_tensors, grads
        slope = (1 - squashed.square()).clamp(min=LEAK) / (1 - THRESHOLD)
        return torch.where(squashed > THRESHOLD, wish * slope, LEAK * wish.clamp(max=0))


def soft_threshold(response: Tensor) -> Tensor:
    """Response of any shape to [0, 1): exactly 0 unless it is clear."""
    return SoftThreshold.apply(response)


@dataclass(frozen=True)
class FeatureForm:
    """The paper's: features at the bottleneck, (N, channels, size, size) in (-1, 1)."""

    channels: int
    size: int

    def read(self, response: Tensor) -> Tensor:
        """Response to c."""
        return torch.tanh(response.float())


@dataclass(frozen=True)
class LayerForm:
    """The layered G's: c is the opacities of its layers themselves, (N, layers, S, S) in [0, 1).

    Not in the paper, whose decoders turn features into pixels. The anchor says that no defect is a zero map; here the
    same holds of every pixel, so that E learns shapes as a segmentation network does, and M has shapes alone to draw.
    """

    layers: int
    fold: int
    size: int

    @property
    def channels(self) -> int:
        return self.layers * self.fold**2

    def read(self, response: Tensor) -> Tensor:
        """Response (N, channels, size, size) to c."""
        return soft_threshold(blur3(F.pixel_shuffle(response, self.fold)).float())


CodeForm = FeatureForm | LayerForm


def code_form(net: NetworkConfig) -> CodeForm:
    """What c is in the form of G that the recipe names."""
    fine = net.image_size // net.fold
    if net.generator == "layered":
        return LayerForm(LAYERS, net.fold, fine)
    return FeatureForm(net.code_channels, fine // 2 ** (len(net.generator_widths) - 1))


@dataclass(frozen=True)
class Codes:
    """A batch of defects: shape map ``c`` (N, C, h, w) in its form, style ``s`` (N, S), class ``defect`` (N,)."""

    c: Tensor
    s: Tensor
    defect: Tensor

    def __len__(self) -> int:
        return len(self.defect)

    def __getitem__(self, rows: slice | Tensor) -> Codes:
        return Codes(self.c[rows], self.s[rows], self.defect[rows])

    def detach(self) -> Codes:
        """The same values, cut from the graph."""
        return Codes(self.c.detach(), self.s.detach(), self.defect)

    def with_style(self, other: Codes) -> Codes:
        """These shapes with the styles of ``other``."""
        return Codes(self.c, other.s, self.defect)

    @staticmethod
    def cat(parts: Sequence[Codes]) -> Codes:
        """Joins batches."""
        return Codes(*(torch.cat([getattr(p, name) for p in parts]) for name in ("c", "s", "defect")))
