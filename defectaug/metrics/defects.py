"""Defects by their masks: where they lie, their shape, tone and contrast, distances between them; and crops around
them at native scale, with what a classifier makes of these: real or synthetic, and which defect.

Images are grey (H, W) in grey levels of 0 to 255, or (H, W, C) where they are only cut; masks (H, W) are booleans. The
classifier is a parameter: the small one of this package, or one that starts from ImageNet weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, gaussian_gradient_magnitude
from scipy.spatial.distance import cdist, pdist
from scipy.stats import wasserstein_distance

from defectaug.device import Compute
from defectaug.io.images import resize_float
from defectaug.metrics.augmentation import Augment
from defectaug.metrics.classifier import RATES, CategorySampler, Labelled, Recipe, build, fit, predict

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]
Integers = NDArray[np.int64]
SIDE = 128  # pixels, to which images are squeezed to be described
RING = (2, 6)  # pixels about a mask between which the surround lies
TRAITS = (*["tone or colour"] * 3, "contrast", "grain", "brightness", "contrast", "grain", "colour")
FLOOR = np.array([12, 12, 12, 12, 6, 25, 12, 4, 20], np.float32)  # of each trait, grey levels: less is not odd
BLOCK = 2  # pixels over which maps are averaged, so that a shift by one does not make another defect


@dataclass(frozen=True)
class DefectStatistics:
    """Of N defects. P is the number of pixels of an image over BLOCK squared.

    Args:
        place: (N, 2), centre of the mask, pixels.
        shape: (N, P), the mask, widened by a pixel and moved to the middle; 0 and 1.
        tone: (N,), mean grey level within the mask, over that of its surround.
        contrast: (N,), standard deviation of the grey levels within the mask.
        area: (N,), share of the image.
        placed: (N, P), grey levels over the surround within the mask, where it lies, 0 elsewhere.
        centred: (N, P), the same moved to the middle.
    """

    place: Floats
    shape: Floats
    tone: Floats
    contrast: Floats
    area: Floats
    placed: Floats
    centred: Floats

    @staticmethod
    def of(images: Sequence[NDArray], masks: Sequence[Mask]) -> DefectStatistics:
        """From grey images and their masks, (H, W) each, squeezed to SIDE. An empty mask counts as its middle pixel."""
        rows = [
            _describe(resize_float(image, (SIDE, SIDE)), squeezed_mask(mask))
            for image, mask in zip(images, masks, strict=True)
        ]
        return DefectStatistics(*(np.stack(column).astype(np.float32) for column in zip(*rows, strict=True)))

    def __len__(self) -> int:
        return len(self.tone)

    def spread(self) -> dict[str, float]:
        """Mean distance of two defects in place (pixels), shape (1 - IoU) and look (tone and contrast, grey levels)."""
        look = np.stack([self.tone, self.contrast], 1)
        shapes = pdist(self.shape.astype(bool), "jaccard")
        return {"place": pdist(self.place).mean(), "shape": shapes.mean(), "look": pdist(look).mean()}


def _describe(image: Floats, mask: Mask) -> tuple:
    if not mask.any():
        mask = np.zeros_like(mask)
        mask[mask.shape[0] // 2, mask.shape[1] // 2] = True
    surround = dilated(mask, RING[1]) & ~dilated(mask, RING[0])
    contrast = np.where(mask, image - (image[surround] if surround.any() else image).mean(), 0)
    place = np.argwhere(mask).mean(0)
    shift = tuple(np.rint(np.array(mask.shape) / 2 - place).astype(int))
    shape = block_means(np.roll(dilated(mask, 1), shift, (0, 1)).astype(np.float32)) > 0
    placed, centred = block_means(contrast), block_means(np.roll(contrast, shift, (0, 1)))
    inside = contrast[mask]
    return place, shape.ravel(), inside.mean(), inside.std(), mask.mean(), placed.ravel(), centred.ravel()


def squeezed_mask(mask: Mask) -> Mask:
    """A mask (H, W) as (SIDE, SIDE): True where a quarter of the pixels was."""
    return resize_float(mask.astype(np.float32), (SIDE, SIDE)) > 0.25


def dilated(mask: Mask, reach: int) -> Mask:
    """The mask (H, W) widened by a square of `reach` pixels to each side."""
    return binary_dilation(mask, np.ones((2 * reach + 1, 2 * reach + 1)))


def block_means(image: Floats) -> Floats:
    """Means over squares of BLOCK pixels, (H, W) to (H / BLOCK, W / BLOCK)."""
    height, width = image.shape
    return image.reshape(height // BLOCK, BLOCK, width // BLOCK, BLOCK).mean((1, 3))


def iou(a: Mask, b: Mask) -> float:
    """Intersection over union of two masks; 1 if both are empty. The overlap of a transfer with its reference."""
    union = np.count_nonzero(a | b)
    return np.count_nonzero(a & b) / union if union else 1.0


def map_distances(a: Floats, b: Floats) -> Floats:
    """|a - b| over |a| + |b| (N, M) of maps (N, P) and (M, P): 0 for copies, 1 where they do not overlap."""
    sums = np.abs(a).sum(1)[:, None] + np.abs(b).sum(1)[None]
    return (cdist(a, b, "cityblock") / np.maximum(sums, 1e-6)).astype(np.float32)


def nearest_training_defect(maps: Floats, training: Floats, *, same: bool = False) -> Floats:
    """Distance (N,) of each map (N, P) to the nearest of the training defects (M, P).

    Of `centred` maps a moved copy has 0, too. To be compared with the same of real defects that training has not seen.

    Args:
        same: both are the same defects, and none is compared with itself.
    """
    distances = map_distances(maps, training)
    if same:
        np.fill_diagonal(distances, np.inf)
    return distances.min(1)


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


def traits(colour: Floats, mask: Mask | None) -> Floats:
    """What an image (H, W, 3) is like, in grey levels, (T,) as `TRAITS` names: of the defect the colour over the
    surround, contrast and grain, nan without a mask; of the image brightness, contrast, grain and strongest colour."""
    grey = colour.mean(2)
    grain = gaussian_gradient_magnitude(grey, 0.7)
    chroma = np.percentile(colour.max(2) - colour.min(2), 99.5)
    whole = [grey.mean(), grey.std(), float(np.median(grain)), chroma]
    inner = [np.nan] * 5
    if mask is not None:
        ring = binary_dilation(mask, iterations=4) & ~mask
        around = colour[ring].mean(0) if ring.any() else colour.mean((0, 1))
        inner = [*(colour[mask].mean(0) - around), grey[mask].std(), grain[mask].mean()]
    return np.array([*inner, *whole], np.float32)


def odd_ones(
    queries: Sequence[Floats], known: Sequence[Floats], unseen: Sequence[Floats], same: bool
) -> tuple[list[str], int]:
    """Of each query (T,) the trait in which it lies far outside what is known, "" for none; and of how many unseen
    ones that is so. `same`: these are the known ones, each of which is held against the others."""
    if len(known) < 3:
        return [""] * len(queries), 0
    rows = np.stack(known)

    def odd(one: Floats, rows: Floats) -> str:
        with np.errstate(invalid="ignore"):
            low, high = np.fmin.reduce(rows, 0), np.fmax.reduce(rows, 0)
            room = np.maximum(high - low, FLOOR)
            beyond = np.maximum(low - one, one - high) / room
        beyond = np.where(np.isfinite(beyond), beyond, 0)
        return TRAITS[int(beyond.argmax())] if beyond.max() > 1 else ""

    real = sum(bool(odd(one, np.delete(rows, n, 0) if same else rows)) for n, one in enumerate(unseen))
    return [odd(one, rows) for one in queries], real


Classify = Callable[[NDArray, Integers, NDArray, int], Integers]
"""Trains a new classifier on images (N, S, S[, C]) with labels (N,), and gives class numbers (M,) of further images.
The last argument is the seed."""


def small_classifier(compute: Compute, steps: int, *, batch: int = 48) -> Classify:
    """The small classifier, trained from scratch with every class drawn equally often."""

    def classify(images: NDArray, labels: Integers, queries: NDArray, seed: int) -> Integers:
        shown, asked = (
            torch.from_numpy(some.reshape(*some.shape[:3], -1)).permute(0, 3, 1, 2) for some in (images, queries)
        )
        classes = int(labels.max()) + 1
        classifier = build("small", classes, channels=shown.shape[1], seed=seed)
        sampler = CategorySampler(labels, np.zeros(len(labels), bool), batch=batch, seed=seed)
        data = Labelled.of(shown, torch.from_numpy(labels), classes)
        fit(classifier, data, sampler, Recipe(steps, RATES["small"]), compute, augment=Augment(flips="hv"), seed=seed)
        return predict(classifier, asked, compute).argmax(1).numpy()

    return classify


def crop(image: NDArray, centre: NDArray, side: int) -> NDArray:
    """side x side pixels about a centre, moved to lie within the image, which is mirrored where it is smaller."""
    short = [(0, max(side - length, 0)) for length in image.shape[:2]]
    image = np.pad(image, [*short, *[(0, 0)] * (image.ndim - 2)], mode="symmetric")
    top, left = np.clip(np.asarray(centre) - side // 2, 0, np.array(image.shape[:2]) - side)
    return image[top : top + side, left : left + side]


def around_defect(image: NDArray, mask: Mask, side: int) -> NDArray:
    """The crop about the pixel of the mask (H, W) that is nearest to its centre; about the image's if it is empty."""
    where = np.argwhere(mask)
    if not len(where):
        return crop(image, np.array(image.shape[:2]) // 2, side)
    return crop(image, where[np.abs(where - where.mean(0)).sum(1).argmin()], side)


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
