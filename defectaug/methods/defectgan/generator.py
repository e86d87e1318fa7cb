"""G: a defect as a layer over the image, at places and of classes that a control map names (section 3.1)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from defectaug.config.schema import NetworkConfig
from defectaug.methods.layers import THIN, Layers
from defectaug.nn.blocks import NoiseInjection, Resample, Trunk, activate, conv3, resample, unfold_evenly
from defectaug.nn.norm import InstanceNorm

FINE = 8  # features at full size


def control_map(label: Tensor, classes: int, size: int) -> Tensor:
    """The control map A (N, classes, size, size) of image-level labels (N,): the same everywhere."""
    return F.one_hot(label, classes).float()[:, :, None, None].expand(-1, -1, size, size)


class SPADE(nn.Module):
    """Normalisation whose scale and shift at each place follow from the control map there (Park et al. 2019)."""

    def __init__(self, channels: int, classes: int, hidden: int) -> None:
        super().__init__()
        self.norm = InstanceNorm(channels, affine=False)
        self.shared, self.affine = conv3(classes, hidden), conv3(hidden, 2 * channels)
        nn.init.normal_(self.affine.weight, std=1 / math.sqrt(9 * hidden))

    def forward(self, x: Tensor, control: Tensor) -> Tensor:
        """Features (N, channels, h, w), control map (N, classes, h, w)."""
        scale, shift = self.affine(activate(self.shared(control))).chunk(2, dim=1)
        return self.norm(x) * (1 + scale) + shift


class ControlledBlock(nn.Module):
    """Residual block whose normalisations are SPADE, then noise of a learnt strength."""

    def __init__(self, c_in: int, c_out: int, classes: int, hidden: int, how: Resample = "keep") -> None:
        super().__init__()
        self.how = how
        self.norm1, self.norm2 = SPADE(c_in, classes, hidden), SPADE(c_out, classes, hidden)
        self.conv1, self.conv2 = conv3(c_in, c_out), conv3(c_out, c_out)
        self.skip = nn.Conv2d(c_in, c_out, 1, bias=False) if c_in != c_out else nn.Identity()
        self.noise = NoiseInjection(c_out)

    def forward(self, x: Tensor, control: Tensor, noise: Tensor) -> Tensor:
        """Features (N, c_in, h, w); control map of any size; noise (N, 1, H, W) at the size of the output."""
        here = F.adaptive_avg_pool2d(control, x.shape[-1])
        h = resample(self.conv1(activate(self.norm1(x, here))), self.how)
        h = self.conv2(activate(self.norm2(h, F.adaptive_avg_pool2d(control, h.shape[-1]))))
        return self.noise((h + resample(self.skip(x), self.how)) / math.sqrt(2), noise)


class Generator(nn.Module):
    """Encodes the image by strides, decodes a defect layer under the control map, with noise at every level.

    Args:
        net: dimensions: widths of encoder and decoder, finest first, and how many blocks lie between.
        classes: number of defect classes, the normal one included.
    """

    def __init__(self, net: NetworkConfig, classes: int) -> None:
        super().__init__()
        self.fold, self.classes = net.fold, classes
        self.encoder = Trunk(net.channels, net.encoder_widths, fold=net.fold, blocks=net.encoder_blocks, norm=True)
        widths, hidden = net.generator_widths[::-1], net.defect_width
        coarse = net.image_size // net.fold >> (len(widths) - 1)
        first = [net.encoder_widths[-1], *[widths[0]] * net.generator_blocks]
        blocks = [ControlledBlock(a, b, classes, hidden) for a, b in pairwise(first)]
        blocks += [ControlledBlock(a, b, classes, hidden, "up") for a, b in pairwise(widths)]
        self.blocks = nn.ModuleList(blocks)
        self.noise_sizes = [coarse] * net.generator_blocks + [coarse << n for n in range(1, len(widths))]
        self.unfold = conv3(widths[-1], FINE * net.fold**2)
        unfold_evenly(self.unfold.weight, net.fold)
        self.out = conv3(FINE, net.channels + 1)
        nn.init.normal_(self.out.weight, std=0.02)
        assert self.out.bias is not None
        nn.init.constant_(self.out.bias[-1:], THIN)

    def draw_noise(self, count: int, generator: torch.Generator, device: torch.device) -> list[Tensor]:
        """Noise (N, 1, h, w) for each block."""
        return [torch.randn(count, 1, side, side, generator=generator).to(device) for side in self.noise_sizes]

    def forward(self, x: Tensor, control: Tensor, noise: Sequence[Tensor]) -> Layers:
        """Images (N, C, S, S), control map (N, classes, h, w) in [0, 1], noise as of :meth:`draw_noise`."""
        return self.decode(x, self.encoder(x), control, noise)

    def decode(self, x: Tensor, h: Tensor, control: Tensor, noise: Sequence[Tensor]) -> Layers:
        """As :meth:`forward`, from the encoder's features h. Where the control map is 0 nothing is painted."""
        for block, here in zip(self.blocks, noise, strict=True):
            h = block(h, control, here)
        out = self.out(activate(F.pixel_shuffle(self.unfold(activate(h)), self.fold))).float()
        allowed = F.interpolate(control.sum(1, keepdim=True), size=x.shape[2:], mode="nearest")
        return Layers.over(x, out, allowed.clamp(max=1))
