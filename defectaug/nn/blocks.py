"""Residual blocks, adaptive instance normalisation, noise injection and the convolutional trunk."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from defectaug.nn.norm import InstanceNorm

Resample = Literal["down", "up", "keep"]


def activate(h: Tensor) -> Tensor:
    """Leaky ReLU of slope 0.2: zero stays zero, nothing dies, and its gradient costs a third of SiLU's."""
    return F.leaky_relu(h, 0.2)


def conv3(c_in: int, c_out: int) -> nn.Conv2d:
    """3x3 convolution that keeps the size, He-initialised."""
    conv = nn.Conv2d(c_in, c_out, 3, padding=1)
    nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv


def linear(c_in: int, c_out: int, gain: float = 1.0) -> nn.Linear:
    """Linear layer that keeps the variance (times ``gain`` squared); PyTorch's own start shrinks it threefold, and a
    few such layers make all latents the same."""
    layer = nn.Linear(c_in, c_out)
    nn.init.normal_(layer.weight, std=gain / math.sqrt(c_in))
    nn.init.zeros_(layer.bias)
    return layer


def resample(h: Tensor, how: Resample) -> Tensor:
    """Halve by averaging, double by repeating, or leave the size of ``h`` (N, C, H, W)."""
    if how == "down":
        return F.avg_pool2d(h, 2)
    if how == "up":
        return F.interpolate(h, scale_factor=2.0, mode="nearest")
    return h


class ResBlock(nn.Module):
    """Pre-activation residual block (He et al. 2016) of unit variance, as StarGAN v2 lays it out.

    Args:
        norm: instance normalisation before each activation.
    """

    def __init__(self, c_in: int, c_out: int, how: Resample = "keep", *, norm: bool = False) -> None:
        super().__init__()
        self.how = how
        hidden = min(c_in, c_out) if how == "up" else c_in
        self.norm1 = InstanceNorm(c_in, affine=True) if norm else nn.Identity()
        self.norm2 = InstanceNorm(hidden, affine=True) if norm else nn.Identity()
        self.conv1 = conv3(c_in, hidden)
        self.conv2 = conv3(hidden, c_out)
        self.skip = nn.Conv2d(c_in, c_out, 1, bias=False) if c_in != c_out else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        # The narrow convolution runs before the size doubles: a quarter of the work.
        h = resample(self.conv1(activate(self.norm1(x))), self.how)
        h = self.conv2(activate(self.norm2(h)))
        shortcut = resample(x, "down") if self.how == "down" else x
        shortcut = self.skip(shortcut)
        if self.how == "up":
            shortcut = resample(shortcut, "up")
        return (h + shortcut) / math.sqrt(2)


class AdaIN(nn.Module):
    """Adaptive instance normalisation (Huang and Belongie 2017): the style sets scale and shift."""

    def __init__(self, channels: int, style_dim: int) -> None:
        super().__init__()
        self.norm = InstanceNorm(channels, affine=False)
        self.affine = nn.Linear(style_dim, 2 * channels)
        nn.init.normal_(self.affine.weight, std=1 / math.sqrt(style_dim))
        nn.init.zeros_(self.affine.bias)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        scale, shift = self.affine(style)[:, :, None, None].chunk(2, dim=1)
        return self.norm(x) * (1 + scale) + shift


class NoiseInjection(nn.Module):
    """Adds per-pixel Gaussian noise with a learnt strength per channel (StyleGAN, section 3.2)."""

    def __init__(self, channels: int, strength: float = 0.1) -> None:
        super().__init__()
        self.strength = nn.Parameter(torch.full((1, channels, 1, 1), strength))

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        return x + self.strength * noise


class StyledResBlock(nn.Module):
    """Residual block whose normalisations are AdaIN."""

    def __init__(self, c_in: int, c_out: int, style_dim: int, how: Resample = "keep") -> None:
        super().__init__()
        self.how = how
        hidden = min(c_in, c_out)
        self.norm1, self.norm2 = AdaIN(c_in, style_dim), AdaIN(hidden, style_dim)
        self.conv1, self.conv2 = conv3(c_in, hidden), conv3(hidden, c_out)
        self.skip = nn.Conv2d(c_in, c_out, 1, bias=False) if c_in != c_out else nn.Identity()

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        h = resample(self.conv1(activate(self.norm1(x, style))), self.how)
        h = self.conv2(activate(self.norm2(h, style)))
        return (h + resample(self.skip(x), self.how)) / math.sqrt(2)


class Stem(nn.Module):
    """First convolution, on 2x2 pixels folded into channels where ``fold`` is 2: element-wise work at full
    resolution costs more than the convolutions of a slim network."""

    def __init__(self, channels: int, width: int, fold: int) -> None:
        super().__init__()
        self.fold = fold
        self.conv = conv3(channels * fold * fold, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pixel_unshuffle(x, self.fold) if self.fold > 1 else x)


class Trunk(nn.Module):
    """Stem, one halving residual block per further width, then ``blocks`` blocks at the last size.

    Image (N, channels, S, S) to features (N, widths[-1], S / fold / 2**(len(widths) - 1), same).
    """

    def __init__(
        self, channels: int, widths: Sequence[int], *, fold: int = 1, blocks: int = 0, norm: bool = False
    ) -> None:
        super().__init__()
        self.stem = Stem(channels, widths[0], fold)
        self.downs = nn.ModuleList(ResBlock(a, b, "down", norm=norm) for a, b in pairwise(widths))
        self.blocks = nn.ModuleList(ResBlock(widths[-1], widths[-1], norm=norm) for _ in range(blocks))

    def levels(self, x: Tensor) -> list[Tensor]:
        """Features after the stem and after every halving, finest first; the last through the blocks."""
        h = self.stem(x)
        levels = [h]
        for down in self.downs:
            h = down(h)
            levels.append(h)
        for block in self.blocks:
            h = block(h)
        levels[-1] = h
        return levels

    def forward(self, x: Tensor) -> Tensor:
        return self.levels(x)[-1]


@torch.no_grad()
def unfold_evenly(weight: Tensor, fold: int) -> None:
    """Gives all outputs of a convolution that :func:`torch.nn.functional.pixel_shuffle` lays beside each other the
    weights of the first, so that no checkerboard has to be unlearnt."""
    first = weight.unflatten(0, (-1, fold * fold))[:, :1]
    weight.copy_(first.expand(-1, fold * fold, -1, -1, -1).flatten(0, 1))


class Detail(nn.Module):
    """Features at a trunk's finest size that depend on the coarser ones too (the way up of Ronneberger et al. 2015)."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        steps = list(pairwise(widths[::-1]))
        self.narrow = nn.ModuleList(nn.Conv2d(a, b, 1) for a, b in steps)
        self.mix = nn.ModuleList(conv3(2 * b, b) for _, b in steps)

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Levels, finest first, to (N, widths[0], H, W)."""
        h = levels[-1]
        for narrow, mix, level in zip(self.narrow, self.mix, levels[-2::-1], strict=True):
            h = activate(mix(torch.cat([resample(narrow(h), "up"), level], dim=1)))
        return h


def pool_max_mean(h: Tensor) -> Tensor:
    """(N, C, H, W) to (N, 2C): a small defect shows in the maximum, a wide one in the mean."""
    size = h.shape[2:]  # as pooling: the gradients of amax and mean lose channels_last
    return torch.cat([F.max_pool2d(h, size), F.avg_pool2d(h, size)], dim=1).flatten(1)


def blur3(h: Tensor) -> Tensor:
    """Binomial 3x3 blur of every channel, edges repeated."""
    h = F.pad(h, (1, 1, 1, 1), mode="replicate")
    h = (h[..., :-2, :] + 2 * h[..., 1:-1, :] + h[..., 2:, :]) / 4
    return (h[..., :-2] + 2 * h[..., 1:-1] + h[..., 2:]) / 4


def dilated(x: Tensor, reach: int) -> Tensor:
    """Greatest of the values >= 0 within ``reach`` pixels, squarely, for (N, C, H, W). A window doubles by comparing it
    with itself, moved: many times as fast on a CPU as max-pooling with a stride of 1."""
    x = F.pad(x, [reach] * 4)
    for dim in (2, 3):
        window = 1
        while window < 2 * reach + 1:
            step = min(window, 2 * reach + 1 - window)
            rest = x.shape[dim] - step
            x, window = torch.maximum(x.narrow(dim, 0, rest), x.narrow(dim, step, rest)), window + step
    return x
