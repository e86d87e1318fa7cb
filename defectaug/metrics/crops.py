"""Crops around defects at native scale, and what a classifier makes of them: real or synthetic, and which defect.

Images are arrays (H, W) or (H, W, C). The classifier is a parameter: the small one of this package, or one that starts
from ImageNet weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from defectaug.device import Compute
from defectaug.metrics.augmentation import Augment
from defectaug.metrics.classifier import RATES, CategorySampler, Labelled, Recipe, build, fit, predict

Mask = NDArray[np.bool_]
Integers = NDArray[np.int64]


class Classify(Protocol):
    """Trains a new classifier and predicts with it."""

    def __call__(self, images: NDArray, labels: Integers, queries: NDArray, seed: int) -> Integers:
        """Class numbers (M,) of queries (M, S, S[, C]), after training on images (N, S, S[, C]) with labels (N,)."""
        ...


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
