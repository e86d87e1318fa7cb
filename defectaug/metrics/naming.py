"""A classifier trained on the real images names product and defect, of synthetic and of held-out real images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from defectaug.data.sample import Category
from defectaug.data.splits import split
from defectaug.device import Compute
from defectaug.metrics.array_cache import digest
from defectaug.metrics.augmentation import Augment
from defectaug.metrics.classifier import RATES, CategorySampler, Labelled, Recipe, build, fit, predict
from defectaug.metrics.context import Scene
from defectaug.metrics.image_statistics import ImageSet
from defectaug.metrics.pixels import Decoded, Form, decode

Shares = NDArray[np.float32]


@dataclass(frozen=True)
class JudgeSettings:
    """How the classifier is trained: once for each of `folds` parts of the real images, on the other parts."""

    folds: int = 3
    steps: int = 300
    batch_size: int = 48
    image_size: int = 128
    flips: str = "h"


@dataclass(frozen=True)
class Named:
    """What the classifiers say of a set of images.

    Args:
        categories: the product and defect that each column of `shares` stands for.
        shares: (N, K) probabilities; of images that no classifier may judge all are nan.
    """

    categories: tuple[Category, ...]
    shares: Shares

    @property
    def judged(self) -> NDArray[np.bool_]:
        """(N,) whether an image was judged."""
        return np.asarray(np.isfinite(self.shares).all(axis=1))

    def names(self, part: int) -> list[str]:
        """The likeliest product (part 0) or defect (part 1) of each image, whatever the other one is."""
        known = sorted({cell[part] for cell in self.categories})
        belongs = np.array([[cell[part] == name for name in known] for cell in self.categories], np.float32)
        return [known[number] for number in np.nan_to_num(self.shares @ belongs).argmax(1)]


@dataclass(frozen=True)
class Verdicts:
    """What was named: of each synthetic set, and of the yardstick, which is held-out real images."""

    synthetic: tuple[Named, ...]
    real: Named
    yardstick: ImageSet


def judge(scene: Scene, settings: JudgeSettings, compute: Compute) -> Verdicts:
    """Trains the classifiers, or takes what they have said already from the cache.

    Real images are judged by the one classifier that has not seen them or a near-duplicate of them; where there is a
    test set, that is judged instead, by the mean of all; synthetic ones are judged by the mean of all, too.
    """
    channels = 3 if any(look.mode.endswith("colour") for look in scene.real.looks) else 1
    form = Form(settings.image_size, channels, scene.white)
    folds = _folds(scene, settings.folds)
    cells = tuple(scene.real.categories)
    others = [*scene.synthetic, *([scene.test] if scene.test else [])]
    prints = [scene.real.prints, folds.tolist(), *(one.prints for one in others)]
    kind = f"named-{digest([asdict(settings), form, cells, scene.seed, compute.device.type, compute.bf16, *prints])}"
    kept = scene.cache.rows(kind)
    show, total = scene.stage("judging by a classifier"), settings.folds * settings.steps
    sums = [np.zeros((len(one), len(cells)), np.float32) for one in others]
    held = np.full((len(scene.real), len(cells)), np.nan, np.float32)
    images: list[torch.Tensor] = []
    for fold in range(settings.folds):
        key = str(fold)
        if key not in kept:
            images = images or [_tensor(one, form) for one in (scene.real, *others)]
            show(fold * settings.steps, total)
            rows = _one_fold(
                scene, folds, fold, images, cells, settings, compute,
                lambda step, fold=fold: show(fold * settings.steps + step, total),  # type: ignore[misc]
            )  # fmt: skip
            scene.cache.keep(kind, [key], rows[None])
            kept[key] = rows
        rows = kept[key]
        judged = (folds == fold) & _trained_elsewhere(scene, folds, fold)
        held[judged] = rows[: len(scene.real)][judged]
        start = len(scene.real)
        for number, one in enumerate(others):
            sums[number] += rows[start : start + len(one)] / settings.folds
            start += len(one)
    named = [Named(cells, shares) for shares in sums]
    if scene.test is not None:
        return Verdicts(tuple(named[:-1]), named[-1], scene.test)
    return Verdicts(tuple(named), Named(cells, held), scene.real)


def _one_fold(
    scene: Scene,
    folds: NDArray[np.int64],
    fold: int,
    images: Sequence[torch.Tensor],
    cells: Sequence[Category],
    settings: JudgeSettings,
    compute: Compute,
    progress: Callable[[int], object],
) -> Shares:
    """Probabilities of all images, real ones first, from the classifier that has not seen the fold."""
    labels = np.array([cells.index(picture.category) for picture in scene.real.records])
    # A cell that lies in this fold alone has to be learnt from it: it is not judged then
    seen = np.flatnonzero((folds != fold) | ~_trained_elsewhere(scene, folds, fold))
    seed = 1000 * scene.seed + fold
    classifier = build("small", len(cells), channels=images[0].shape[1], seed=seed)
    sampler = CategorySampler(labels[seen], np.zeros(len(seen), bool), batch=settings.batch_size, seed=seed)
    fit(
        classifier,
        Labelled.of(images[0][torch.from_numpy(seen)], torch.from_numpy(labels[seen]), len(cells)),
        sampler,
        Recipe(settings.steps, RATES["small"]),
        compute,
        augment=Augment("traditional", settings.flips),
        seed=seed,
        progress=progress,
    )
    return np.concatenate([predict(classifier, part, compute).numpy() for part in images]).astype(np.float32)


def _folds(scene: Scene, count: int) -> NDArray[np.int64]:
    """Fold of each real image; near-duplicates share one."""
    shares = {str(fold): 1.0 for fold in range(count)}
    divided = split(scene.index, shares, scene.seed, groups=[int(group) for group in scene.groups])
    return np.array([int(sample.split or 0) for sample in divided.samples], np.int64)


def _trained_elsewhere(scene: Scene, folds: NDArray[np.int64], fold: int) -> NDArray[np.bool_]:
    """(N,) whether an image's cell has images outside the fold."""
    outside = {picture.category for picture, at in zip(scene.real.records, folds, strict=True) if at != fold}
    return np.array([picture.category in outside for picture in scene.real.records], bool)


def _tensor(images: ImageSet, form: Form) -> torch.Tensor:
    """Images (N, C, S, S) uint8 in the order of the pictures."""
    if not len(images):
        return torch.zeros((0, form.channels, form.size, form.size), dtype=torch.uint8)
    decoded: Decoded = decode(images.records, form, lambda line: None)
    place = {picture.path: number for number, picture in enumerate(decoded.records)}
    return decoded.images[torch.tensor([place[picture.path] for picture in images.records])]
