"""A first guess of where defects are, from features of normal images alone (PatchCore, Roth et al. 2022)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from defectaug.methods.features import CHANNELS
from defectaug.methods.nearest import Search

NEAREST = 3
PLACES, APART = 4096, 1024  # kept a product; of other images, to compare with
EVERY = 5  # one image in so many is among the others
LEAST = 16  # places without which nothing can be said
DIMENSIONS = sum(CHANNELS)
PATCH, AROUND = 8, 9  # pixels; patches a side of what counts as the surroundings of a place
CONTRAST, LEAST_CONTRAST = 0.35, 0.05  # in units of [-1, 1]
LEVEL = 1  # stride 4


def evened(x: Tensor) -> Tensor:
    """Images (N, C, H, W) in [-1, 1] with brightness and contrast of the surroundings taken out, in all channels alike:
    parts that were photographed under different light, or are polished differently, look more alike."""
    height, width = x.shape[2:]
    grid = max(1, height // PATCH), max(1, width // PATCH)

    def around(values: Tensor) -> Tensor:
        padded = F.pad(F.adaptive_avg_pool2d(values, grid), (AROUND // 2,) * 4, mode="replicate")
        return F.avg_pool2d(padded, AROUND, 1)

    grey = x.mean(1, keepdim=True)
    mean = around(grey)
    deviation = (around(grey.square()) - mean.square()).clamp(min=0).sqrt()
    mean, deviation = (
        F.interpolate(one, size=(height, width), mode="bilinear", align_corners=False) for one in (mean, deviation)
    )
    return ((x - mean) * CONTRAST / (deviation + LEAST_CONTRAST)).clamp(-1, 1)


def embed(levels: list[Tensor]) -> Tensor:
    """Features at all strides, locally averaged, joined at stride 4: (N, DIMENSIONS, h, w); every level weighs
    alike."""
    height, width = levels[LEVEL].shape[-2:]
    size = (height, width)
    parts = []
    for level in levels:
        level = level.float()
        pooled = F.adaptive_avg_pool2d(level, size) if level.shape[-1] > size[-1] else F.avg_pool2d(level, 3, 1, 1)
        if pooled.shape[-2:] != size:
            pooled = F.interpolate(pooled, size=size, mode="bilinear", align_corners=False)
        parts.append(pooled / level.shape[1] ** 0.5)
    return torch.cat(parts, dim=1)


def is_apart(key: int) -> bool:
    """Whether a normal image is among those that calibrate, not those that are compared with."""
    return key % EVERY == EVERY - 1


class FeaturePrior(nn.Module):
    """Distance of every place to the nearest places of normal images of its product, 0 at the median and 1 at the 99th
    percentile of *other* normal images. Filled from batches during the warm-up of a run (reservoir sampling); buffers
    alone, no weights.

    Args:
        products: number of products.
    """

    bank: Tensor
    apart: Tensor
    seen: Tensor
    scale: Tensor
    levels: Tensor

    def __init__(self, products: int) -> None:
        super().__init__()
        self.register_buffer("bank", torch.zeros(products, PLACES, DIMENSIONS))
        self.register_buffer("apart", torch.zeros(products, APART, DIMENSIONS))  # of images that are not in the bank
        self.register_buffer("seen", torch.zeros(products, 2, dtype=torch.long))
        self.register_buffer("scale", torch.ones(products, DIMENSIONS))
        self.register_buffer("levels", torch.tensor([[0.0, 1.0]]).repeat(products, 1))
        self._searches: dict[int, Search] = {}  # made of bank and scale when they are first needed
        self.register_load_state_dict_post_hook(lambda module, _: module._searches.clear())

    @torch.no_grad()
    def observe(
        self, levels: list[Tensor], product: Tensor, key: Tensor, generator: torch.Generator, places: int = 128
    ) -> None:
        """Adds places of normal images, which the numbers ``key`` (N,) name, of the products (N,)."""
        self._searches.clear()
        embedded = embed(levels).flatten(2).transpose(1, 2)
        for row, number, image in zip(embedded, product.tolist(), key.tolist(), strict=True):
            picked = row[torch.randperm(len(row), generator=generator)[:places].to(row.device)]
            part = int(is_apart(int(image)))
            kept = (self.bank, self.apart)[part][number]
            seen = int(self.seen[number, part])
            if seen < len(kept):
                slots = torch.arange(seen, min(seen + len(picked), len(kept)))
            else:
                slots = torch.randint(len(kept), (len(picked) * len(kept) // (seen + len(kept)),), generator=generator)
            kept[slots.to(row.device)] = picked[: len(slots)]
            self.seen[number, part] += len(picked)

    def _known(self, number: int) -> Tensor:
        return self.bank[number, : int(self.seen[number, 0].clamp(max=PLACES))]

    @torch.no_grad()
    def calibrate(self) -> None:
        """Fixes the scales once the bank is filled."""
        for number in range(len(self.bank)):
            known = self._known(number)
            if len(known) < LEAST:
                continue
            self.scale[number] = known.std(0).clamp(min=1e-3)
            self._searches.pop(number, None)
            others = self.apart[number, : int(self.seen[number, 1].clamp(max=APART))]
            alone = len(others) < LEAST  # one or two normal images: compared with themselves
            places = known[:: max(1, len(known) // APART)] if alone else others
            distance = self._distance(places, number, skip=int(alone))
            self.levels[number] = torch.stack([distance.median(), torch.quantile(distance, 0.99)])

    def _distance(self, places: Tensor, number: int, skip: int = 0) -> Tensor:
        if number not in self._searches:
            self._searches[number] = Search.among(self._known(number) / self.scale[number], NEAREST + 1)
        nearest = self._searches[number].nearest(places / self.scale[number], NEAREST + skip)
        return nearest[:, skip:].sqrt().mean(1)

    def scaled(self, levels: list[Tensor], number: int) -> Tensor:
        """Features of one image's places (P, D), in units of their spread on normal images of the product."""
        return embed(levels)[0].flatten(1).T / self.scale[number]

    @torch.no_grad()
    def forward(self, levels: list[Tensor], product: Tensor, size: int) -> Tensor:
        """Features of images of the products (N,) to maps (N, 1, size, size)."""
        return F.interpolate(self.heat(levels, product), size=(size, size), mode="bilinear", align_corners=False)

    @torch.no_grad()
    def heat(self, levels: list[Tensor], product: Tensor) -> Tensor:
        """The same at stride 4, (N, 1, h, w); zeros where a product has no normal images."""
        embedded = embed(levels)
        maps = torch.zeros(len(product), 1, *embedded.shape[-2:], device=embedded.device)
        for number in product.unique().tolist():
            rows = (product == number).nonzero().flatten()
            if len(self._known(number)) < LEAST:
                continue
            low, high = self.levels[number]
            places = embedded[rows].permute(0, 2, 3, 1).flatten(0, 2)
            distance = (self._distance(places, number) - low) / (high - low).clamp(min=1e-6)
            maps[rows] = distance.view(len(rows), 1, *embedded.shape[-2:])
        return maps
