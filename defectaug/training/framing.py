"""Whole images or windows at native scale: found out from features, so that small defects are not squeezed away."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from defectaug.data.framing import WHOLE, Framing
from defectaug.data.index import DataIndex
from defectaug.data.sample import Category, Sample
from defectaug.device import Compute
from defectaug.io.images import as_channels, probe, read_image, resize_float, white_of
from defectaug.io.progress import Log, Stages, silent
from defectaug.methods.features import ImageNetFeatures, find_weights, load_weights
from defectaug.methods.instances import Instances
from defectaug.methods.prior import FeaturePrior, evened
from defectaug.nn.ranking import auroc

Points = dict[int, NDArray[np.float64]]

LARGE = 1.5  # times the model's size, from which an image may lose a defect when it is squeezed
SMALL = 0.007  # share of an image, beyond that of normal ones, below which what stands out most is small
FILLED = 0.06  # share of a window that a defect may take before larger ones are cut
LOOKED_AT = 32  # images of a category, to decide by
CLEARER = 0.15  # area under the curve, by which images have to stand out more when they are seen whole
EVERY = 4  # one normal image in so many is kept apart, to compare with
SIDE = 1024  # pixels; larger images are looked at at this size
POINTS = 256  # kept an image


@dataclass(frozen=True)
class Framed:
    """How images become squares.

    Attributes:
        framings: of each product.
        points: of every defective sample that is seen in windows, by its number, places (N, 2) as shares of (height,
            width) where its defect may be; None for those of the masks.
    """

    framings: dict[str, Framing]
    points: Points | None = None

    def windows(self) -> dict[str, int]:
        """Sides of windows, by product."""
        return {product: one.window for product, one in self.framings.items() if one.window is not None}


def choose_framing(
    index: DataIndex, side: int, white: int, compute: Compute, log: Log, stages: Stages = silent
) -> Framed:
    """Looks for the places in defective images that normal ones of their product lack. Where these take little of the
    image with every defect, windows are cut around them, unless defective images stand out clearly more when they are
    seen whole: of a part that is missing, a window shows the table or the edge of a break, and the whole what lacks.
    Where the ImageNet weights are missing, images stay whole.

    Args:
        index: the training images.
        side: of the model's square.
        white: white level of 16-bit images.
        log, stages: lines and progress for the user.

    Raises:
        DataError: an image cannot be read any more.
    """
    weights = find_weights()
    if weights is None:
        return Framed(dict.fromkeys(index.products, WHOLE))
    features = ImageNetFeatures()
    load_weights(features, weights)
    features = features.to(compute.device)
    count = _Count(stages)
    near, far = (_Finder(features, compute, white, pixels, count.up) for pixels in (SIDE, side))
    numbers: dict[Category, list[int]] = {}
    for number, sample in enumerate(index.samples):
        numbers.setdefault(sample.category, []).append(number)
    framings: dict[str, Framing] = {}
    points: Points = {}
    for product in index.products:
        normal = numbers.get(Category(product, index.normal), [])
        defects = [numbers.get(Category(product, defect), []) for defect in index.defects[1:]]
        shown = [some for some in defects if some]
        framings[product], found = _framing(index, near, far, log, normal, shown, side, count)
        points |= found
    framed = Framed(framings, points)
    if windows := framed.windows():
        said = ", ".join(f"{product} {window} x {window}" for product, window in windows.items())
        log(f"defects are small beside their images: trained on in windows of so many pixels: {said} (data.framing)")
    return framed


def _framing(
    index: DataIndex, near: _Finder, far: _Finder, log: Log, normal: list[int], defects: list[list[int]], side: int,
    count: _Count,
) -> tuple[Framing, Points]:  # fmt: skip
    """Of one product, from the numbers of its images, looked at from near and from far."""
    sizes = [probe(index.samples[n].path).size for n in (*_some(normal), *(n for some in defects for n in some))]
    usual = (int(np.median([width for width, _ in sizes])), int(np.median([height for _, height in sizes])))
    if min(usual) < LARGE * side or len(normal) < 2 or not defects:
        return Framing(None, usual), {}
    looked_at = [index.samples[n] for n in _some(normal)]
    log(f"{looked_at[0].product}: looking how large defects are beside its images (data.framing)")
    sample = len(looked_at) + sum(len(_some(some)) for some in defects)
    count.begin(f"looking at {looked_at[0].product}", sample)
    instances, usually = near.normal(looked_at)
    usual_share = float(np.median([one.share for one in usually]))
    largest, clear = 0.0, []
    for label, some in enumerate(defects, start=1):
        found = [near.find(index.samples[number], instances, label) for number in _some(some)]
        largest = max(largest, float(np.median([one.share for one in found])) - usual_share)
        clear.append(_parted(found, usually))
        if largest >= SMALL:
            return Framing(None, usual), {}
    window = side << int(math.log2(max(1.0, math.sqrt(largest * usual[0] * usual[1] / FILLED) / side)))
    if window * LARGE > min(usual):
        return Framing(None, usual), {}
    count.total += sample
    whole, close = _clear(index, far, looked_at, defects), float(np.mean(clear))
    if whole > close + CLEARER:
        log(
            f"{looked_at[0].product}: defective images stand out more when seen whole (an AUROC of {whole:.2f}) "
            f"than from near ({close:.2f}): trained on whole (data.framing)"
        )
        return Framing(None, usual), {}
    instances.learn()
    labels = {number: label for label, some in enumerate(defects, start=1) for number in some}
    count.total += len(labels)
    points = {number: near.places(index.samples[number], instances, label) for number, label in labels.items()}
    return Framing(window, usual), points


def _clear(index: DataIndex, finder: _Finder, normal: list[Sample], defects: list[list[int]]) -> float:
    """How well defective images of all kinds, on average, are told from normal ones by what stands out in them."""
    instances, usually = finder.normal(normal)
    return float(np.mean([_parted([finder.find(index.samples[n], instances) for n in _some(some)], usually)
                          for some in defects]))  # fmt: skip


def _parted(found: Sequence[_Found], usually: Sequence[_Found]) -> float:
    """Area under the curve: the share of pairs of which the defective image has the clearer place."""
    return auroc([one.clearest for one in found], [one.clearest for one in usually])


def _some(numbers: list[int]) -> list[int]:
    return numbers[:: max(1, len(numbers) // LOOKED_AT)][:LOOKED_AT]


class _Count:
    """Shows how many images of a product have been looked at, each time that one is."""

    def __init__(self, stages: Stages) -> None:
        self._stages = stages
        self._show, self._done, self.total = silent(""), 0, 0

    def begin(self, stage: str, total: int) -> None:
        self._show, self._done, self.total = self._stages(stage), 0, total

    def up(self) -> None:
        self._done += 1
        self._show(self._done, self.total)


@dataclass(frozen=True)
class _Found:
    """What stands out in an image: the share of it that the clearest places take, and how clear the clearest is."""

    share: float
    clearest: float


@dataclass(frozen=True)
class _Finder:
    """Looks at images at native scale, the longer side at most ``side`` pixels; calls ``looked`` after each."""

    features: ImageNetFeatures
    compute: Compute
    white: int
    side: int
    looked: Callable[[], None]

    @torch.no_grad()
    def levels(self, sample: Sample) -> tuple[list[Tensor], tuple[int, int]]:
        """Features of an image, and its size (height, width) before padding."""
        image = read_image(sample.path)
        height, width = image.size
        scale = min(1.0, self.side / max(height, width))
        shape = (max(32, round(height * scale)), max(32, round(width * scale)))
        values = resize_float(as_channels(image.pixels, 3), shape) * np.float32(2 / white_of(image, self.white)) - 1
        x = torch.from_numpy(values.transpose(2, 0, 1).copy())[None].clamp(-1, 1).to(self.compute.device)
        x = F.pad(x, (0, -shape[1] % 16, 0, -shape[0] % 16), mode="replicate")
        with self.compute.autocast():
            levels = self.features(evened(x).contiguous(memory_format=torch.channels_last))
        self.looked()
        return levels, (shape[0], shape[1])

    def learn(self, normal: list[Sample]) -> FeaturePrior:
        prior = FeaturePrior(1).to(self.compute.device)
        zero, generator = torch.zeros(1, dtype=torch.long), torch.Generator().manual_seed(0)
        for number, sample in enumerate(normal):
            prior.observe(self.levels(sample)[0], zero, torch.tensor([number]), generator, places=256)
        prior.calibrate()
        return prior

    def normal(self, samples: list[Sample]) -> tuple[Instances, list[_Found]]:
        """What most of the normal images have taught, and what stands out in the others, of which instances are
        kept."""
        instances = Instances(self.learn([sample for place, sample in enumerate(samples) if place % EVERY]))
        return instances, [self.find(sample, instances) for sample in samples[::EVERY]]

    def find(self, sample: Sample, instances: Instances, label: int = 0) -> _Found:
        """What stands out in an image of a class; instances of it are kept."""
        levels, size = self.levels(sample)
        heat = _within(instances.observe(levels, label), size)
        level = float(heat.max()) / 2
        return _Found(float((heat > max(1.0, level)).float().mean()), 2 * level)

    def places(self, sample: Sample, instances: Instances, label: int) -> NDArray[np.float64]:
        """Where in an image what stands out is like that of the others of its class: (N, 2) shares of height and
        width."""
        levels, size = self.levels(sample)
        heat = _within(instances.evidence(levels, label), size)
        hot = torch.nonzero(heat >= heat.max() / 2).cpu().numpy()
        kept = hot[np.linspace(0, len(hot) - 1, min(len(hot), POINTS)).round().astype(int)]
        return np.asarray((kept + 0.5) / heat.shape)


def _within(heat: Tensor, size: tuple[int, int]) -> Tensor:
    """A map at stride 4 without the padding of an image (height, width)."""
    return heat[: -(-size[0] // 4), : -(-size[1] // 4)].float()
