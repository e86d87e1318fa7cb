"""Encoders of what images have in common and of the defect alone, the decoder in two stages, and the domain classifier.

Notation of the paper: domain A is the normal images, B the defective ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from defectaug.config.schema import NetworkConfig
from defectaug.methods.layers import THIN, Layers
from defectaug.nn.branches import BranchedConv1x1

GROUPS = 4  # of normalisation, a statistic of single images


def halving(widths: Sequence[int]) -> nn.Sequential:
    """Strided convolutions from widths[0] channels on, each with normalisation and leaky ReLU."""
    layers: list[nn.Module] = []
    for a, b in pairwise(widths):
        layers += [nn.Conv2d(a, b, 4, 2, 1), nn.GroupNorm(GROUPS, b), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers)


def doubled(c_in: int, c_out: int) -> nn.ConvTranspose2d:
    """Transposed convolution to twice the size that starts as bilinear interpolation of mixed channels: random kernels
    start as a lattice, which a mask still shows after hundreds of steps."""
    conv = nn.ConvTranspose2d(c_in, c_out, 4, 2, 1)
    side = torch.tensor([0.25, 0.75, 0.75, 0.25])
    mixing = torch.randn(c_in, c_out) / math.sqrt(c_in)
    with torch.no_grad():
        conv.weight.copy_(mixing[:, :, None, None] * torch.outer(side, side))
    return conv


def doubling(widths: Sequence[int], channels: int) -> nn.Sequential:
    """Transposed convolutions back to an image of so many channels."""
    layers: list[nn.Module] = []
    for a, b in pairwise(widths):
        layers += [doubled(a, b), nn.GroupNorm(GROUPS, b), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, doubled(widths[-1], channels))


class Encoders(nn.Module):
    """E_c and E_s, whose code has a head for each defect class.

    Args:
        net: dimensions; ``code_channels`` are those of the separate code.
        classes: number of defect classes, the normal one included.
    """

    def __init__(self, net: NetworkConfig, classes: int) -> None:
        super().__init__()
        widths = net.encoder_widths
        self.common_trunk = halving([net.channels, *widths])
        self.separate_trunk = halving([net.channels, *widths])
        self.heads = BranchedConv1x1(widths[-1], net.code_channels, classes - 1)

    def common(self, x: Tensor) -> Tensor:
        """E_c: images (N, C, S, S) to codes (N, widths[-1], h, h)."""
        code: Tensor = self.common_trunk(x)
        return code

    def separate(self, x: Tensor, label: Tensor) -> Tensor:
        """E_s: images and their defects' classes (N,), at least 1, to codes (N, code_channels, h, h)."""
        return torch.tanh(self.heads(self.separate_trunk(x), label - 1))


class Decoders(nn.Module):
    """D_A decodes a normal image from the common code; D_B a mask and a foreground from both, which are laid over an
    image."""

    def __init__(self, net: NetworkConfig) -> None:
        super().__init__()
        self.code_channels = net.code_channels
        widths = [net.encoder_widths[-1] + net.code_channels, *net.generator_widths[::-1][1:]]
        self.normal_decoder = doubling(widths, net.channels)
        self.defect_decoder = doubling(widths, net.channels + 1)
        out = self.defect_decoder[-1]
        assert isinstance(out, nn.ConvTranspose2d) and out.bias is not None
        nn.init.constant_(out.bias[-1:], THIN)

    def absent(self, common: Tensor) -> Tensor:
        """The separate code of no defect: zeros."""
        return common.new_zeros(len(common), self.code_channels, *common.shape[2:])

    def normal(self, common: Tensor) -> Tensor:
        """D_A: common codes to images (N, C, S, S)."""
        return torch.tanh(self.normal_decoder(torch.cat([common, self.absent(common)], dim=1)).float())

    def defective(self, common: Tensor, separate: Tensor, base: Tensor) -> Layers:
        """D_B: the defects of separate codes, in the surroundings of common ones, over images ``base``."""
        return Layers.over(base, self.defect_decoder(torch.cat([common, separate], dim=1)).float())


class DomainClassifier(nn.Module):
    """Logits (N,) that a common code is of a normal image."""

    defect = None  # it names no class

    def __init__(self, net: NetworkConfig) -> None:
        super().__init__()
        side = net.image_size >> len(net.encoder_widths)
        self.trunk = nn.Sequential(
            nn.Flatten(), nn.Linear(net.encoder_widths[-1] * side**2, net.mapping_width), nn.LeakyReLU(0.2)
        )
        self.out = nn.Linear(net.mapping_width, 1)

    def forward(self, common: Tensor) -> Tensor:
        logits: Tensor = self.out(self.trunk(common))
        return logits[:, 0].float()
