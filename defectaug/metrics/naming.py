"""A classifier trained on the real images names product and defect, of synthetic and of held-out real images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from defectaug.data.sample import Category
from defectaug.data.splits import split
from defectaug.device import Compute
from defectaug.metrics.augmentation import Augment
from defectaug.metrics.classifier import CategorySampler, Labelled, Recipe, Views, build, fit, predict, usual_rate
from defectaug.metrics.context import EvaluationContext, digest
from defectaug.metrics.distances import Interval, share_interval
from defectaug.metrics.images import Form, ImageSet
from defectaug.nn.backbones import LITE, InitialWeights, find_weights

RELIABLE = 0.75  # share of held-out real defects that a classifier must name right, as mean over categories, to call
# any synthetic ones wrong
Shares = NDArray[np.float32]


@dataclass(frozen=True)
class NamingSettings:
    """How the classifier is trained: once for each of `folds` parts of the real images, on the other parts.

    Args:
        classifier, weights: name of the backbone and what it starts with, as of `nn.backbones.find_weights`.
    """

    folds: int = 3
    steps: int = 300
    batch_size: int = 48
    image_size: int = 128
    flips: str = "h"
    classifier: str = LITE
    weights: str = "auto"


@dataclass(frozen=True)
class Predictions:
    """Probabilities (N, K) of the categories for a set of images; nan for images that no classifier may name."""

    categories: tuple[Category, ...]
    shares: Shares

    @property
    def known(self) -> NDArray[np.bool_]:
        """(N,) whether there is a prediction for an image."""
        return np.asarray(np.isfinite(self.shares).all(axis=1))

    def names(self, part: int) -> list[str]:
        """The likeliest product (part 0) or defect (part 1) of each image, whatever the other one is."""
        names = sorted({category[part] for category in self.categories})
        belongs = np.array([[category[part] == name for name in names] for category in self.categories], np.float32)
        return [names[number] for number in np.nan_to_num(self.shares @ belongs).argmax(1)]

    def hits(self, images: ImageSet) -> dict[Category, Hits]:
        """What is named right of each category of the images."""
        products, defects, known = self.names(0), self.names(1), self.known
        return {
            category: Hits(
                sum(defects[n] == category.defect for n in members if known[n]),
                sum(products[n] == category.product for n in members if known[n]),
                int(known[members].sum()),
            )
            for category, members in images.categories.items()
        }


@dataclass(frozen=True)
class Hits:
    """Images of a category whose defect, and whose product, is named right, of those with a prediction."""

    defect: int
    product: int
    images: int

    def share(self, part: str = "defect") -> Interval | None:
        """Of the defects, or products, named right; None without images."""
        return share_interval(getattr(self, part), self.images) if self.images else None


@dataclass(frozen=True)
class CategoryNaming:
    """Of a synthetic set's images of one category: what was named right, and how many are named normal; `real` of
    real images of it, None where the real folder has none."""

    hits: Hits
    as_normal: int
    real: Hits | None

    @property
    def is_wrong(self) -> bool:
        """Whether the interval lies wholly below that of real images; without any, below one half."""
        share, beside = self.hits.share(), None if self.real is None else self.real.share()
        return share is not None and share.high < (0.5 if beside is None else beside.low)


@dataclass(frozen=True)
class Naming:
    """Predictions for each synthetic set, and for the baseline, which is held-out real images.

    Args:
        synthetic, real, baseline: the predictions, and the images of the baseline.
        origin: what the classifiers started with, for people.
    """

    synthetic: tuple[Predictions, ...]
    real: Predictions
    baseline: ImageSet
    origin: str

    def categories(self, number: int, images: ImageSet, normal: str) -> dict[Category, CategoryNaming]:
        """What was named of each category of a synthetic set, of those whose defect the classifier knows."""
        predictions, real = self.synthetic[number], self.real.hits(self.baseline)
        defects, known = predictions.names(1), {category.defect for category in predictions.categories}
        return {
            one: CategoryNaming(hits, sum(defects[n] == normal for n in images.categories[one]), real.get(one))
            for one, hits in predictions.hits(images).items()
            if one.defect in known
        }


def skill(hits: dict[Category, Hits], normal: str) -> float | None:
    """Mean share of real images named right over the defective categories; None where none could be named."""
    shares = [one.defect / one.images for category, one in hits.items() if one.images and category.defect != normal]
    return float(np.mean(shares)) if shares else None


def name_images(context: EvaluationContext, settings: NamingSettings, compute: Compute) -> Naming:
    """Trains the classifiers, or takes their predictions from the cache.

    Real images are named by the one classifier that has not seen them or a near-duplicate of them; where there is a
    test set, that is named instead, by the mean of all; synthetic ones are named by the mean of all, too.
    """
    real, channels = context.real, 3 if any(one.mode.endswith("colour") for one in context.real.statistics) else 1
    form = Form(settings.image_size, channels, context.white)
    folds = _folds(context, settings.folds)
    weights = find_weights(settings.classifier, settings.weights, context.log)
    categories = tuple(real.categories)
    sets = [real, *context.synthetic, *([context.test] if context.test else [])]
    hashes = [real.pixel_hashes, folds.tolist(), *(one.pixel_hashes for one in sets[1:])]
    on = [compute.device.type, compute.bf16]
    kind = f"named-{digest([asdict(settings), weights.sha256, form, categories, context.seed, *on, *hashes])}"
    kept = context.cache.rows(kind)
    progress, total = context.stages("naming by a classifier"), settings.folds * settings.steps
    sums = [np.zeros((len(one), len(categories)), np.float32) for one in sets[1:]]
    held_out = np.full((len(real), len(categories)), np.nan, np.float32)
    images: list[Tensor] = []
    views = Views()
    for fold in range(settings.folds):
        outside = {record.category for record, at in zip(real.records, folds, strict=True) if at != fold}
        # A category that lies in this fold alone has to be learnt from it: it is not named then
        unseen = (folds == fold) & [record.category in outside for record in real.records]
        if str(fold) not in kept:
            images = images or [_tensor(context, one, form) for one in sets]
            progress(before := fold * settings.steps, total)
            rows = _one_fold(
                context, ~unseen, fold, images, settings, weights, compute, views,
                lambda step, before=before: progress(before + step, total),  # type: ignore[misc]
            )  # fmt: skip
            context.cache.keep(kind, [str(fold)], rows[None])
            kept[str(fold)] = rows
        own, *rest = np.split(kept[str(fold)], np.cumsum([len(one) for one in sets])[:-1])
        held_out[unseen] = own[unseen]
        for total_shares, shares in zip(sums, rest, strict=True):
            total_shares += shares / settings.folds
    named = [Predictions(categories, shares) for shares in sums]
    if context.test is not None:
        return Naming(tuple(named[:-1]), named[-1], context.test, weights.origin)
    return Naming(tuple(named), Predictions(categories, held_out), real, weights.origin)


def _one_fold(
    context: EvaluationContext,
    learnt: NDArray[np.bool_],
    fold: int,
    images: Sequence[Tensor],
    settings: NamingSettings,
    weights: InitialWeights,
    compute: Compute,
    views: Views,
    progress: Callable[[int], object],
) -> Shares:
    """Probabilities (N, K) of all images, real ones first, from a classifier of those that are `learnt` (N,)."""
    categories, seen, seed = list(context.real.categories), np.flatnonzero(learnt), 1000 * context.seed + fold
    labels = np.array([categories.index(context.real.records[n].category) for n in seen])
    classifier = build(settings.classifier, len(categories), seed=seed, weights=weights)
    fit(
        classifier,
        Labelled.of(images[0][torch.from_numpy(seen)], torch.from_numpy(labels), len(categories)),
        CategorySampler(labels, np.zeros(len(seen), bool), batch=settings.batch_size, seed=seed),
        Recipe(settings.steps, usual_rate(settings.classifier, weights)),
        compute,
        augment=Augment("traditional", settings.flips),
        seed=seed,
        views=views,
        progress=progress,
    )
    shown = (views.plain(classifier, part, compute) for part in images if len(part))
    return np.concatenate([predict(classifier, part, compute).numpy() for part in shown]).astype(np.float32)


def _folds(context: EvaluationContext, count: int) -> NDArray[np.int64]:
    """Fold of each real image; near-duplicates share one."""
    shares = {str(fold): 1.0 for fold in range(count)}
    divided = split(context.index, shares, context.seed, groups=[int(group) for group in context.groups])
    return np.array([int(sample.split or 0) for sample in divided.samples], np.int64)


def _tensor(context: EvaluationContext, images: ImageSet, form: Form) -> Tensor:
    """Images (N, C, S, S) uint8 in their order."""
    empty = np.zeros((0, form.channels, form.size, form.size), np.uint8)
    return torch.from_numpy(np.stack(context.store.all(images.records, form)) if len(images) else empty)
