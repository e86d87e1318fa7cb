"""What defects are like by their masks, how far sets of them are apart, and what a classifier makes of crops of them:
real or synthetic, and which defect.

Images are grey (H, W) in grey levels of 0 to 255, or (H, W, C) where they are only cut; masks (H, W) are booleans.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.ndimage import binary_dilation
from scipy.spatial.distance import cdist, pdist
from scipy.stats import wasserstein_distance

from defectaug.io.images import resize_float
from defectaug.metrics.defects import crop

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]
Integers = NDArray[np.int64]
Classify = Callable[[NDArray, Integers, NDArray, int], Integers]
"""Trains a new classifier on images (N, S, S[, C]) with labels (N,), and gives class numbers (M,) of further images.
The last argument is the seed."""
SIDE = 128  # pixels, to which images are squeezed to be described
RING = (2, 6)  # pixels about a mask between which the surround lies
BLOCK = 2  # pixels over which maps are averaged, so that a shift by one does not make another defect


@dataclass(frozen=True)
class DefectStatistics:
    """Of N defects.

    Args:
        tone: (N,), mean grey level within the mask, over that of its surround.
        contrast: (N,), standard deviation of the grey levels within the mask.
        centred: (N, P), grey levels over the surround within the mask, moved to the middle, 0 elsewhere; P is the
            number of pixels of an image over BLOCK squared.
    """

    tone: Floats
    contrast: Floats
    centred: Floats

    @staticmethod
    def of(images: Sequence[NDArray], masks: Sequence[Mask]) -> DefectStatistics:
        """From grey images and their masks, (H, W) each, squeezed to SIDE. An empty mask counts as its middle pixel."""
        rows = [
            _describe(resize_float(image, (SIDE, SIDE)), resize_float(mask.astype(np.float32), (SIDE, SIDE)) > 0.25)
            for image, mask in zip(images, masks, strict=True)
        ]
        return DefectStatistics(*(np.stack(column).astype(np.float32) for column in zip(*rows, strict=True)))


def _describe(image: Floats, mask: Mask) -> tuple:
    if not mask.any():
        mask = np.zeros_like(mask)
        mask[SIDE // 2, SIDE // 2] = True
    surround = dilated(mask, RING[1]) & ~dilated(mask, RING[0])
    contrast = np.where(mask, image - (image[surround] if surround.any() else image).mean(), 0)
    shift = tuple(np.rint(np.array(mask.shape) / 2 - np.argwhere(mask).mean(0)).astype(int))
    blocks = np.roll(contrast, shift, (0, 1)).reshape(SIDE // BLOCK, BLOCK, SIDE // BLOCK, BLOCK)
    inside = contrast[mask]
    return inside.mean(), inside.std(), blocks.mean((1, 3)).ravel()


def dilated(mask: Mask, reach: int) -> Mask:
    """The mask (H, W) widened by a square of `reach` pixels to each side."""
    return binary_dilation(mask, np.ones((2 * reach + 1, 2 * reach + 1)))


def iou(a: Mask, b: Mask) -> float:
    """Intersection over union of two masks; 1 if both are empty. The overlap of a transfer with its reference."""
    union = np.count_nonzero(a | b)
    return np.count_nonzero(a & b) / union if union else 1.0


def moved_iou(a: Mask, b: Mask) -> float:
    """The greatest :func:`iou` of two masks of any size, one of them moved; 1 if both are empty."""
    size = [fft.next_fast_len(m + n - 1) for m, n in zip(a.shape, b.shape, strict=True)]
    spectra = fft.rfft2(a.astype(np.float32), size) * np.conj(fft.rfft2(b.astype(np.float32), size))
    overlap = float(fft.irfft2(spectra, size).max())
    union = np.count_nonzero(a) + np.count_nonzero(b) - overlap
    return overlap / union if union > 0.5 else 1.0


def nearest_training_defect(maps: Floats, training: Floats) -> Floats:
    """Distance (N,) of each map (N, P) to the nearest of the training defects (M, P): |a - b| over |a| + |b|, 0 for
    copies, of `centred` maps moved ones, too, 1 where they do not overlap.

    To be compared with the same of real defects that training has not seen.
    """
    sums = np.abs(maps).sum(1)[:, None] + np.abs(training).sum(1)[None]
    return (cdist(maps, training, "cityblock") / np.maximum(sums, 1e-6)).min(1)


def distribution_distance(synthetic: Floats, real: Floats, *, halvings: int = 50, seed: int = 0) -> float:
    """How far two samples of a number, such as tone or contrast, are apart: (N,) and (M,), M at least 2.

    Wasserstein distance of both over that of two random halves of the real ones, as a mean over `halvings`: about 1 or
    less where the samples are of one distribution.
    """
    rng = np.random.default_rng(seed)
    half = len(real) // 2
    orders = [rng.permutation(real) for _ in range(halvings)]
    within = np.mean([wasserstein_distance(order[:half], order[half:]) for order in orders])
    return float(wasserstein_distance(synthetic, real) / max(within, 1e-9))


def style_effect(images: NDArray, mask: Mask) -> tuple[float, float]:
    """Mean difference (grey levels) of images (K, H, W) of one shape in K styles, inside and outside its mask (H, W).

    Over all pairs of styles; 0 where the style has no effect, or where the mask leaves no such pixel.
    """
    images = np.asarray(images, np.float32)
    parts = (images[:, mask], images[:, ~mask])
    return tuple(float(pdist(part, "cityblock").mean() / part.shape[1]) if part.size else 0.0 for part in parts)  # type: ignore[return-value]


def near_defect(image: NDArray, mask: Mask, side: int, rng: np.random.Generator, *, offset: int = 0) -> NDArray:
    """A crop about a random pixel of the mask (H, W), moved by up to `offset` pixels each way, to train on."""
    return crop(image, rng.choice(np.argwhere(mask)) + rng.integers(-offset, offset + 1, 2), side)


def anywhere(image: NDArray, side: int, rng: np.random.Generator) -> NDArray:
    """A crop about a random pixel, as normal images give them."""
    return crop(image, rng.integers(0, image.shape[:2]), side)


def halves(count: int, limit: int, rng: np.random.Generator) -> tuple[Integers, Integers]:
    """Numbers below `count` in two parts of `limit` // 2 each, without a common one."""
    order = rng.permutation(count)
    return order[: limit // 2], order[limit // 2 : 2 * (limit // 2)]


def told_from_real(
    real: Mapping[str, NDArray], synthetic: Mapping[str, NDArray], classify: Classify, seed: int = 0
) -> dict[str, float]:
    """Share of crops that a classifier tells right to be real or synthetic; 0.5 is as good as synthetic ones can be.

    Half of the crops (N, S, S[, C]) train it, it is asked about the others. Every category gives as many real as
    synthetic ones, so that their mixture tells nothing.

    Returns:
        The share of each category with two crops of both kinds or more, and of "all". Empty without such.
    """
    rng = np.random.default_rng(seed)
    train, test, labels, asked, names = [], [], [], [], []
    for name in sorted(real.keys() & synthetic.keys()):
        limit = min(len(real[name]), len(synthetic[name]))
        for kind, crops in enumerate((real[name], synthetic[name])):
            first, second = halves(len(crops), limit, rng)
            train.append(crops[first])
            test.append(crops[second])
            labels += [kind] * len(first)
            asked += [kind] * len(second)
            names += [name] * len(second)
    if not asked:
        return {}
    named = classify(np.concatenate(train), np.array(labels), np.concatenate(test), seed)
    right = named == np.array(asked)
    return shares(right, names) | {"all": float(right.mean())}


def named(
    learn: Mapping[str, NDArray], asked: Mapping[str, NDArray], classify: Classify, seed: int = 0
) -> dict[str, list[str]]:
    """What a classifier that has learnt from images (N, S, S[, C]) by name calls others, which come in named groups."""
    names = sorted(learn)
    labels = np.repeat(np.arange(len(names)), [len(learn[name]) for name in names])
    queries = np.concatenate(list(asked.values()))
    numbers = classify(np.concatenate([learn[name] for name in names]), labels, queries, seed)
    ends = np.cumsum([len(group) for group in asked.values()])[:-1]
    return {
        group: [names[number] for number in part]
        for group, part in zip(asked, np.split(np.asarray(numbers), ends), strict=True)
    }


def shares(right: NDArray[np.bool_], names: list[str]) -> dict[str, float]:
    """Share of right answers (N,) of each name (N,)."""
    return {name: float(right[np.array(names) == name].mean()) for name in sorted(set(names))}
