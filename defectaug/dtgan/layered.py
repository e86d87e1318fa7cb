"""The layered G: a defect is a colour and an opacity, painted over the untouched source.

Departs from the paper, whose G decodes the whole background through a bottleneck and blurs it at slim widths.
The split, both guides, the anchor and all losses stay. With the opacity alpha and colour F of a code (c, s), and
the opacity a and fill R that G reads from the source's own code FG_G(x):

    clean = x + a (R - x),    image = clean + alpha (F - clean)
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from defectaug.config import NetworkConfig
from defectaug.dtgan.codes import Codes
from defectaug.dtgan.generator import Background, Generator, Rendered
from defectaug.nn.blocks import ResBlock, StyledResBlock, Trunk, activate, blur3, conv3

THRESHOLD = 0.1  # CHOICE: a weaker response paints nothing at all, so that most pixels are exactly untouched
LEAK = 0.1  # CHOICE: see SoftThreshold


class SoftThreshold(torch.autograd.Function):
    """relu(tanh(response) - THRESHOLD), stretched to reach 1: under a weaker layer a ghost of a removed defect is left.
    Below the threshold only the wish for more opacity passes back, scaled by LEAK: a plain relu never wakes a dead
    place, a leaky one lets the area penalty bury it ever deeper. Where the layer is opaque LEAK passes back at least:
    a young G that has covered everything finds the way back."""

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
    """Response of any shape to opacity in [0, 1)."""
    return SoftThreshold.apply(response)


def dilated(opacity: Tensor) -> Tensor:
    """An opacity (N, 1, S, S) that reaches a pixel further: the soft rim of a defect goes with it (CHOICE)."""
    return F.max_pool2d(opacity, 3, stride=1, padding=1)


class FineConv(nn.Module):
    """Last 3x3 convolution of a decoder, at the folded size; each pixel unfolds into fold x fold of the image.

    All four start alike, so that no checkerboard has to be unlearnt. Full-resolution layers of a few channels
    would cost as much as the rest of the network.
    """

    def __init__(self, c_in: int, c_out: int, fold: int, *, bias: bool = True, std: float = 0.02) -> None:
        super().__init__()
        self.fold = fold
        self.conv = conv3(c_in, c_out * fold * fold, bias)
        kernel = torch.randn(c_out, c_in, 3, 3) * std
        with torch.no_grad():
            self.conv.weight.copy_(kernel.repeat_interleave(fold * fold, dim=0))

    def forward(self, h: Tensor) -> Tensor:
        return F.pixel_shuffle(self.conv(h), self.fold)


class OpacityDecoder(nn.Module):
    """Shape map to opacity. No biases and no normalisation: where c is zero, so is the opacity."""

    def __init__(self, net: NetworkConfig) -> None:
        super().__init__()
        widths = net.generator_widths[::-1]
        self.first = conv3(net.code_channels, widths[0], bias=False)
        # Two blocks see eleven cells of c: fewer do not draw a thin stroke in one piece.
        self.blocks = nn.Sequential(*(ResBlock(widths[0], widths[0], bias=False) for _ in range(2)))
        for block in self.blocks:
            assert isinstance(block, ResBlock)
            nn.init.zeros_(block.conv2.weight)  # a young decoder with more gain covers everything
        self.ups = nn.ModuleList(
            ResBlock(a, b, "up", bias=False) for a, b in pairwise(widths)
        )
        self.out = FineConv(widths[-1], 1, net.fold, bias=False, std=0.1)

    def forward(self, c: Tensor) -> tuple[Tensor, Tensor]:
        """c (N, code_channels, h, h) to opacity (N, 1, S, S) and shape features (N, widths[0], S/fold, S/fold)."""
        h = self.blocks(self.first(c))
        for up in self.ups:
            h = up(h)
        h = activate(h)
        return soft_threshold(blur3(self.out(h)).float()), h


class ColourDecoder(nn.Module):
    """Colour of the defect layer from c, s and the background it lies on (the same scratch shows otherwise on
    another surface)."""

    def __init__(self, net: NetworkConfig) -> None:
        super().__init__()
        widths = net.generator_widths[::-1]
        fine = widths[-1]
        self.fold = net.fold
        self.context = nn.Conv2d(widths[0], net.code_channels, 1)
        self.first = conv3(2 * net.code_channels, fine)
        self.blocks = nn.ModuleList([StyledResBlock(fine, fine, net.style_dim)])
        self.blocks.extend(StyledResBlock(fine, fine, net.style_dim, "up") for _ in widths[1:])
        self.merge = nn.Conv2d(2 * fine + net.channels * net.fold**2, fine, 1)
        self.out = FineConv(fine, net.channels, net.fold)

    def forward(self, codes: Codes, shape: Tensor, background: Background) -> Tensor:
        """To a colour (N, C, S, S) in (-1, 1); ``shape`` are the opacity decoder's features."""
        h = self.first(torch.cat([codes.c, self.context(background.features)], dim=1))
        for block in self.blocks:
            h = block(h, codes.s)
        assert background.clean is not None
        seen = F.pixel_unshuffle(background.clean, self.fold)
        # The blur removes the stripes that unfolding leaves; a defect's edge is the opacity's affair.
        return torch.tanh(blur3(self.out(activate(self.merge(torch.cat([h, shape, seen], dim=1))))).float())


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
        closed = F.max_pool2d((opacity.detach() > 0.05).to(x.dtype), 5, stride=1, padding=2)
        h = self.context(bottleneck)
        for up, merge, level in zip(self.ups, self.merges, levels[-2::-1], strict=True):
            h = up(h)
            open_here = 1 - F.adaptive_max_pool2d(closed, h.shape[-1])
            h = merge(torch.cat([h, level * open_here], dim=1))
        seen = F.pixel_unshuffle(torch.cat([x * (1 - closed), closed], dim=1), self.fold)
        return torch.tanh(self.out(activate(self.merge(torch.cat([h, seen], dim=1)))).float())


class LayeredGenerator(Generator):
    """G with a depth-wise split whose two decoders make layers instead of one image."""

    def __init__(self, net: NetworkConfig) -> None:
        super().__init__()
        width = net.generator_widths[-1]
        self.trunk = Trunk(
            net.channels, net.generator_widths, fold=net.fold, blocks=net.generator_blocks, norm=net.norm
        )
        self.split = nn.Conv2d(width, width + net.code_channels, 1)
        self.parts = (width, net.code_channels)
        self.fill = FillDecoder(net)
        self.opacity = OpacityDecoder(net)
        self.colour = ColourDecoder(net)

    def background(self, x: Tensor) -> Background:
        levels = self.trunk.levels(x)
        features, code = self.split(levels[-1]).split(self.parts, dim=1)
        code = torch.tanh(code.float())
        removed, _ = self.opacity(code)
        fill = self.fill(levels, features, x, removed)
        clean = x + removed * (fill - x)
        return Background(x, features, code, removed, clean, fill)

    def render(self, background: Background, codes: Codes) -> Rendered:
        opacity, shape = self.opacity(codes.c)
        return self._paint(background, opacity, self.colour(codes, shape, background))

    def repaint(self, background: Background, codes: Codes, rendered: Rendered) -> Rendered:
        assert rendered.opacity is not None and rendered.colour is not None
        return self._paint(background, rendered.opacity, rendered.colour)

    @staticmethod
    def _paint(background: Background, opacity: Tensor, colour: Tensor) -> Rendered:
        assert background.clean is not None
        return Rendered(background.clean + opacity * (colour - background.clean), opacity, colour)
