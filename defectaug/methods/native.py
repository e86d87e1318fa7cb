"""A trained model on images of any size: what it is shown of an image, and what its change makes of it.

The network's output is blurred and small; the source is neither. So only the difference that the defect makes is
enlarged, and added to the untouched source.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from defectaug.data.framing import Photograph
from defectaug.io import windows
from defectaug.io.images import NativeImage, as_channels, resize_float, to_model, white_of
from defectaug.io.masks import defect_mask, magnitude
from defectaug.io.windows import Window
from defectaug.methods.base import BundleInfo

if TYPE_CHECKING:
    from torch import Tensor

    from defectaug.methods.base import DefectModel, NativeChange

AROUND = 3  # times a window's side, as far as a defect is followed out of it
PAINTED = 0.4  # CHOICE: of a defect's share of a pixel: less is its rim
BATCH = 16  # windows a pass
NOISE_FLOOR = 1 / 255  # of the white level: what the network leaves everywhere

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Change:
    """What painting adds to a native image.

    Attributes:
        values: (H, W) or (H, W, 3), as a fraction of white.
        defect: (H, W) in [0, 1], the share of it that is the defect, not what came with it; None: all.
    """

    values: Floats
    defect: Floats | None = None

    def mask(self, seen: tuple[int, int] | None, enlarged: float = 1.0) -> NDArray[np.bool_]:
        """Where the defect is visible, by :func:`defectaug.io.masks.defect_mask`."""
        if self.defect is None:
            return defect_mask(self.values, seen, enlarged)
        return defect_mask(magnitude(self.values) * self.defect, seen, enlarged, self.defect > PAINTED)


@dataclass(frozen=True)
class View:
    """An image and the part of it that is shown to the network.

    Args:
        native: all of it.
        window: the part.
        pixels: that part as (C, S, S) in [-1, 1].
        white: the value that is 1 there.
    """

    native: NativeImage
    window: Window
    pixels: Floats
    white: int

    def change(self, delta: Floats, native: NativeChange | None = None) -> Change:
        """What the network's `delta` (C, S, S), or what it knows of it at native scale, adds to the whole native image,
        as a fraction of its white."""
        size = self.window.size
        if native is None:
            return Change(self.window.spread(native_change(delta, size, self.native.channels), self.native.size))
        part, channels = self._within(native.part(size)), self.native.channels
        at = Window(part.top + self.window.top, part.left + self.window.left, part.height, part.width)
        values = as_channels(at.cut(self.native.pixels), len(delta))
        added, defect = native(values * np.float32(2 / self.white) - 1, part, size)
        planes = added / 2
        change = as_channels(planes if planes.shape[2] == 3 else planes[..., 0], channels)
        change = _without_invisible(change if channels == 3 else change[..., 0])
        return Change(*(at.spread(one, self.native.size) for one in (change, defect)))

    @property
    def edges(self) -> tuple[bool, bool, bool, bool]:
        """Whether the image ends at top, left, bottom, right of the window."""
        top, left, bottom, right = self.window.within(self.native.size)
        return top == 0, left == 0, bottom == 1, right == 1

    def _within(self, part: Window) -> Window:
        """What of a part, which may reach beyond the window, lies in the image; in pixels of the window."""
        (low, high), (left, right) = (
            (max(start, -first), max(max(start, -first) + 1, min(start + length, edge - first)))
            for start, length, first, edge in (
                (part.top, part.height, self.window.top, self.native.size[0]),
                (part.left, part.width, self.window.left, self.native.size[1]),
            )
        )
        return Window(low, left, high - low, right - left)

    def photograph(self, most: int) -> Photograph:
        """The whole image, its longer side shrunk to ``most`` pixels where it is more; of one that is seen in windows
        what lies around the window, at native scale."""
        if self.window.size == self.native.size:
            scale = min(1.0, most / max(self.window.size))
            height, width = (max(1, round(length * scale)) for length in self.window.size)
            return Photograph(self._scaled(resize_float(self.native.pixels, (height, width))))
        rim, (height, width) = AROUND * self.window.height, self.native.size
        top, left = max(0, self.window.top - rim), max(0, self.window.left - rim)
        bottom, right = (
            min(length, first + self.window.height + rim)
            for length, first in ((height, self.window.top), (width, self.window.left))
        )
        around = Window(top, left, bottom - top, right - left)
        shown = Window(self.window.top - top, self.window.left - left, *self.window.size)
        return Photograph(self._scaled(around.cut(self.native.pixels)), self.window.height, shown)

    def _scaled(self, pixels: NDArray) -> Floats:
        return pixels.astype(np.float32) * np.float32(2 / self.white) - 1


def view_of(native: NativeImage, window: Window, info: BundleInfo) -> View:
    """Shows a window of an image to the model."""
    white = white_of(native, info.white)
    return View(native, window, to_model(window.cut(native.pixels), info.image_size, info.channels, white), white)


def seen_size(info: BundleInfo, product: str | None, size: tuple[int, int]) -> tuple[int, int] | None:
    """Height and width at which a model sees all of an image of a product, of (height, width), known or not; None where
    it sees it at native scale."""
    side = info.window(product, size)
    if side is None:
        return info.image_size, info.image_size
    scale = info.image_size / side
    return None if scale >= 1 else (round(size[0] * scale), round(size[1] * scale))


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
    return _without_invisible(change[..., 0] if channels == 1 else change)


def _without_invisible(change: Floats) -> Floats:
    change[magnitude(change) < NOISE_FLOOR] = 0
    return change


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


def stack(views: Iterable[Floats], model: DefectModel) -> Tensor:
    """(C, S, S) arrays as one batch on the model's device."""
    import torch

    return torch.from_numpy(np.stack(list(views))).to(model.device)


def to_numpy(delta: Tensor) -> Floats:
    """A tensor on any device as a float32 array."""
    return delta.detach().float().cpu().numpy()


def restoration_change(native: NativeImage, model: DefectModel, product: str | None = None) -> Floats:
    """What has to be added to a whole native image to take its defects away (the anchor domain).

    Args:
        product: of the image; None where that is not known.

    Returns:
        (H, W) or (H, W, 3), as a fraction of the white level.
    """
    import torch

    info, size = model.info, native.size
    side = info.window(product, size)
    parts = [windows.whole(size)] if side is None else windows.tiles(size, side)
    views = [view_of(native, window, info) for window in parts]
    changes: list[Floats] = []
    for start in range(0, len(views), BATCH):
        chunk = views[start : start + BATCH]
        with torch.inference_mode():
            deltas = to_numpy(model.restore(stack((view.pixels for view in chunk), model)).delta)
        changes += [
            native_change(delta, view.window.size, native.channels)
            for delta, view in zip(deltas, chunk, strict=True)
        ]
    return windows.join(changes, parts, size) if len(changes) > 1 else parts[0].spread(changes[0], size)


def square_on_defect(native: NativeImage, model: DefectModel, product: str, side: int) -> Window:
    """The square of that side about the largest part of what the model takes for a defect; in the middle where there is
    none."""
    strength = magnitude(restoration_change(native, model, product))
    parts, count = ndimage.label(strength >= max(float(strength.max()), 1e-6) / 2, structure=np.ones((3, 3)))
    if not count:
        return windows.square(native.size, side, (native.size[0] / 2, native.size[1] / 2))
    largest = 1 + int(np.argmax(ndimage.sum(strength, parts, np.arange(1, count + 1))))
    row, column = np.argwhere(parts == largest).mean(0).tolist()
    return windows.square(native.size, side, (row, column))
