"""Spectrally normalised layers, class-conditional batch normalisation, and self-attention."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from defectaug.nn.blocks import unfold_evenly

EPSILON = 1e-4  # of batch normalisation


def conv(c_in: int, c_out: int, width: int, *, bias: bool = True, fold: int = 1) -> nn.Module:
    """Convolution of odd width that keeps the size, orthogonally initialised, of spectral norm 1 (Miyato et al. 2018);
    ``fold`` by ``fold`` outputs, which become pixels beside each other, start alike."""
    layer = nn.Conv2d(c_in, c_out, width, padding=width // 2, bias=bias)
    nn.init.orthogonal_(layer.weight)
    unfold_evenly(layer.weight, fold)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return spectral_norm(layer)


def linear(c_in: int, c_out: int, *, bias: bool = True) -> nn.Module:
    """Linear layer, as :func:`conv`."""
    layer = nn.Linear(c_in, c_out, bias=bias)
    nn.init.orthogonal_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return spectral_norm(layer)


class ConditionalNorm(nn.Module):
    """Batch normalisation whose scale and shift are linear in a condition (N, D) (de Vries et al. 2017)."""

    def __init__(self, channels: int, condition: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, eps=EPSILON, affine=False)
        self.scale, self.shift = linear(condition, channels, bias=False), linear(condition, channels, bias=False)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        scale, shift = (1 + self.scale(condition))[:, :, None, None], self.shift(condition)[:, :, None, None]
        h = self.norm(x)
        return torch.addcmul(shift.to(h.dtype), h, scale.to(h.dtype))


class SelfAttention(nn.Module):
    """Self-attention of a map with its halved self (Zhang et al. 2019); adds nothing at first."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        narrow = max(channels // 8, 1)
        self.query, self.key = conv(channels, narrow, 1, bias=False), conv(channels, narrow, 1, bias=False)
        self.value = conv(channels, max(channels // 2, 1), 1, bias=False)
        self.out = conv(max(channels // 2, 1), channels, 1, bias=False)
        self.strength = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.query(x), F.max_pool2d(self.key(x), 2), F.max_pool2d(self.value(x), 2)
        query, key, value = (part.flatten(2).transpose(1, 2) for part in (query, key, value))  # (N, places, channels)
        mixed = F.scaled_dot_product_attention(query, key, value, scale=1.0)
        return x + self.strength * self.out(mixed.transpose(1, 2).unflatten(2, x.shape[2:]))


def attention_at(side: int, wanted: int, channels: int) -> nn.Module:
    """Self-attention for maps of the wanted side, for others nothing."""
    return SelfAttention(channels) if side == wanted else nn.Identity()
