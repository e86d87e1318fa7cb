"""G: the whole image is decoded from a bottleneck (section 3.1), and the ablations of Figure 3.

A source is encoded once (:meth:`Generator.background`); any number of defects is then painted on it
(:meth:`Generator.render`), so that several renders of one source share the work.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from defectaug.config.schema import NetworkConfig
from defectaug.methods.dtgan.codes import Codes
from defectaug.nn.blocks import ResBlock, StyledResBlock, Trunk, unfold_evenly


@dataclass(frozen=True)
class Background:
    """The depth-wise split of G's bottleneck: ``features`` (N, B, h, w) of the background, and ``code``, the
    defect part that is cut away, FG_G(x), in the form of c."""

    features: Tensor
    code: Tensor

    def __getitem__(self, rows: slice | Tensor) -> Background:
        return Background(self.features[rows], self.code[rows])


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


class Generator(nn.Module):
    """Base of the paper's G and its ablations: the way to the bottleneck, and from decoded features to pixels.

    Args:
        net: dimensions; the depth-wise split cuts ``code_channels`` of the bottleneck away as FG_G(x).

    Attributes:
        splits: whether defect and background are apart in it; if not, the code decides on all of the image.
    """

    splits = True

    def __init__(self, net: NetworkConfig) -> None:
        super().__init__()
        self.fold = net.fold
        cut = net.code_channels if self.splits else 0
        self.parts = (net.generator_widths[-1] - cut, cut)
        self.trunk = Trunk(
            net.channels, net.generator_widths, fold=net.fold, blocks=net.generator_blocks, norm=True
        )
        self._make_decoder(net)
        # Each place gives all the pixels that were folded into it: one value for all of them would paint no thin line.
        self.image = small_start(nn.Conv2d(net.generator_widths[0], net.channels * net.fold**2, 1))
        unfold_evenly(self.image.weight, net.fold)

    def _make_decoder(self, net: NetworkConfig) -> None:
        raise NotImplementedError

    def decode(self, features: Tensor, codes: Codes) -> Tensor:
        """Background features and codes to features (N, generator_widths[0], S / fold, S / fold)."""
        raise NotImplementedError

    def background(self, x: Tensor) -> Background:
        """Encodes the source (N, C, S, S) and splits its bottleneck."""
        return Background(*self.trunk(x).split(self.parts, dim=1))

    def render(self, background: Background, codes: Codes) -> Tensor:
        """Images (N, C, S, S) in [-1, 1] with the defects painted."""
        h = self.image(self.decode(background.features, codes))
        return torch.tanh(F.pixel_shuffle(h, self.fold).float())

    def forward(self, x: Tensor, codes: Codes) -> Tensor:
        """G(x, c, s)."""
        return self.render(self.background(x), codes)


class SeparateGenerator(Generator):
    """The paper's (Figure 3 d, e): c and background are decoded apart, only c with the style, then joined by a 1x1
    convolution."""

    def _make_decoder(self, net: NetworkConfig) -> None:
        out = net.generator_widths[0]
        self.back = PlainDecoder(self.parts[0], net)
        self.front = StyleDecoder(net.code_channels, net)
        self.join = nn.Conv2d(2 * out, out, 1)

    def background(self, x: Tensor) -> Background:
        split = super().background(x)
        return Background(self.back(split.features), split.code)

    def decode(self, features: Tensor, codes: Codes) -> Tensor:
        return self.join(torch.cat([features, self.front(codes.c, codes.s)], dim=1))


class JointGenerator(Generator):
    """Figure 3 b, c: both through one styled decoder."""

    def _make_decoder(self, net: NetworkConfig) -> None:
        self.front = StyleDecoder(net.generator_widths[-1], net)

    def decode(self, features: Tensor, codes: Codes) -> Tensor:
        return self.front(torch.cat([features, codes.c], dim=1), codes.s)


class StyledGenerator(JointGenerator):
    """Figure 3 a, StarGAN v2: no split, the style alone."""

    splits = False

    def decode(self, features: Tensor, codes: Codes) -> Tensor:
        return self.front(features, codes.s)


GENERATORS = {"separate": SeparateGenerator, "joint": JointGenerator, "styled": StyledGenerator}
