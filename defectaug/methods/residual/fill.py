"""What belongs where a defect is taken away: from the surroundings, then by a small network."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from defectaug.nn.blocks import ResBlock, conv3

LEAST = 2  # pixels, at which the pyramid ends


def push_pull(x: Tensor, known: Tensor) -> Tensor:
    """Fills x (N, C, S, S) where ``known`` (N, 1, S, S) is 0 by smooth interpolation: masked means on the way down a
    pyramid, gaps closed on the way up (Gortler et al. 1996)."""
    values, weights = [x * known], [known]
    while values[-1].shape[-1] > LEAST and values[-1].shape[-1] % 2 == 0:
        mean = F.avg_pool2d(weights[-1], 2)
        weight = (4 * mean).clamp(max=1)
        values.append(F.avg_pool2d(values[-1], 2) / mean.clamp(min=1e-6) * weight)
        weights.append(weight)
    filled = values[-1] / weights[-1].clamp(min=1e-6)
    for value, weight in zip(values[-2::-1], weights[-2::-1], strict=True):
        filled = value + (1 - weight) * F.interpolate(filled, scale_factor=2.0, mode="bilinear", align_corners=False)
    return filled


class Inpainter(nn.Module):
    """Corrects :func:`push_pull` so that edges and rings of the product go on under the mask.

    Args:
        channels: of the images.
        width: of the finest level, at half the image's size; the two coarser ones are wider.
    """

    def __init__(self, channels: int, width: int = 24) -> None:
        super().__init__()
        wide = 2 * width
        self.stem = conv3(4 * (channels + 1), width)
        self.down1, self.down2 = ResBlock(width, wide, "down"), ResBlock(wide, wide, "down")
        self.down3, self.up3 = ResBlock(wide, wide, "down"), ResBlock(wide, wide, "up")
        self.middle = ResBlock(wide, wide)
        self.up2, self.up1 = ResBlock(wide, wide, "up"), ResBlock(wide, width, "up")
        self.out = conv3(width, 4 * channels)
        nn.init.zeros_(self.out.weight)

    def forward(self, x: Tensor, known: Tensor) -> Tensor:
        """Images (N, C, S, S) in [-1, 1] and what of them is known (N, 1, S, S), 0 or 1, to whole images, which are not
        clipped to that range: beyond it there would be no gradient, and no way back."""
        base = push_pull(x, known)
        h = self.stem(F.pixel_unshuffle(torch.cat([base, known], dim=1), 2))
        a = self.down1(h)
        b = self.down2(a)
        b = b + self.up3(self.middle(self.down3(b)))
        h = h + self.up1(a + self.up2(b))
        correction = F.pixel_shuffle(self.out(F.leaky_relu(h, 0.2)), 2).float()
        return base + (1 - known) * correction
