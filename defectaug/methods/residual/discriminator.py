"""D: looks at a defect closely. Crops around it, by a trunk of its own and by frozen features."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from defectaug.methods.features import CHANNELS, ImageNetFeatures
from defectaug.nn.blocks import ResBlock, blur3, conv3

CROP = 64  # pixels; of smaller images all is seen


class Discriminator(nn.Module):
    """Logits of crops (N, C, CROP, CROP), for the category (product and defect) of each: projection (Miyato and Koyama
    2018) on a trunk of its own, and on frozen features (Sauer et al. 2021), blurred first: what fools a frozen network
    alone is high-frequency noise.

    Args:
        channels: of the images.
        categories: products times defect classes.
    """

    def __init__(self, channels: int, categories: int, width: int = 32) -> None:
        super().__init__()
        wide = 3 * width
        self.trunk = nn.Sequential(
            conv3(4 * channels, width), ResBlock(width, 2 * width, "down"), ResBlock(2 * width, wide, "down"),
            ResBlock(wide, wide, "down"),
        )  # fmt: skip
        self.real, self.category = nn.Linear(wide, 1), nn.Embedding(categories, wide)
        self.lateral = nn.ModuleList(nn.Conv2d(c, 32, 1) for c in CHANNELS[1:3])
        self.mix = nn.ModuleList(ResBlock(32, 32, "down") for _ in self.lateral)
        self.feature_real = nn.ModuleList(nn.Linear(32, 1) for _ in self.lateral)
        self.feature_category = nn.ModuleList(nn.Embedding(categories, 32) for _ in self.lateral)
        for table in (self.category, *self.feature_category):
            nn.init.zeros_(table.weight)

    def own(self, x: Tensor, category: Tensor) -> Tensor:
        """Logits (N,) by the trunk."""
        h = F.leaky_relu(self.trunk(F.pixel_unshuffle(x, 2)), 0.2).mean((2, 3)).float()
        return self.real(h)[:, 0] + (h * self.category(category)).sum(1)

    def by_features(self, levels: list[Tensor], category: Tensor) -> Tensor:
        """Logits (N,) by frozen features of the blurred crops."""
        total = torch.zeros(len(category), device=category.device)
        for level, lateral, mix, real, table in zip(
            levels[1:3], self.lateral, self.mix, self.feature_real, self.feature_category, strict=True
        ):
            h = F.leaky_relu(mix(lateral(level)), 0.2).mean((2, 3)).float()
            total = total + real(h)[:, 0] + (h * table(category)).sum(1)
        return total

    def forward(self, x: Tensor, category: Tensor, features: ImageNetFeatures) -> tuple[Tensor, Tensor]:
        """Both logits (N,)."""
        return self.own(x, category), self.by_features(features(blur3(x)), category)


def crops_at(images: Tensor, corners: Tensor) -> Tensor:
    """Crops (N, C, CROP, CROP) at corners (N, 2) of images (N, C, S, S)."""
    places = zip(images, corners.tolist(), strict=True)
    return torch.stack([image[:, y : y + CROP, x : x + CROP] for image, (y, x) in places])


def corners_on(mask: Tensor, generator: torch.Generator) -> Tensor:
    """Corners (N, 2) of crops that hold a random pixel of each mask (N, 1, S, S), not always in their middle."""
    count, size = len(mask), mask.shape[-1]
    weights = mask.flatten(1).float().cpu() + 1e-6
    place = torch.multinomial(weights, 1, generator=generator)[:, 0]
    shift = torch.randint(CROP // 4, 3 * CROP // 4, (count, 2), generator=generator)
    return (torch.stack([place // size, place % size], 1) - shift).clamp(0, max(0, size - CROP))
