"""Maps of scores against true masks: pixel AUROC, average precision, best IoU. NumPy alone; pixels are counted, not
kept, so that any number of images fits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BINS = 4096
TOP = 255.0  # grey levels


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

    def __init__(self) -> None:
        self.images = 0
        self._counts = np.zeros((2, BINS), np.int64)

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
        both = PixelCounts()
        both.images = self.images + other.images
        both._counts = self._counts + other._counts
        return both

    def score(self) -> MapScore | None:
        """None where the masks hold one kind of pixel only."""
        sound, defective = self._counts[:, ::-1].astype(np.float64)  # the highest scores first
        if not sound.sum() or not defective.sum():
            return None
        hits, false = np.cumsum(defective), np.cumsum(sound)
        recall, precision = hits / hits[-1], hits / np.maximum(hits + false, 1)
        # A bin's own sound pixels tie with its defective ones
        auroc = float(((false[-1] - false + sound / 2) * defective).sum() / (hits[-1] * false[-1]))
        iou = hits / (hits[-1] + false)
        best = int(iou.argmax())
        return MapScore(
            images=self.images,
            auroc=auroc,
            precision=float((np.diff(recall, prepend=0) * precision).sum()),
            iou=float(iou[best]),
            threshold=(BINS - 1 - best) * (TOP + 1) / BINS,
        )


def blurred(image: NDArray[np.float32], deviation: float) -> NDArray[np.float32]:
    """Gaussian blur of (H, W), mirrored at the border; 0 leaves it as it is."""
    reach = min(int(np.ceil(3 * deviation)), min(image.shape) - 1)
    if deviation <= 0 or reach < 1:
        return image
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / deviation) ** 2)
    kernel /= kernel.sum()
    for axis in (0, 1):
        length = image.shape[axis]
        padded = np.pad(image, [(reach, reach) if a == axis else (0, 0) for a in (0, 1)], mode="reflect")
        parts = (weight * np.take(padded, range(k, k + length), axis) for k, weight in enumerate(kernel))
        image = np.asarray(sum(parts, np.zeros_like(image)), np.float32)
    return image
