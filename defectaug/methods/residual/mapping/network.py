"""M as a network: draws mask, structure, surroundings and style of a defect from noise, as the paper's does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from defectaug.methods.residual.defect import CLIP, Defect, masked_mean
from defectaug.methods.residual.mapping.frame import POSE, from_frame
from defectaug.nn.blocks import NoiseInjection, ResBlock, activate, conv3, linear

LATENT = 24
COARSE = 3  # side of the first maps
WIDTHS = (96, 64, 48, 32, 16)  # of each doubling of a defect's frame
SIDE = COARSE * 2 ** (len(WIDTHS) - 1)
AROUND = (64, 48, 32, 24)  # widths of the surroundings' maps
LEAST = 1e-3  # of a mask that a structure is divided by
FLAT = 0.3  # deviation of a structure that is taken for a fault of M, not for grain
EDGE = 4.0  # contrast of a mask's edge
QUIETEST, LOUDEST = 0.03, 1.0  # deviations of a drawn number, over that of the category


@dataclass(frozen=True)
class Drawing:
    """N defects in frames of their own: ``logits`` of the mask (N, 1, SIDE, SIDE), ``structure`` (N, C, SIDE, SIDE),
    what lies ``around`` (N, C, h, h); ``mean`` and ``deviation`` (N, K) of pose and style, over those of the bank."""

    logits: Tensor
    structure: Tensor
    around: Tensor
    mean: Tensor
    deviation: Tensor

    def __getitem__(self, rows: slice) -> Drawing:
        return Drawing(*(getattr(self, one.name)[rows] for one in fields(self)))


class Mapping(nn.Module):
    """z to a defect in a frame of its own (:mod:`defectaug.methods.residual.mapping.frame`), where that frame lies, how
    it is turned and how large it is, the style, and what surrounds it.

    ``centre`` and ``spread`` (categories, LATENT) are where the defects of each product and class lie in the space of
    z; ``mean`` and ``deviation`` those of the numbers, ``least`` and ``most`` their bounds in the bank; ``steps`` that
    training has taken.

    Args:
        size, channels: of the images.
        categories: products times defect classes.
        context: side of the surroundings, COARSE times a power of 2.
    """

    centre: Tensor
    spread: Tensor
    mean: Tensor
    deviation: Tensor
    least: Tensor
    most: Tensor
    steps: Tensor

    def __init__(self, size: int, channels: int, categories: int, context: int) -> None:
        super().__init__()
        self.size, self.context = size, context
        self.numbers = POSE + channels + 1
        self.category = nn.Embedding(categories, LATENT)
        wide = 2 * LATENT
        self.trunk = nn.Sequential(linear(wide, 128), nn.LeakyReLU(0.2), linear(128, 128), nn.LeakyReLU(0.2))
        self.start = linear(128, WIDTHS[0] * COARSE**2)
        self.ups = nn.ModuleList(ResBlock(a, b, "up") for a, b in pairwise(WIDTHS))
        self.grain = nn.ModuleList(NoiseInjection(width) for width in WIDTHS[1:])
        self.out = conv3(WIDTHS[-1], 1 + channels)
        self.around_start = linear(128, AROUND[0] * COARSE**2)
        self.around_ups = nn.ModuleList(ResBlock(a, b, "up") for a, b in pairwise(AROUND))
        self.around_out = conv3(AROUND[-1], channels)
        self.vector = nn.Sequential(linear(128, 64), nn.LeakyReLU(0.2), linear(64, 2 * self.numbers, gain=0.3))
        self.register_buffer("centre", torch.zeros(categories, LATENT))
        self.register_buffer("spread", torch.ones(categories, LATENT))
        self.register_buffer("mean", torch.zeros(self.numbers))
        self.register_buffer("deviation", torch.ones(self.numbers))
        self.register_buffer("least", torch.full((self.numbers,), -1.0))
        self.register_buffer("most", torch.ones(self.numbers))
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    def forward(self, z: Tensor, category: Tensor, grain: Tensor) -> Drawing:
        """From z (N, LATENT), categories (N,) and noise (N, 1, SIDE, SIDE)."""
        h = self.trunk(torch.cat([z, self.category(category)], 1))
        maps = self.start(h).unflatten(1, (-1, COARSE, COARSE))
        for up, noise in zip(self.ups, self.grain, strict=True):
            maps = up(maps)
            maps = noise(maps, grain[..., : maps.shape[-2], : maps.shape[-1]])
        shape = self.out(activate(maps)).float()
        around = self.around_start(h).unflatten(1, (-1, COARSE, COARSE))
        for up in self.around_ups:
            around = up(around)
        around = torch.tanh(self.around_out(activate(around)).float())
        around = F.interpolate(around, size=(self.context, self.context), mode="bilinear", align_corners=False)
        mean, deviation = self.vector(h).float().chunk(2, 1)
        deviation = QUIETEST + (LOUDEST - QUIETEST) * torch.sigmoid(deviation)
        return Drawing(shape[:, :1], CLIP * torch.tanh(shape[:, 1:] / CLIP), around, mean, deviation)

    def near(self, category: Tensor, noise: Tensor) -> Tensor:
        """z (N, LATENT) as those of the categories (N,) are spread, from noise of variance 1."""
        return self.centre[category] + self.spread[category] * noise

    def draw(self, label: Tensor, category: Tensor, generators: Sequence[torch.Generator]) -> Defect:
        """One defect a generator, of classes and categories (N,)."""
        z, noise = (
            torch.stack([torch.randn(n, generator=g) for g in generators]).to(label.device)
            for n in (LATENT, self.numbers)
        )
        grain = torch.stack([torch.randn(1, SIDE, SIDE, generator=g) for g in generators]).to(label.device)
        drawing = self(self.near(category, z), category, grain)
        numbers = self.mean + self.deviation * (drawing.mean + drawing.deviation * noise)
        numbers = numbers.clamp(self.least, self.most)
        pose, style = numbers[:, :POSE], numbers[:, POSE:]
        mask = sharp(torch.sigmoid(drawing.logits))
        maps = from_frame(torch.cat([mask, mask * drawing.structure], 1), pose, self.size)
        mask = maps[:, :1]
        structure = torch.where(mask > 0, maps[:, 1:] / mask.clamp(min=LEAST), 0.0)
        edges = torch.zeros(len(label), 4, dtype=torch.bool, device=label.device)
        return Defect(mask, toneless(structure, mask), style, drawing.around, label, edges)


def toneless(structure: Tensor, mask: Tensor) -> Tensor:
    """Structures (N, C, S, S) of mean 0 and, in common, deviation 1 in masks, as those that are read from images."""
    structure = structure - masked_mean(structure, mask)
    deviation = masked_mean(structure.square(), mask).mean(1, keepdim=True).sqrt()
    return (structure / deviation.clamp(min=FLAT)).clamp(-CLIP, CLIP) * (mask > 0)


def sharp(mask: Tensor) -> Tensor:
    """Masks in [0, 1] as nearly 0 or 1, never empty."""
    level = (0.5 * mask.amax((2, 3), keepdim=True)).clamp(max=0.5)
    return ((mask - level) * EDGE + 0.5).clamp(0, 1)
