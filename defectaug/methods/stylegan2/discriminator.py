"""D: residual blocks (section 4.1), minibatch deviation, and the projection of the features on the label's vector,
beside a logit that is no label's (Miyato and Koyama 2018), which learns from the images of all."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from defectaug.config.schema import NetworkConfig
from defectaug.methods.stylegan2.layers import GAIN, EqualConv, EqualLinear
from defectaug.nn.blocks import resample

GROUP = 4


class Block(nn.Module):
    """Two convolutions, the second at half the size, and a short cut."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        half = math.sqrt(0.5)  # of the variance comes from each way
        self.first, self.second = EqualConv(c_in, c_in, 3), EqualConv(c_in, c_out, 3, gain=GAIN * GAIN * half)
        self.skip = EqualConv(c_in, c_out, 1, gain=half, bias=False)

    def forward(self, h: Tensor) -> Tensor:
        inner = F.leaky_relu(self.first(h), 0.2)
        return F.leaky_relu(self.second(resample(inner, "down")), 0.2) + self.skip(resample(h, "down"))


def with_deviation(h: Tensor, group: int = GROUP) -> Tensor:
    """One more map (N, C + 1, H, W): the mean deviation of the features within groups of images (Karras et al. 2018,
    section 3), by which D sees that images are all the same. Rows i, i + N / group, ... make a group."""
    count = len(h)
    group = next(size for size in range(min(group, count), 0, -1) if count % size == 0)
    parts = h.float().unflatten(0, (group, count // group))
    deviation = (parts.var(0, correction=0) + 1e-8).sqrt().mean((1, 2, 3))
    extra = deviation.repeat(group)[:, None, None, None].expand(-1, 1, *h.shape[2:])
    return torch.cat([h, extra.to(h.dtype)], dim=1)


class Discriminator(nn.Module):
    """Images (N, C, S, S) and labels (N,) to logits (N,)."""

    def __init__(self, net: NetworkConfig, labels: int) -> None:
        super().__init__()
        widths = net.discriminator_widths
        side, last = net.image_size // net.fold // 2 ** (len(widths) - 1), widths[-1]
        self.fold = net.fold
        self.from_image = EqualConv(net.channels * net.fold**2, widths[0], 1)
        self.blocks = nn.ModuleList(Block(a, b) for a, b in pairwise(widths))
        self.conv = EqualConv(last + 1, last, 3)
        self.linear = EqualLinear(last * side * side, last, gain=GAIN)
        self.out = EqualLinear(last, last + 1, gain=GAIN)
        self.embedding = nn.Embedding(labels, last)

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        h = F.leaky_relu(self.from_image(F.pixel_unshuffle(x, self.fold)), 0.2)
        for block in self.blocks:
            h = block(h)
        h = F.leaky_relu(self.conv(with_deviation(h)), 0.2)
        h = self.out(F.leaky_relu(self.linear(h.flatten(1)), 0.2)).float()
        common, own = h[:, 0], h[:, 1:]
        return common + (own * self.embedding(label)).sum(1) / math.sqrt(own.shape[1])
