"""Masks of defects: read from files, written, and found in the change that a defect makes. Arrays are (H, W)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from defectaug.errors import DataError
from defectaug.io.images import NativeImage, read_image, resize_float, write_png

VISIBLE = 6 / 255  # of the white level: a change the eye can see on a plain surface
SHARE_OF_PEAK = 0.25  # CHOICE: of an image's greatest change, both smoothed: what is less is the defect's soft rim
DISTINCT = 12 / 255  # CHOICE: of white: where a defect was painted, a greater change is part of it beside a glint, too


def mask_folder(images: Path) -> Path:
    """The folder beside `images` that holds their masks."""
    return images.parent / f"{images.name}.masks"


def read_mask(path: Path) -> NDArray[np.bool_]:
    """Decodes a mask file: (H, W), True where the defect is.

    Raises:
        DataError: as :func:`defectaug.io.images.read_image`.
    """
    return as_mask(read_image(path))


def as_mask(image: NativeImage) -> NDArray[np.bool_]:
    """What a decoded mask file holds: (H, W), True where the defect is."""
    values = image.pixels if image.channels == 1 else image.pixels.max(axis=2)
    # Some data sets number the defects 1, 2, 3 instead of drawing them in white.
    return values > (image.white // 2 if values.max() > image.white // 4 else 0)


def write_mask(path: Path, mask: NDArray) -> None:
    """Writes a mask as 8-bit grey PNG, 255 = defect.

    Args:
        path: the file.
        mask: (H, W) bool or uint8; every value above 0 is defect.

    Raises:
        OutputError: as :func:`defectaug.io.images.write_png`.
    """
    write_png(path, NativeImage(np.where(np.asarray(mask) > 0, 255, 0).astype(np.uint8)))


def is_black_and_white(path: Path) -> bool:
    """Whether an image holds next to nothing between black and white: a mask, not a photograph."""
    try:
        image = read_image(path)
    except DataError:
        return False
    if image.channels == 3 and np.ptp(image.pixels, axis=2).any():
        return False
    grey = image.pixels if image.channels == 1 else image.pixels[..., 0]
    low, high = int(grey.min()), int(grey.max())
    between = (grey > low) & (grey < high)
    return (low == 0 or high == image.white) and float(between.mean()) < 0.01


def magnitude(change: NDArray) -> NDArray:
    """Absolute values of a change (H, W) or (H, W, 3), the greatest of the channels: (H, W)."""
    return np.abs(change) if change.ndim == 2 else np.abs(change).max(axis=-1)


def defect_mask(
    change: NDArray[np.float32], seen: tuple[int, int] | None = None, enlarged: float = 1.0,
    painted: NDArray[np.bool_] | None = None,
) -> NDArray[np.bool_]:  # fmt: skip
    """Where a change (H, W) or (H, W, 3) is visible, without its soft rim: bool (H, W).

    The change is smoothed by one pixel of the network's (CHOICE): where a surface happens to have a defect's colour
    nothing changes, though the defect goes on there.

    Args:
        change: as a fraction of the white level.
        seen: height and width at which the network has seen all of it; None for its own.
        enlarged: factor on the defect's sides, which its rim and its gaps have grown by.
        painted: (H, W), where the defect is known to lie, its rim aside: a change of `DISTINCT` is enough there.
    """
    strength = magnitude(change)
    if float(strength.max(initial=0)) <= VISIBLE:
        return np.zeros(strength.shape, bool)
    size = strength.shape[0], strength.shape[1]
    height, width = (max(1, round(edge / enlarged)) for edge in seen or size)
    smooth = resize_float(_smoothed(resize_float(strength, (height, width))), size)
    least = SHARE_OF_PEAK * smooth.max()
    return smooth > least if painted is None else smooth > np.where(painted, min(least, DISTINCT), least)


def _smoothed(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """(H, W) convolved with a binomial window of deviation 1, edges repeated. By NumPy: to import `scipy.ndimage` takes
    longer than to smooth the masks of a thousand images."""
    for _ in range(2):
        wide, n = np.pad(values, [(2, 2), (0, 0)], mode="edge"), len(values)
        sums = wide[:n] + wide[4:] + 4 * (wide[1 : n + 1] + wide[3 : n + 3]) + 6 * wide[2 : n + 2]
        values = (sums / np.float32(16)).T  # then the other way
    return values
