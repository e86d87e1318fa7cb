"""From the change that the network makes, at its own size, to an image at the source's size. NumPy only.

The network's output is blurred and small; the source is neither. So only the difference that the defect makes
is enlarged, and added to the untouched source. Where it is visible is the mask of the defect.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from defectaug.data.images import NativeImage, as_channels, resize_float

MASK_THRESHOLD = 6 / 255  # of the white level: a change the eye can see on a plain surface
MASK_SHARE = 0.2  # CHOICE: of an image's greatest change: what is less is the defect's soft rim
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


def defect_mask(change: Floats) -> NDArray[np.bool_]:
    """Where a change (H, W) or (H, W, 3) is visible, and no soft rim: bool (H, W)."""
    strength = np.abs(change) if change.ndim == 2 else np.abs(change).max(axis=-1)
    return strength > max(MASK_THRESHOLD, MASK_SHARE * float(strength.max(initial=0)))


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
