"""What painting has changed: a synthetic image beside the real one that it was painted on. No torch."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from defectaug.data.near_duplicates import dilated
from defectaug.errors import DataError
from defectaug.io.images import NativeImage, read_image
from defectaug.io.masks import read_mask
from defectaug.metrics.folders import ImageRecord
from defectaug.metrics.image_statistics import ImageSet, Progress

VISIBLE = 4.0  # grey levels of 255, averaged over 3 x 3 pixels: below what the eye sees on a plain surface
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Change:
    """How far synthetic images are from their sources, in grey levels of 255, as a mean over images.

    Args:
        images: images that could be compared with their source.
        everywhere: mean absolute difference over all pixels.
        outside: the same where the mask says no defect; None without masks.
        defect_share: share of the pixels in the mask; None without masks.
    """

    images: int
    everywhere: float
    outside: float | None
    defect_share: float | None


@dataclass(frozen=True)
class Difference:
    """One synthetic image and its source.

    Args:
        everywhere, outside, defect_share: as of :class:`Change`.
        visible: (H, W), where the difference can be seen, a common change of brightness aside.
        strength: (H, W), the absolute difference in grey levels of 255.
        mask: (H, W), what the mask says; None without one.
    """

    everywhere: float
    outside: float | None
    defect_share: float | None
    visible: NDArray[np.bool_]
    strength: Floats
    mask: NDArray[np.bool_] | None


def difference(picture: ImageRecord) -> Difference | None:
    """None where the source is unknown, is gone or has another size.

    Raises:
        DataError: a file cannot be read.
    """
    if picture.source is None or not picture.source.is_file():
        return None
    before, after = grey_levels(read_image(picture.source)), grey_levels(read_image(picture.path))
    if before.shape != after.shape:
        return None
    signed = after - before
    strength = np.abs(signed)
    if strength.ndim == 3:
        signed, strength = signed.mean(axis=2), strength.mean(axis=2)
    mask = read_mask(picture.mask) if picture.mask is not None else None
    if mask is not None and mask.shape != strength.shape:
        mask = None
    outside = float(strength[~mask].mean()) if mask is not None and not mask.all() else None
    share = None if mask is None else float(mask.mean())
    return Difference(float(strength.mean()), outside, share, visible_change(signed), strength, mask)


@dataclass(frozen=True)
class Painting:
    """What is kept of a :class:`Difference`.

    Args:
        everywhere, outside, defect_share: as of :class:`Change`.
        visible: share of the pixels where the difference can be seen.
        region: (SMALL, SMALL), where that is, a little widened.
    """

    everywhere: float
    outside: float | None
    defect_share: float | None
    visible: float
    region: NDArray[np.bool_]


def painting(picture: ImageRecord) -> Painting | None:
    """As :func:`difference`, in little memory."""
    found = difference(picture)
    if found is None:
        return None
    share = float(found.visible.mean())
    return Painting(found.everywhere, found.outside, found.defect_share, share, dilated(found.visible))


def paintings(images: ImageSet, progress: Progress) -> list[Painting | None]:
    """`painting` of every picture; None also where the source cannot be read any more."""

    def read(picture: ImageRecord) -> Painting | None:
        try:
            return painting(picture)
        except DataError:
            return None

    found: list[Painting | None] = []
    with ThreadPoolExecutor(2) as pool:
        for row in pool.map(read, images.records):
            found.append(row)
            progress(len(found), len(images))
    return found


def visible_change(signed: Floats) -> NDArray[np.bool_]:
    """Where a difference (H, W) in grey levels can be seen; its median, a change of brightness, does not count."""
    return np.asarray(np.abs(_mean_of_nine(signed - np.float32(np.median(signed)))) > VISIBLE)


def mean_change(rows: Iterable[Painting]) -> Change | None:
    """Means over images; None where there are none."""
    rows = list(rows)
    if not rows:
        return None
    outside = [row.outside for row in rows if row.outside is not None]
    shares = [row.defect_share for row in rows if row.defect_share is not None]
    return Change(
        images=len(rows),
        everywhere=float(np.mean([row.everywhere for row in rows])),
        outside=float(np.mean(outside)) if outside else None,
        defect_share=float(np.mean(shares)) if shares else None,
    )


def grey_levels(image: NativeImage) -> Floats:
    """Pixels (H, W) or (H, W, 3) as grey levels of 0 to 255."""
    return np.asarray(image.pixels.astype(np.float32) * np.float32(255 / image.white))


def _mean_of_nine(values: Floats) -> Floats:
    padded = np.pad(values, 1, mode="edge")
    height, width = values.shape
    parts = (padded[down : down + height, right : right + width] for down in range(3) for right in range(3))
    return np.asarray(sum(parts, np.zeros_like(values)) / 9, np.float32)
