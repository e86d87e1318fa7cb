"""Maps of scores against true masks: pixel AUROC, average precision, best IoU. Pixels are counted, not kept, so that
any number of images fits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from defectaug.data.sample import Category
from defectaug.methods.base import DefectModel
from defectaug.methods.native import restoration_change
from defectaug.metrics.context import EvaluationContext
from defectaug.metrics.images import ImageSet

BINS = 4096
TOP = 255.0  # grey levels
BLUR = 1.5  # deviation in pixels, of the map of what restoring changes


@dataclass(frozen=True)
class MapScore:
    """How well scores find the masks, over all pixels of all images.

    Args:
        images: images.
        auroc: chance that a defective pixel scores higher than a sound one, a tie counting half.
        precision: average precision: mean precision over the recalls.
        iou: best intersection over union of the mask and the pixels above a threshold.
        threshold: that threshold, in grey levels of 255; chosen on these very pixels.
    """

    images: int
    auroc: float
    precision: float
    iou: float
    threshold: float


class PixelCounts:
    """Scores of sound and of defective pixels, counted in bins of a sixteenth of a grey level."""

    def __init__(self, images: int = 0, counts: NDArray[np.int64] | None = None) -> None:
        self.images, self._counts = images, np.zeros((2, BINS), np.int64) if counts is None else counts

    def add(self, scores: NDArray[np.floating], mask: NDArray[np.bool_]) -> None:
        """Adds an image: scores (H, W) in grey levels of 0 to 255, mask (H, W).

        Raises:
            ValueError: the shapes differ.
        """
        if scores.shape != mask.shape:
            raise ValueError(f"scores are {scores.shape}, the mask {mask.shape}")
        bins = np.minimum(scores * (BINS / (TOP + 1)), BINS - 1).astype(np.int64)
        for kind, chosen in enumerate((~mask, mask)):
            self._counts[kind] += np.bincount(bins[chosen], minlength=BINS)
        self.images += 1

    def __add__(self, other: PixelCounts) -> PixelCounts:
        return PixelCounts(self.images + other.images, self._counts + other._counts)

    def score(self) -> MapScore | None:
        """None where the masks hold one kind of pixel only."""
        if not self._counts.any(axis=1).all():
            return None
        counts = self._counts[:, ::-1].astype(np.float64)  # from the highest scores down
        sound, defective = counts.cumsum(axis=1)  # above each threshold
        own_sound, own_defective = counts
        below = sound[-1] - sound + own_sound / 2  # of each bin; a tie counts half
        precision = defective / np.maximum(sound + defective, 1)
        iou = defective / (defective[-1] + sound)
        best = int(iou.argmax())
        return MapScore(
            images=self.images,
            auroc=float(own_defective @ below / (defective[-1] * sound[-1])),
            precision=float(own_defective @ precision / defective[-1]),
            iou=float(iou[best]),
            threshold=(BINS - 1 - best) * (TOP + 1) / BINS,
        )


def scores_of(counts: dict[Category, PixelCounts]) -> dict[str, MapScore | None]:
    """Scores by category, and of "all" where there are several."""
    found = {str(category): count.score() for category, count in counts.items() if count.images}
    return found | ({"all": sum(counts.values(), PixelCounts()).score()} if len(found) > 1 else {})


def restoration(
    context: EvaluationContext, images: ImageSet, numbers: Sequence[int], model: DefectModel
) -> dict[Category, PixelCounts]:
    """How well |x - G(x, anchor)| finds the defects of real images: of these numbers, which have masks."""
    progress = context.stages("restoring")
    counts = {images.records[n].category: PixelCounts() for n in numbers}
    for done, n in enumerate(numbers):
        record = images.records[n]
        image, mask = context.store.read(record.path), context.store.mask(record.mask) if record.mask else None
        if mask is not None and mask.shape == image.size:
            change = np.abs(restoration_change(image, model, record.category.product)) * 255
            grey = change if change.ndim == 2 else change.mean(axis=2)
            counts[record.category].add(np.clip(blurred(grey.astype(np.float32), BLUR), 0, 255), mask)
        progress(done + 1, len(numbers))
    return counts


def blurred(image: NDArray[np.float32], deviation: float) -> NDArray[np.float32]:
    """Gaussian blur of (H, W), mirrored at the border."""
    return gaussian_filter(image, deviation, mode="mirror", truncate=3.0)
