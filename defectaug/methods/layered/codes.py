"""What c is in the layered form, the opacities of its layers, and how E ends in them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from defectaug.config.schema import NetworkConfig
from defectaug.nn.blocks import Detail, blur3
from defectaug.nn.branches import BranchedConv1x1

THRESHOLD = 0.1  # CHOICE: a weaker response is none at all, so that most pixels are exactly untouched
LAYERS = 2  # CHOICE: a scratch is a bright core and a dark burr, a pit has a rim


def soft_threshold(response: Tensor) -> Tensor:
    """Response of any shape to [0, 1): exactly 0 unless it is clear."""
    return F.relu(torch.tanh(response) - THRESHOLD) / (1 - THRESHOLD)


@dataclass(frozen=True)
class LayerForm:
    """c is the opacities of G's layers themselves, (N, layers, S, S) in [0, 1).

    Not in the paper, whose decoders turn features into pixels. The anchor is a zero map where there is no defect; here
    the same holds of every pixel.
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


class FineShape(nn.Module):
    """E's response of a shape map as fine as the image, from all of the trunk's features."""

    def __init__(self, net: NetworkConfig, form: LayerForm, domains: int) -> None:
        super().__init__()
        self.detail = Detail(net.encoder_widths)
        self.out = BranchedConv1x1(net.encoder_widths[0], form.channels, domains)

    def forward(self, levels: list[Tensor], defect: Tensor) -> Tensor:
        return self.out(self.detail(levels), defect)
