"""Whole images or windows at native scale: found out from features, so that small defects are not squeezed away."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from defectaug.data.index import DataIndex
from defectaug.data.sample import Category, Sample
from defectaug.data.stores import white_of
from defectaug.device import Compute
from defectaug.io.images import as_channels, read_image, resize_float
from defectaug.methods.features import ImageNetFeatures, find_weights, load_weights
from defectaug.methods.prior import FeaturePrior
from defectaug.training.log import Log

Points = dict[int, NDArray[np.float64]]

LARGE = 1.5  # times the model's size, from which an image may lose a defect when it is squeezed
SMALL = 0.015  # share of an image, beyond that of normal ones, below which what stands out is small
LOOKED_AT = 32  # images of a category, and of the normal class of a product
SIDE = 1024  # pixels; larger images are looked at at this size
POINTS = 256  # kept an image


@dataclass(frozen=True)
class Framing:
    """How images become squares: ``kind`` is ``whole`` or ``crop``; for crops ``points`` gives, for every defective
    sample by its number, places (N, 2) as shares of (height, width) where its defect may be."""

    kind: Literal["whole", "crop"]
    points: Points


WHOLE = Framing("whole", {})


def choose_framing(index: DataIndex, white: int, compute: Compute, log: Log) -> Framing:
    """Looks for the places in defective images that normal ones of their product lack. Where they take little of the
    image in every category, windows are cut around them; where the ImageNet weights are missing, images stay whole.

    Args:
        index: the training images.
        white: white level of 16-bit images.

    Raises:
        DataError: an image cannot be read any more.
    """
    weights = find_weights()
    if weights is None:
        return WHOLE
    features = ImageNetFeatures()
    load_weights(features, weights)
    finder = _Finder(features.to(compute.device), compute, white)
    numbers: dict[Category, list[int]] = {}
    for number, sample in enumerate(index.samples):
        numbers.setdefault(sample.category, []).append(number)
    points: Points = {}
    for product in index.products:
        normal = [index.samples[n] for n in numbers.get(Category(product, index.normal), [])]
        normal = normal[:: max(1, len(normal) // LOOKED_AT)][:LOOKED_AT]
        if len(normal) < 2:
            return WHOLE
        prior = finder.learn(normal[1:])
        usual = finder.find(normal[0], prior)[1]
        for defect in index.defects[1:]:
            found = {n: finder.find(index.samples[n], prior) for n in numbers.get(Category(product, defect), [])}
            if found and float(np.median([share for _, share in found.values()])) - usual >= SMALL:
                return WHOLE
            points |= {number: places for number, (places, _) in found.items()}
    log("defects are small beside their images: training on windows at native scale (data.framing)")
    return Framing("crop", points)


@dataclass(frozen=True)
class _Finder:
    features: ImageNetFeatures
    compute: Compute
    white: int

    @torch.no_grad()
    def levels(self, sample: Sample) -> tuple[list[Tensor], tuple[int, int]]:
        """Features of an image at native scale, or at SIDE, and its padded size (height, width)."""
        image = read_image(sample.path)
        height, width = image.size
        scale = min(1.0, SIDE / max(height, width))
        shape = (max(32, round(height * scale)), max(32, round(width * scale)))
        values = resize_float(as_channels(image.pixels, 3), shape) * np.float32(2 / white_of(image, self.white)) - 1
        x = torch.from_numpy(values.transpose(2, 0, 1).copy())[None].clamp(-1, 1).to(self.compute.device)
        x = F.pad(x, (0, -shape[1] % 16, 0, -shape[0] % 16), mode="replicate")
        with self.compute.autocast():
            return self.features(x.contiguous(memory_format=torch.channels_last)), (shape[0], shape[1])

    def learn(self, normal: list[Sample]) -> FeaturePrior:
        prior = FeaturePrior(1).to(self.compute.device)
        zero, generator = torch.zeros(1, dtype=torch.long), torch.Generator().manual_seed(0)
        for number, sample in enumerate(normal):
            prior.observe(self.levels(sample)[0], zero, torch.tensor([number]), generator, places=256)
        prior.calibrate()
        return prior

    def find(self, sample: Sample, prior: FeaturePrior) -> tuple[NDArray[np.float64], float]:
        """Places that stand out, and the share of the image that they take."""
        levels, (height, width) = self.levels(sample)
        heat = prior.heat(levels, torch.zeros(1, dtype=torch.long))[0, 0, : -(-height // 4), : -(-width // 4)].float()
        hot = torch.nonzero(heat >= heat.max() / 2).cpu().numpy()
        kept = hot[np.linspace(0, len(hot) - 1, min(len(hot), POINTS)).round().astype(int)]
        return (kept + 0.5) / heat.shape, float((heat > 1).float().mean())
