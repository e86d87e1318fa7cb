"""E: which pixels are defect, of which class; by frozen features and pixels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from defectaug.methods.features import CHANNELS, ImageNetFeatures
from defectaug.nn.blocks import conv3


class Block(nn.Module):
    """3x3 convolution, group normalisation (a statistic of single images), SiLU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv, self.norm = conv3(width, width), nn.GroupNorm(4, width)

    def forward(self, h: Tensor) -> Tensor:
        return F.silu(self.norm(self.conv(h)))


class Encoder(nn.Module):
    """Logits of a mask for every defect class, from coarse features to pixels (Lin et al. 2017).

    Args:
        channels: of the images.
        defects: number of defect classes, the normal one not counted.
        width: of all levels.
    """

    def __init__(self, channels: int, defects: int, width: int = 32) -> None:
        super().__init__()
        self.features = ImageNetFeatures()
        self.lateral = nn.ModuleList(nn.Conv2d(c, width, 1) for c in CHANNELS)
        self.pixels = conv3(4 * channels, width)
        self.blocks = nn.ModuleList(Block(width) for _ in CHANNELS)
        self.out = conv3(width, 4 * defects)
        nn.init.zeros_(self.out.weight)
        assert self.out.bias is not None
        nn.init.constant_(self.out.bias, -3.0)  # at first nothing is a defect

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, C, S, S) in [-1, 1] to logits (N, defects, S, S)."""
        return self.from_features(x, self.features(x))

    def from_features(self, x: Tensor, levels: list[Tensor]) -> Tensor:
        """As :meth:`forward`, for features at hand."""
        h: Tensor | None = None
        for level, lateral, block in zip(levels[::-1], reversed(self.lateral), reversed(self.blocks), strict=True):
            side = lateral(level)
            h = side if h is None else F.interpolate(h, scale_factor=2.0, mode="bilinear", align_corners=False) + side
            if level is levels[0]:
                h = h + self.pixels(F.pixel_unshuffle(x, 2))
            h = block(h)
        assert h is not None
        return F.pixel_shuffle(self.out(h), 2).float()


def own_logits(logits: Tensor, label: Tensor) -> Tensor:
    """Logits (N, defects, S, S) of the classes ``label`` (N,), at least 1 each, as (N, 1, S, S)."""
    return logits[torch.arange(len(label), device=label.device), label - 1][:, None]
