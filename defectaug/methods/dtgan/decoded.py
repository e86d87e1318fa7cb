"""The paper's G and its ablations: the whole image is decoded from a bottleneck."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from defectaug.config.schema import NetworkConfig
from defectaug.methods.dtgan.codes import Codes
from defectaug.methods.dtgan.generator import Background, Generator, Rendered
from defectaug.nn.blocks import ResBlock, StyledResBlock, Trunk, resample


def small_start(conv: nn.Conv2d) -> nn.Conv2d:
    """Small initial weights, so that tanh starts in its linear part."""
    nn.init.normal_(conv.weight, std=0.02)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv


class PlainDecoder(nn.Module):
    """Background decoder: residual blocks, doubling once per level, no style."""

    def __init__(self, c_in: int, net: NetworkConfig) -> None:
        super().__init__()
        widths = net.generator_widths[::-1]
        self.blocks = nn.ModuleList([ResBlock(c_in, widths[0], norm=True)])
        self.blocks.extend(ResBlock(a, b, "up", norm=True) for a, b in pairwise(widths))

    def forward(self, h: Tensor) -> Tensor:
        for block in self.blocks:
            h = block(h)
        return h


class StyleDecoder(nn.Module):
    """Decoder modulated by the style through AdaIN in every block."""

    def __init__(self, c_in: int, net: NetworkConfig) -> None:
        super().__init__()
        widths = net.generator_widths[::-1]
        self.blocks = nn.ModuleList([StyledResBlock(c_in, widths[0], net.style_dim)])
        self.blocks.extend(StyledResBlock(a, b, net.style_dim, "up") for a, b in pairwise(widths))

    def forward(self, h: Tensor, s: Tensor) -> Tensor:
        for block in self.blocks:
            h = block(h, s)
        return h


class DecodedGenerator(Generator):
    """Encoder, depth-wise split at the bottleneck, and one of three ways to decode.

    ``separate``: c and background are decoded apart, only c with the style, then joined by a 1x1 convolution
    (section 3.1). ``joint``: both through one styled decoder. ``styled``: no split, the style alone (StarGAN
    v2).
    """

    def __init__(self, net: NetworkConfig) -> None:
        super().__init__()
        self.kind = net.generator
        self.splits = self.kind != "styled"
        self.fold = net.fold
        bottleneck = net.generator_widths[-1]
        kept = bottleneck - net.code_channels if self.splits else bottleneck
        self.parts = (kept, bottleneck - kept)
        self.trunk = Trunk(
            net.channels, net.generator_widths, fold=net.fold, blocks=net.generator_blocks, norm=True
        )
        out = net.generator_widths[0]
        if self.kind == "separate":
            self.back = PlainDecoder(kept, net)
            self.front = StyleDecoder(net.code_channels, net)
            self.join = nn.Conv2d(2 * out, out, 1)
        else:
            self.front = StyleDecoder(bottleneck, net)
        self.image = small_start(nn.Conv2d(out, net.channels, 1))

    def background(self, x: Tensor) -> Background:
        features, code = self.trunk(x).split(self.parts, dim=1)
        if self.kind == "separate":
            return Background(x, self.back(features), code)
        return Background(x, features, code)

    def render(self, background: Background, codes: Codes) -> Rendered:
        if self.kind == "separate":
            h = self.join(torch.cat([background.features, self.front(codes.c, codes.s)], dim=1))
        elif self.kind == "joint":
            h = self.front(torch.cat([background.features, codes.c], dim=1), codes.s)
        else:
            h = self.front(background.features, codes.s)
        for _ in range(self.fold // 2):
            h = resample(h, "up")
        return Rendered(torch.tanh(self.image(h).float()))
