"""Defects, cut out by their masks, that repeat those of real images on another background. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from defectaug.data.near_duplicates import THUMBNAIL, Gallery, Match, nearest
from defectaug.io.images import as_channels, read_image, resize_float
from defectaug.io.masks import read_mask
from defectaug.metrics.context import Scene
from defectaug.metrics.folders import ImageRecord
from defectaug.metrics.image_statistics import Floats, ImageSet

SAME_DEFECT = 0.95  # correlation of two defects from which on one repeats the other
PATCH = 32  # pixels of the square in which a defect is compared with others
SCALE = 128  # side of the image from which it is cut, PATCH being a quarter of it at half the size


@dataclass(frozen=True)
class Repeated:
    """Which synthetic defects repeat a real one (N,), and whether that is their own reference (N,)."""

    same: NDArray[np.bool_]
    own: NDArray[np.bool_]
    real_share: float | None


def repeated_defects(scene: Scene, made: ImageSet) -> Repeated | None:
    """Defects cut out by their masks against those of real images; None where masks are missing."""
    real = scene.real.where(lambda picture: scene.is_defective(picture) and picture.mask is not None)
    masked = [n for n, picture in enumerate(made.records) if picture.mask is not None]
    if not len(real) or not masked:
        return None
    same, own = np.zeros(len(made), bool), np.zeros(len(made), bool)
    repeated, judged = 0, 0
    for defect in sorted({picture.defect for picture in made.records}):
        numbers = [n for n in masked if made.records[n].defect == defect]
        others = real.where(lambda picture, defect=defect: picture.defect == defect)  # type: ignore[misc]
        if not numbers or not len(others):
            continue
        rest = _upscaled(defect_patches(others.records))
        gallery = Gallery(rest, np.zeros_like(rest[0]))
        for n, match in zip(numbers, _patch_matches([made.records[n] for n in numbers], gallery), strict=True):
            same[n] = match.similarity >= SAME_DEFECT
            reference = made.records[n].reference
            own[n] = reference is not None and reference.resolve() == others.records[match.number].path.resolve()
        between = nearest(rest, gallery, forbidden=np.eye(len(rest), dtype=bool))
        repeated += sum(match.similarity >= SAME_DEFECT for match in between)
        judged += len(between)
    return Repeated(same, own, repeated / judged if judged else None)


def _patch_matches(pictures: Sequence, gallery: Gallery) -> list[Match]:
    return nearest(_upscaled(defect_patches(pictures)), gallery)


def _upscaled(patches: NDArray[np.float32]) -> NDArray[np.float32]:
    """Patches at the size that pictures are compared at."""
    times = THUMBNAIL // PATCH
    return patches.repeat(times, 1).repeat(times, 2)


def defect_patches(pictures: Sequence[ImageRecord]) -> Floats:
    """The defects themselves, by their masks: (N, PATCH, PATCH) grey levels against the surround, 0 outside the mask.

    Raises:
        DataError: an image or mask cannot be read.
        ValueError: a picture without mask.
    """
    return np.stack([_patch(picture) for picture in pictures]) if pictures else np.zeros((0, PATCH, PATCH), np.float32)


def _patch(picture: ImageRecord) -> Floats:
    if picture.mask is None:
        raise ValueError(f"{picture.path}: no mask")
    image = read_image(picture.path)
    grey = resize_float(as_channels(image.pixels, 1)[..., 0] * (255 / image.white), (SCALE, SCALE))
    mask = resize_float(read_mask(picture.mask).astype(np.float32), (SCALE, SCALE)) > 0.25
    empty = np.zeros((PATCH, PATCH), np.float32)
    if not mask.any():
        return empty
    contrast = np.where(mask, grey - np.median(grey[~mask] if not mask.all() else grey), 0)
    rows, columns = np.nonzero(mask)
    centre = [int((places.min() + places.max() + 1) // 2) for places in (rows, columns)]
    padded = np.pad(contrast, PATCH)  # twice PATCH at full size around the centre
    cut = padded[centre[0] : centre[0] + 2 * PATCH, centre[1] : centre[1] + 2 * PATCH]
    return np.asarray(cut.reshape(PATCH, 2, PATCH, 2).mean((1, 3)), np.float32)
