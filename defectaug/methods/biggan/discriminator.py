"""D: residual blocks, features summed over all places, and their projection on the label's vector (Miyato and Koyama
2018)."""

from __future__ import annotations

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from defectaug.config.schema import BigGANConfig, NetworkConfig
from defectaug.methods.biggan.layers import attention_at, conv, linear
from defectaug.nn.blocks import Resample, resample


class Block(nn.Module):
    """Residual block; the first of D takes the image as it is, without an activation."""

    def __init__(self, c_in: int, c_out: int, how: Resample, *, first: bool = False) -> None:
        super().__init__()
        self.first, self.how = first, how
        self.conv1, self.conv2 = conv(c_in, c_out, 3), conv(c_out, c_out, 3)
        self.skip = conv(c_in, c_out, 1) if c_in != c_out or how != "keep" else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(x if self.first else F.relu(x))
        return resample(self.conv2(F.relu(h)), self.how) + self.skip(resample(x, self.how))


class Discriminator(nn.Module):
    """Images (N, C, S, S) and labels (N,) to logits (N,)."""

    def __init__(self, net: NetworkConfig, own: BigGANConfig, labels: int) -> None:
        super().__init__()
        widths = net.discriminator_widths
        steps = list(pairwise((net.channels * net.fold**2, *widths)))
        hows: list[Resample] = [*["down"] * (len(widths) - 1), "keep"]  # type: ignore[list-item]
        self.blocks = nn.ModuleList(
            Block(a, b, how, first=number == 0)
            for number, ((a, b), how) in enumerate(zip(steps, hows, strict=True))
        )
        self.fold = net.fold
        sides = [net.image_size // net.fold // 2 ** min(level, len(widths) - 1) for level in range(1, len(widths) + 1)]
        self.attention = nn.ModuleList(
            attention_at(side, own.attention, width) for side, width in zip(sides, widths, strict=True)
        )
        self.linear = linear(widths[-1], 1)
        self.embedding = nn.Embedding(labels, widths[-1])
        nn.init.orthogonal_(self.embedding.weight)
        spectral_norm(self.embedding)

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        h = F.pixel_unshuffle(x, self.fold)
        for block, attention in zip(self.blocks, self.attention, strict=True):
            h = attention(block(h))
        h = F.relu(h).float().sum((2, 3))
        return self.linear(h).float()[:, 0] + (h * self.embedding(label)).sum(1)
