"""Which window of a large image a model sees: where its defect was seen on the product, or where that looks like it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from defectaug.io import windows
from defectaug.io.images import NativeImage, as_channels, white_of
from defectaug.io.windows import CELLS, Window, cells, likest, unlike
from defectaug.methods.base import BundleInfo
from defectaug.methods.native import Floats
from defectaug.methods.placement import Seen
from defectaug.synthesis.control.regions import resized_mask
from defectaug.synthesis.plan import derive_seed

TRIED = 24  # windows anywhere that are looked at
FINE = 4  # pixels a cell that are looked at, a side


def drawn_window(
    native: NativeImage,
    info: BundleInfo,
    product: str | None,
    region: NDArray[np.bool_] | None,
    seed: int,
    seen: Seen | None = None,
    away: float = windows.STRAY,
) -> Window:
    """The part of an image that the model sees: all of it, or a square, which shows some of the region where there is
    one. About the place in which the defect was seen, up to ``away`` of the side from it, where that is known and the
    region allows it, else anywhere. A part that lies in another way than on the defect's photograph shows there
    something else, a table say: then it is, of some squares anywhere, the one that looks most like what was around
    the defect.

    Args:
        product: of the image, known to the model or not.
        region: (H, W) of any size, where defects may lie; None for anywhere.
        seen: where the defect was seen.
    """
    size, side = native.size, info.window(product, native.size)
    if side is None:
        return windows.whole(size)
    allowed = None if region is None or not region.any() else resized_mask(region, size)

    def anywhere(number: int) -> Window:
        own = derive_seed(seed, "window", number) if number else seed
        return windows.random_square(size, side, own) if allowed is None else windows.square_on(allowed, side, own)

    if seen is None:
        return anywhere(0)
    near = windows.square_near(size, side, seen.box, seed, away)
    if allowed is not None and not near.cut(allowed).any():
        near = anywhere(0)
    if seen.around is None or min(seen.box) <= 0 or max(seen.box) >= 1:  # what meets an edge is to meet it again
        return near
    looks = _Looks.of(native, info, side)
    wanted = cells(seen.around)
    tried = [near, *(anywhere(number) for number in range(1, 1 + TRIED))]
    return tried[likest([unlike(looks(one), wanted) for one in tried])]


class _Looks:
    """What squares of an image look like from afar, of few of its pixels.

    Args:
        few: every ``step``-th pixel, (h, w, C) in [-1, 1].
    """

    def __init__(self, few: Floats, step: int) -> None:
        self._few, self._step = few, step

    @staticmethod
    def of(native: NativeImage, info: BundleInfo, side: int) -> _Looks:
        step = max(1, min(side, *native.size) // (FINE * CELLS))
        few = as_channels(native.pixels[::step, ::step], info.channels)
        return _Looks(few * np.float32(2 / white_of(native, info.white)) - 1, step)

    def __call__(self, window: Window) -> Floats:
        top, left, side = window.top // self._step, window.left // self._step, window.height // self._step
        return cells(self._few[top : top + side, left : left + side])
