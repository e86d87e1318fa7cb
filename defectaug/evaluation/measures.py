"""Numbers that need pixels alone: exact duplicates, and what painting has changed."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from defectaug.data.images import NativeImage, read_image, read_mask
from defectaug.evaluation.folders import Picture


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


def fingerprint(path: Path) -> str:
    """Hash of an image's decoded pixels, size and depth: equal for equal pictures in whatever file format.

    Raises:
        DataError: the file cannot be read.
    """
    pixels = read_image(path).pixels
    head = f"{pixels.shape}{pixels.dtype}".encode()
    return hashlib.sha256(head + np.ascontiguousarray(pixels).tobytes()).hexdigest()


def repeats(fingerprints: Sequence[str]) -> int:
    """Images that equal an earlier one of the sequence."""
    return len(fingerprints) - len(set(fingerprints))


def shared(synthetic: Iterable[str], real: Iterable[str]) -> int:
    """Synthetic images that equal a real one."""
    known = set(real)
    return sum(count for one, count in Counter(synthetic).items() if one in known)


def change_from_source(pictures: Iterable[Picture]) -> Change | None:
    """Means over those pictures whose source is still there, of the same size; None if there are none.

    Raises:
        DataError: a file cannot be read.
    """
    rows = [row for row in map(_change, pictures) if row is not None]
    if not rows:
        return None
    outside = [row[1] for row in rows if row[1] is not None]
    shares = [row[2] for row in rows if row[2] is not None]
    return Change(
        images=len(rows),
        everywhere=float(np.mean([row[0] for row in rows])),
        outside=float(np.mean(outside)) if outside else None,
        defect_share=float(np.mean(shares)) if shares else None,
    )


def _change(picture: Picture) -> tuple[float, float | None, float | None] | None:
    if picture.source is None or not picture.source.is_file():
        return None
    before, after = _grey_levels(read_image(picture.source)), _grey_levels(read_image(picture.path))
    if before.shape != after.shape:
        return None
    difference = np.abs(after - before)
    if difference.ndim == 3:
        difference = difference.mean(axis=2)
    if picture.mask is None:
        return float(difference.mean()), None, None
    mask = read_mask(picture.mask)
    outside = float(difference[~mask].mean()) if not mask.all() else None
    return float(difference.mean()), outside, float(mask.mean())


def _grey_levels(image: NativeImage) -> np.ndarray:
    return image.pixels.astype(np.float32) * (255 / image.white)
