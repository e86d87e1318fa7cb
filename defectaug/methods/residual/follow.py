"""Defects in images of which a model sees a window at a time: where they are, and those longer than a window."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from defectaug.data.framing import Photograph
from defectaug.io.windows import Window, square, whole
from defectaug.methods.outline import touching
from defectaug.methods.residual.cutout import Cutout, enlarged

Floats = NDArray[np.float32]
Read = Callable[[Window], Tensor]  # a window's mask (1, 1, S, S)
MOST = 12  # windows of one defect
LOOKS = 6  # windows in which a defect is looked for at first
EDGE = 2  # pixels of a window's edge, in which a defect is taken to go on
NEAR = 0.25  # of a side: windows that are no farther from each other show the same
GAP = 2  # pixels across which parts are one defect
TILES = 64  # windows of an image that are looked at, those first that hold most of the places known before
TOGETHER = 8  # windows at a time
PLACES = 64  # kept an image
DOUBTFUL = 0.1  # probability that something has to reach
MINOR = 0.2  # share of the largest part's sum of probabilities, below which another is left out


def look_over(
    photograph: Photograph, look: Callable[[Sequence[Window]], Sequence[Floats]]
) -> NDArray[np.float64] | None:
    """Where the defect of an image is that is seen in windows, by probabilities that ``look`` gives of each window, of
    its height and width: places (N, 2) as shares of height and width; None where nothing is found."""
    if photograph.side is None:
        return None
    size = photograph.size
    windows = photograph.parts(None if photograph.points is None else TILES)
    found = np.zeros(size, np.float32)
    for start in range(0, len(windows), TOGETHER):
        some = windows[start : start + TOGETHER]
        for window, likely in zip(some, look(some), strict=True):
            there = window.cut(found)
            np.maximum(there, likely, out=there)
    clearest = float(found.max())
    if clearest < DOUBTFUL:
        return None
    parts, count = ndimage.label(found > DOUBTFUL * clearest, structure=np.ones((3, 3)))
    sums = np.asarray(ndimage.sum(found, parts, np.arange(1, count + 1)))
    main = np.isin(parts, 1 + np.flatnonzero(sums >= MINOR * sums.max()))
    places = np.argwhere(main & (found >= clearest / 2))
    kept = places[np.linspace(0, len(places) - 1, min(len(places), PLACES)).round().astype(int)]
    return (kept + 0.5) / size if len(kept) else None


def best_window(photograph: Photograph, read: Read) -> Window:
    """What to show a model of an image: all of it, or of one that is seen in windows the one about the clearest of the
    defects that are found where they may be."""
    size = photograph.size
    if photograph.side is None:
        return whole(size)
    points = np.array([[0.5, 0.5]]) if photograph.points is None else photograph.points
    chosen = points[np.unique(np.linspace(0, len(points) - 1, LOOKS).astype(int))]
    windows = [square(size, photograph.side, (float(y * size[0]), float(x * size[1]))) for y, x in chosen]
    masks = [enlarged(read(window)[0], window.size) for window in windows]
    best = int(np.argmax([mask.sum() for mask in masks]))
    there = np.argwhere(masks[best] > 0.5)
    if not len(there):
        return windows[best]
    row, column = there.mean(0).tolist()
    return square(size, photograph.side, (windows[best].top + row, windows[best].left + column))


def cut_out(photograph: Photograph, style: Tensor, level: Tensor, mask: Tensor, read: Read) -> Cutout | None:
    """A defect cut out of its photograph, of which a model was shown the window or all.

    Args:
        style, level: (C + 1,), (C,) of it.
        mask: (1, 1, S, S) of what was shown.
        read: of other windows.
    """
    size = photograph.size
    shown = photograph.window or whole(size)
    scale = (shown.height * shown.width) ** 0.5 / mask.shape[-1]
    if photograph.side is None:
        return Cutout.of(photograph.pixels, enlarged(mask[0], size), style, level, scale)
    return Cutout.of(photograph.pixels, whole_mask(size, shown, mask, read), style, level, scale, shown)


def whole_mask(size: tuple[int, int], shown: Window, mask: Tensor, read: Read) -> Floats:
    """The mask (H, W) in [0, 1] of a defect of an image of that size, from what a window shows of it, (1, 1, S, S), and
    others that are read."""
    first = enlarged(mask[0], shown.size)
    return followed(size, shown, lambda window: first if window == shown else enlarged(read(window)[0], window.size))


def window_at_edge(found: Floats, shown: Window) -> Window | None:
    """The square, as large as ``shown``, about the place at which a mask (H, W) meets an edge of its image that
    ``shown`` does not show; None where it meets none."""
    size = (found.shape[0], found.shape[1])
    top, left, bottom, right = shown.within(size)
    hidden = (top > 0, bottom < 1, left > 0, right < 1)
    at = [place for place, away in zip(meets(found), hidden, strict=True) if place and away]
    return square(size, shown.height, at[0]) if at else None


def followed(size: tuple[int, int], start: Window, read: Callable[[Window], Floats]) -> Floats:
    """The mask (H, W) in [0, 1] of a defect of an image of that size, from window to window as long as it goes on.

    Args:
        start: the window in which it is looked for; all that is found there belongs to it.
        read: the mask that a window shows, of its height and width.
    """
    total, todo, seen = np.zeros(size, np.float32), [start], [start]
    for count in range(MOST):
        if count == len(todo):
            break
        window = todo[count]
        found, there = read(window), window.cut(total)
        if count:
            found = found * connected(found > 0.5, there > 0.5)
        np.maximum(there, found, out=there)
        for centre in ends(window.cut(total), window, size):
            further = square(size, window.height, centre)
            if all(_shows_more(further, other, size) for other in seen):
                seen.append(further)
                todo.append(further)
    return total


def connected(found: NDArray[np.bool_], known: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The parts of a mask (h, w) that touch another, or nearly do."""
    return touching(found, ndimage.binary_dilation(known, np.ones((3, 3)), iterations=GAP))


def ends(mask: Floats, window: Window, size: tuple[int, int]) -> list[tuple[float, float]]:
    """Places (row, column) of the image at which a mask leaves its window, one an edge at most; the image's own edges
    are none."""
    top, left, bottom, right = window.within(size)
    inside = (top > 0, bottom < 1, left > 0, right < 1)
    return [
        (window.top + place[0], window.left + place[1])
        for place, goes_on in zip(meets(mask), inside, strict=True)
        if place and goes_on
    ]


def meets(mask: Floats) -> list[tuple[float, float] | None]:
    """The middles (row, column) of where a mask meets its top, bottom, left and right edge; None where it does not."""
    strips = ((slice(0, EDGE), slice(None)), (slice(-EDGE, None), slice(None)),
              (slice(None), slice(0, EDGE)), (slice(None), slice(-EDGE, None)))  # fmt: skip
    found: list[tuple[float, float] | None] = []
    for strip in strips:
        there = np.zeros(mask.shape, bool)
        there[strip] = mask[strip] > 0.5
        found.append(tuple(np.argwhere(there).mean(0).tolist()) if there.any() else None)
    return found


def _shows_more(window: Window, other: Window, size: tuple[int, int]) -> bool:
    """Whether a window is far from another, or shows an edge of the image that the other stops short of: what goes on
    for a few pixels up to that edge would be cut off within the image, and not be known to begin there."""
    far = np.hypot(window.top - other.top, window.left - other.left) > NEAR * window.height
    return bool(far or (_edges(window, size) & ~_edges(other, size)).any())


def _edges(window: Window, size: tuple[int, int]) -> NDArray[np.bool_]:
    """(4,), whether it shows the image's top, left, bottom, right edge."""
    top, left, bottom, right = window.within(size)
    return np.array([top <= 0, left <= 0, bottom >= 1, right >= 1])
