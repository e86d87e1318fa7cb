"""Augmentations of whole batches, as tensors: traditional, CutMix, CutOut, MixUp."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

Augmentation = Literal["none", "traditional", "cutmix", "cutout", "mixup"]
AUGMENTATIONS: tuple[str, ...] = get_args(Augmentation)
SHIFT = 1 / 16  # largest shift, as a share of the side
CONTRAST, BRIGHTNESS, LIGHTING = 0.2, 0.1, 0.05
CUTOUT = 0.25  # side of the hole, as a share of the image's
MIXUP_ALPHA = 0.2
CUTMIX_SHARE = 0.5  # of the images


@dataclass(frozen=True)
class Augment:
    """What is done to a training batch.

    Args:
        kind: `none`; `traditional` (flips, shifts, contrast, brightness, colour of the light); or one of
            `cutmix` (Yun et al., 2019), `cutout` (DeVries and Taylor, 2017), `mixup` (Zhang et al., 2018) on top of it.
        flips: directions of the flips.
    """

    kind: Augmentation = "traditional"
    flips: str = "h"

    @property
    def mixes(self) -> bool:
        """Whether an image takes from others of its batch."""
        return self.kind in ("cutmix", "mixup")

    def __call__(self, images: Tensor, targets: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Images (B, C, S, S) uint8 to float32 in [0, 1], and their targets (B, T).

        All random numbers come from `generator`, on the CPU, so that devices do not differ.
        """
        if self.kind == "none":
            return images.float() / 255, targets
        images = traditional(images, generator, self.flips)
        if self.kind == "cutmix":
            return cutmix(images, targets, generator)
        if self.kind == "cutout":
            return cutout(images, generator), targets
        if self.kind == "mixup":
            return mixup(images, targets, generator)
        return images, targets


def traditional(images: Tensor, generator: torch.Generator, flips: str = "h") -> Tensor:
    """Random flips and shifts, contrast, brightness, and a tint of the light where there is colour (section 4.2)."""
    count, channels, height, width = images.shape
    coins = torch.rand(2, count, generator=generator) < 0.5
    rows = _places(height, coins[0] & ("v" in flips), generator).to(images.device)
    columns = _places(width, coins[1] & ("h" in flips), generator).to(images.device)
    number = torch.arange(count, device=images.device)[:, None, None]
    # (B, S, S, C), which is channels_last after the permutation
    moved = images.permute(0, 2, 3, 1)[number, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2).float() / 255

    def draw(low: float, high: float, values: int = 1) -> Tensor:
        return (low + (high - low) * torch.rand(count, values, 1, 1, generator=generator)).to(images.device)

    mean = moved.mean((1, 2, 3), keepdim=True)
    moved = (moved - mean) * draw(1 - CONTRAST, 1 + CONTRAST) + mean + draw(-BRIGHTNESS, BRIGHTNESS)
    tint = draw(-LIGHTING, LIGHTING, channels) if channels > 1 else 0.0
    return (moved + tint).clamp(0, 1)


def cutmix(images: Tensor, targets: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A rectangle of another image of the batch, and of its target as much as its area."""
    count, _, height, width = images.shape
    other = torch.randperm(count, generator=generator).to(images.device)
    cut = 1 - torch.rand(count, generator=generator)  # Beta(1, 1), as in the paper
    cut = cut * (torch.rand(count, generator=generator) < CUTMIX_SHARE)
    inside = _boxes(height, width, cut.sqrt(), generator).to(images.device)
    kept = 1 - inside.float().mean((1, 2, 3))[:, None]
    return torch.where(inside, images[other], images), kept * targets + (1 - kept) * targets[other]


def cutout(images: Tensor, generator: torch.Generator) -> Tensor:
    """A square hole, filled with the image's mean."""
    count, _, height, width = images.shape
    inside = _boxes(height, width, torch.full((count,), CUTOUT), generator).to(images.device)
    return torch.where(inside, images.mean((2, 3), keepdim=True), images)


def mixup(images: Tensor, targets: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Weighted means of pairs of images and of their targets, the weight from Beta(0.2, 0.2)."""
    count = len(images)
    other = torch.randperm(count, generator=generator).to(images.device)
    kept = _beta(count, MIXUP_ALPHA, generator).to(images.device)
    mixed = torch.lerp(images[other], images, kept[:, None, None, None])
    return mixed, torch.lerp(targets[other], targets, kept[:, None])


def _places(side: int, flip: Tensor, generator: torch.Generator) -> Tensor:
    """Where each of the shifted and perhaps mirrored pixels comes from: (B, side), reflected at the border."""
    reach = max(1, round(side * SHIFT))
    shift = torch.randint(-reach, reach + 1, (len(flip), 1), generator=generator)
    place = torch.arange(side)[None] + shift
    place = place.abs()
    place = torch.where(place >= side, 2 * (side - 1) - place, place)
    return torch.where(flip[:, None], side - 1 - place, place)


def _boxes(height: int, width: int, side: Tensor, generator: torch.Generator) -> Tensor:
    """Boxes (B, 1, H, W), True inside: `side` as share of the image's, the centre anywhere, cut off at the border."""
    centre = torch.rand(2, len(side), 1, generator=generator)
    half = side[:, None] / 2
    y = (torch.arange(height) + 0.5)[None] / height
    x = (torch.arange(width) + 0.5)[None] / width
    rows, columns = (y - centre[0]).abs() < half, (x - centre[1]).abs() < half
    return (rows[:, :, None] & columns[:, None, :])[:, None]


def _beta(count: int, alpha: float, generator: torch.Generator) -> Tensor:
    """Draws of Beta(alpha, alpha)."""
    rng = np.random.default_rng(int(torch.randint(1 << 62, (), generator=generator)))
    return torch.from_numpy(rng.beta(alpha, alpha, count).astype(np.float32))
