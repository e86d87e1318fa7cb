"""The layered G: a defect is layers of colour and opacity, painted over the untouched source.

Departs from the paper, whose G decodes the whole background through a bottleneck and blurs it at slim widths.
The split, both guides, the anchor and all losses stay. With the opacities alpha_i and colours F_i of a code (c, s), and
the opacity a and fill R that G derives from the source's own code FG_G(x):

    clean = x + a (R - x),    image_0 = clean,    image_i = image_(i-1) + alpha_i (F_i - image_(i-1))
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from defectaug.config.schema import NetworkConfig
from defectaug.methods.dtgan.codes import Codes
from defectaug.methods.layered.codes import LAYERS, layer_form, union
from defectaug.nn.blocks import Detail, ResBlock, StyledResBlock, Trunk, activate, conv3, dilated

COLOUR_CELL = 8  # CHOICE: pixels
RIM = 1  # CHOICE: pixels by which more than the opacity is taken away: the soft rim of a defect goes with it


@dataclass(frozen=True)
class Canvas:
    """What defects are painted on: the sources without their own, ``clean`` (N, C, S, S), and ``features`` (N, B, h, w)
    of the bottleneck."""

    clean: Tensor
    features: Tensor


@dataclass(frozen=True)
class Background:
    """What G computes from source images: the ``canvas`` to paint on, and the opacity ``removed`` (N, 1, S, S) of their
    own defects."""

    canvas: Canvas
    removed: Tensor


@dataclass(frozen=True)
class Layers:
    """A painted defect: its ``opacity`` (N, 1, S, S) in [0, 1), and its ``paint`` (N, C, S, S), colours times
    opacities."""

    opacity: Tensor
    paint: Tensor

    def over(self, clean: Tensor) -> Tensor:
        """Images (N, C, S, S) with the layers over them."""
        return clean * (1 - self.opacity) + self.paint


class FineConv(nn.Module):
    """Last 3x3 convolution of a decoder, at the folded size; each pixel unfolds into fold x fold of the image.

    Full-resolution layers of a few channels would cost as much as the rest of the network.
    """

    def __init__(self, c_in: int, c_out: int, fold: int) -> None:
        super().__init__()
        self.fold = fold
        self.conv = conv3(c_in, c_out * fold * fold)

    def forward(self, h: Tensor) -> Tensor:
        return F.pixel_shuffle(self.conv(h), self.fold)


class ColourDecoder(nn.Module):
    """Colours of the layers from c, s and the background they lie on (the same scratch shows otherwise on another
    surface).

    They are decoded on a coarse grid and change smoothly (CHOICE): what is sharp in a defect lies in the opacities.
    Colours as fine as the image draw thin lines inside wide opacities, as twisted ropes.
    """

    def __init__(self, net: NetworkConfig) -> None:
        super().__init__()
        width = net.generator_widths[-1]
        self.size, self.grid = net.image_size, max(net.image_size // COLOUR_CELL, 1)
        self.context = nn.Conv2d(width, width, 1)
        self.first = conv3(2 * LAYERS + width, width)
        self.blocks = nn.ModuleList(StyledResBlock(width, width, net.style_dim) for _ in range(2))
        self.out = conv3(width, LAYERS * net.channels)

    def forward(self, codes: Codes, features: Tensor) -> Tensor:
        """Codes and features of the bottleneck (N, B, h, w) to colours (N, LAYERS, C, S, S) in (-1, 1)."""
        seen = [F.adaptive_max_pool2d(codes.c, self.grid), F.adaptive_avg_pool2d(codes.c, self.grid)]
        seen.append(F.adaptive_avg_pool2d(self.context(features), self.grid))
        h = self.first(torch.cat(seen, dim=1))
        for block in self.blocks:
            h = block(h, codes.s)
        colours = torch.tanh(self.out(activate(h)).float())
        fine = F.interpolate(colours, size=(self.size, self.size), mode="bilinear", align_corners=False)
        return fine.unflatten(1, (LAYERS, -1))


class FillDecoder(nn.Module):
    """Background decoder: what belongs where the source's defect is taken away.

    Skip connections keep it sharp; they are closed under the opacity, or the defect would leak through.
    """

    def __init__(self, net: NetworkConfig) -> None:
        super().__init__()
        widths = net.generator_widths[::-1]
        fine, pixels = widths[-1], net.channels * net.fold**2
        self.fold = net.fold
        self.context = nn.Sequential(ResBlock(widths[0], widths[0], "down"), ResBlock(widths[0], widths[0], "up"))
        self.ups = nn.ModuleList(ResBlock(a, b, "up") for a, b in pairwise(widths))
        self.merges = nn.ModuleList(nn.Conv2d(2 * b, b, 1) for b in widths[1:])
        self.merge = nn.Conv2d(fine + pixels + net.fold**2, fine, 1)
        self.out = FineConv(fine, net.channels, net.fold)

    def forward(self, levels: list[Tensor], bottleneck: Tensor, x: Tensor, opacity: Tensor) -> Tensor:
        """Encoder levels, finest first, the bottleneck, the source and its opacity, to (N, C, S, S)."""
        closed = dilated((opacity > 0.05).to(x.dtype), 2)
        h = self.context(bottleneck)
        for up, merge, level in zip(self.ups, self.merges, levels[-2::-1], strict=True):
            h = up(h)
            open_here = 1 - F.adaptive_max_pool2d(closed, h.shape[-1])
            h = merge(torch.cat([h, level * open_here.to(level.dtype)], dim=1))
        seen = F.pixel_unshuffle(torch.cat([x * (1 - closed), closed], dim=1), self.fold)
        seen = seen.to(h.dtype, memory_format=torch.channels_last)
        return torch.tanh(self.out(activate(self.merge(torch.cat([h, seen], dim=1)))).float())


class LayeredGenerator(nn.Module):
    """G with a depth-wise split whose two decoders make layers instead of one image."""

    def __init__(self, net: NetworkConfig) -> None:
        super().__init__()
        width = net.generator_widths[-1]
        self.trunk = Trunk(
            net.channels, net.generator_widths, fold=net.fold, blocks=net.generator_blocks, norm=net.norm
        )
        self.form = layer_form(net)
        self.features = nn.Conv2d(width, width, 1)
        self.detail = Detail(net.generator_widths)
        self.cut = conv3(net.generator_widths[0], self.form.channels)
        self.fill = FillDecoder(net)
        self.colour = ColourDecoder(net)

    def background(self, x: Tensor) -> Background:
        """Encodes the source (N, C, S, S) and takes its own defect away."""
        levels = self.trunk.levels(x)
        features = self.features(levels[-1])
        removed = union(self.form.activate(self.cut(self.detail(levels))))
        fill = self.fill(levels, features, x, removed)
        clean = x + dilated(removed, RIM) * (fill - x)
        return Background(Canvas(clean, features), removed)

    def layers(self, canvas: Canvas, codes: Codes) -> Layers:
        """The defects in the colours that they have on this canvas."""
        paint = torch.zeros((), device=codes.c.device)
        for opacity, colour in zip(
            codes.c[:, :, None].unbind(1), self.colour(codes, canvas.features).unbind(1), strict=True
        ):
            paint = paint * (1 - opacity) + colour * opacity
        return Layers(union(codes.c), paint)
