"""From the change that the network makes, at its own size, to an image at the source's size. NumPy only.

The network's output is blurred and small; the source is neither. So only the difference that the defect makes
is enlarged, and added to the untouched source. Where it is visible is the mask of the defect.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from defectaug.io.images import NativeImage, as_channels, resize_float

MASK_THRESHOLD = 6 / 255  # of the white level: a change the eye can see on a plain surface
MASK_SHARE = 0.25  # CHOICE: of an image's greatest change, both smoothed: what is less is the defect's soft rim
NOISE_FLOOR = 1 / 255  # of the white level: what the network leaves everywhere

Floats = NDArray[np.float32]


def native_change(delta: Floats, size: tuple[int, int], channels: int) -> Floats:
    """The change at native size.

    Args:
        delta: (C, S, S), what has to be added to the network's input, which lies in [-1, 1].
        size: height and width to enlarge (or shrink) to.
        channels: 1 or 3, those of the native image.

    Returns:
        (H, W) or (H, W, 3), as a fraction of the white level; exactly 0 where it is below one grey level.
    """
    planes = delta.transpose(1, 2, 0) / 2  # [-1, 1] spans one white level
    change = resize_float(as_channels(planes if len(delta) == 3 else planes[..., 0], channels), size)
    change[np.abs(change).max(axis=-1) < NOISE_FLOOR] = 0
    return change[..., 0] if channels == 1 else change


def defect_mask(change: Floats, seen: tuple[int, int] | None = None) -> NDArray[np.bool_]:
    """Where a change (H, W) or (H, W, 3) is visible, and no soft rim: bool (H, W).

    The change is smoothed by one pixel of the network's (CHOICE): where a surface happens to have a defect's colour
    nothing changes, though the defect goes on there.

    Args:
        change: as a fraction of the white level.
        seen: height and width at which the network has seen all of it; None for its own.
    """
    strength = np.abs(change) if change.ndim == 2 else np.abs(change).max(axis=-1)
    if float(strength.max(initial=0)) <= MASK_THRESHOLD:
        return np.zeros(strength.shape, bool)
    size = strength.shape[0], strength.shape[1]
    smooth = resize_float(_smoothed(resize_float(strength, seen or size)), size)
    return smooth > MASK_SHARE * smooth.max()


def _smoothed(values: Floats) -> Floats:
    """(H, W) convolved with a binomial window of deviation 1, edges repeated."""
    for _ in range(2):
        wide, n = np.pad(values, [(2, 2), (0, 0)], mode="edge"), len(values)
        sums = wide[:n] + wide[4:] + 4 * (wide[1 : n + 1] + wide[3 : n + 3]) + 6 * wide[2 : n + 2]
        values = (sums / np.float32(16)).T  # then the other way
    return values


def compose(native: NativeImage, change: Floats, white: int) -> NativeImage:
    """The native image with the change added; keeps size, channels, bit depth and alpha.

    Args:
        native: the source.
        change: (H, W) or (H, W, 3), as a fraction of the white level.
        white: white level of the source, e.g. 4095 for 12 bits in a 16-bit file.
    """
    pixels = native.pixels
    ceiling = np.maximum(pixels, white)  # a pixel above the white level stays as it is
    changed = np.clip(pixels + change * np.float32(white), 0, ceiling)
    return replace(native, pixels=np.rint(changed).astype(pixels.dtype))


def white_level(native: NativeImage, trained_white: int) -> int:
    """White level of a source: that of the training data where both have 16 bits, else its type's own."""
    return trained_white if native.white > 255 and trained_white > 255 else native.white
