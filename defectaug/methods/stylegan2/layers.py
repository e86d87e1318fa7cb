"""Layers at an equalised learning rate, and modulated convolution."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

GAIN = math.sqrt(2)  # of a layer that follows a leaky ReLU, which halves the variance


def doubled(h: Tensor) -> Tensor:
    """Twice the size: [1, 3, 3, 1] between inserted zeros is bilinear interpolation."""
    return F.interpolate(h, scale_factor=2.0, mode="bilinear", align_corners=False)


class EqualLinear(nn.Module):
    """Linear layer whose weights are scaled as it runs, so that Adam's steps are alike in all layers (Karras et al.
    2018, section 4.1).

    Args:
        gain: of the output's deviation; :data:`GAIN` after an activation.
        rate: factor of this layer's learning rate.
        bias: its first value.
    """

    def __init__(self, c_in: int, c_out: int, *, gain: float = 1.0, rate: float = 1.0, bias: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(c_out, c_in) / rate)
        self.bias = nn.Parameter(torch.full((c_out,), bias / rate))
        self.scale, self.rate = gain * rate / math.sqrt(c_in), rate

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.scale, self.bias * self.rate)


class EqualConv(nn.Module):
    """Convolution of odd width that keeps the size, as :class:`EqualLinear`."""

    def __init__(self, c_in: int, c_out: int, width: int, *, gain: float = 1.0, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(c_out, c_in, width, width))
        self.bias = nn.Parameter(torch.zeros(c_out)) if bias else None
        self.scale = gain / math.sqrt(c_in * width * width)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight * self.scale, self.bias, padding=self.weight.shape[-1] // 2)


class ModulatedConv(nn.Module):
    """Convolution whose weights the style scales by input channel, for every image of a batch its own (section 2.2,
    Eq. 1). The input is scaled instead of the weights: the same, with one convolution for the batch."""

    def __init__(self, c_in: int, c_out: int, width: int, style_dim: int) -> None:
        super().__init__()
        self.conv = EqualConv(c_in, c_out, width, bias=False)
        self.style = EqualLinear(style_dim, c_in, bias=1.0)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """Maps (N, c_in, H, W) and scales (N, c_in), which ``self.style`` makes, to (N, c_out, H, W)."""
        return self.conv(x * style[:, :, None, None])

    def demodulation(self, style: Tensor) -> Tensor:
        """What brings the scaled weights back to unit norm (Eq. 3), (N, c_out)."""
        energy = (self.conv.weight * self.conv.scale).square().sum((2, 3))  # (c_out, c_in)
        return torch.rsqrt(style.float().square() @ energy.T + 1e-8)


class StyledConv(nn.Module):
    """Modulated and demodulated 3x3 convolution, noise of a learnt strength, bias, leaky ReLU."""

    def __init__(self, c_in: int, c_out: int, style_dim: int) -> None:
        super().__init__()
        self.conv = ModulatedConv(c_in, c_out, 3, style_dim)
        self.strength = nn.Parameter(torch.zeros(()))
        self.bias = nn.Parameter(torch.zeros(c_out))

    def forward(self, x: Tensor, w: Tensor, noise: Tensor) -> Tensor:
        style = self.conv.style(w)
        h, norm = self.conv(x, style), GAIN * self.conv.demodulation(style)
        h = torch.addcmul((self.strength * noise).to(h.dtype), h, norm.to(h.dtype)[:, :, None, None])
        return F.leaky_relu(h + self.bias.to(h.dtype)[:, None, None], 0.2)
