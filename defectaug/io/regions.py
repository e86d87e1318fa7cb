"""The connected parts of a defect mask: their boxes, pixels and outlines. Arrays are (H, W)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Point = tuple[float, float]
"""x and y in pixels; (0, 0) is the upper left corner of the image, and of its first pixel."""
Ring = list[Point]
"""A closed line, the last point joined to the first; the region lies to the right of those who walk along it."""
_EAST, _SOUTH, _WEST, _NORTH = range(4)
_STEPS = ((1, 0), (0, 1), (-1, 0), (0, -1))


@dataclass(frozen=True)
class Region:
    """One connected part of a mask; pixels that touch at a corner are connected.

    Args:
        left, top: where its box begins.
        pixels: (height, width) of the box, True where the region is.
    """

    left: int
    top: int
    pixels: NDArray[np.bool_]

    @property
    def box(self) -> tuple[int, int, int, int]:
        """x, y, width and height."""
        height, width = self.pixels.shape
        return self.left, self.top, width, height

    @property
    def area(self) -> int:
        """Count of its pixels."""
        return int(self.pixels.sum())

    @cached_property
    def rings(self) -> list[list[tuple[int, int, int]]]:
        """The closed lines along the edges of its pixels, the outer one first, then one a hole: corners (x, y, the
        direction in which the line goes on)."""
        return [_moved(ring, self.left, self.top) for ring in _rings(self.pixels)]

    def outline(self, inset: float = 0.0) -> list[Ring]:
        """The rings as points, moved `inset` pixels into the region: with any inset above 0, a point lies within the
        pixel of the region that it is a corner of."""
        return [list(_inset(ring, inset)) for ring in self.rings]


def regions(mask: NDArray) -> list[Region]:
    """The connected parts of a mask, from top to bottom.

    Args:
        mask: (H, W); every value above 0 is defect.
    """
    from scipy import ndimage

    numbers, _ = ndimage.label(np.asarray(mask) > 0, structure=np.ones((3, 3), bool))
    boxes = ndimage.find_objects(numbers)
    return [
        Region(columns.start, rows.start, numbers[rows, columns] == number)
        for number, (rows, columns) in enumerate(boxes, start=1)
    ]


def boxes_and_area(mask: NDArray) -> dict[str, Any]:
    """What a manifest tells of a mask: `boxes` (x, y, width, height of each region), `area` (share of the image)."""
    mask = np.asarray(mask) > 0
    return {"boxes": [region.box for region in regions(mask)], "area": round(float(mask.mean()), 6)}


def one_ring(rings: list[Ring]) -> Ring:
    """A region's outline as one closed line, for formats that know no holes: each hole is joined to what lies left of
    it by a level cut without width. Both ways of filling, even-odd and by winding, leave the holes empty.

    Args:
        rings: the outer line first, then those of the holes.
    """
    whole, *holes = rings
    for hole in sorted(holes, key=min):  # from the left: what a cut meets is part of the line already
        x, y = start = min(hole)
        place, at = max(_met(whole, x, y))[1:] if x else (0, x)
        turn = hole.index(start)
        cut = (at, y)
        whole = [*whole[: place + 1], cut, *hole[turn:], *hole[:turn], start, cut, *whole[place + 1 :]]
    return whole


def _met(ring: Ring, x: float, y: float) -> Iterator[tuple[float, int, float]]:
    """Where a level line to the left of (x, y) meets a ring: the x, twice, and the number of the point before it."""
    for place, ((x0, y0), (x1, y1)) in enumerate(zip(ring, [*ring[1:], ring[0]], strict=True)):
        if y0 != y1 and min(y0, y1) <= y <= max(y0, y1):
            at = x0 + (x1 - x0) * (y - y0) / (y1 - y0)
            if at < x:
                yield at, place, at


def _moved(ring: list[tuple[int, int, int]], left: int, top: int) -> list[tuple[int, int, int]]:
    return [(x + left, y + top, way) for x, y, way in ring]


def _rings(pixels: NDArray[np.bool_]) -> list[list[tuple[int, int, int]]]:
    """The lines around the pixels of one region, the outer one first: their corners, each with the way onwards."""
    edges = _edges(pixels)
    rings = []
    while edges:
        x, y, first = next(iter(edges))  # the topmost edge, which is one of the outer ring's
        ring, way = [], first
        while (x, y, way) in edges:
            del edges[x, y, way]
            x, y = x + _STEPS[way][0], y + _STEPS[way][1]
            # Left first, which keeps pixels together that touch at a corner; then straight on, then right.
            onward = next((way + turn for turn in (3, 0, 1) if (x, y, (way + turn) % 4) in edges), first) % 4
            if onward != way:
                ring.append((x, y, onward))
            way = onward
        rings.append(ring)
    return rings


def _edges(pixels: NDArray[np.bool_]) -> dict[tuple[int, int, int], None]:
    """Where a line around the pixels goes: steps from (x, y) one pixel onwards, the region to their right; by rows."""
    padded = np.pad(pixels, 1)
    inside = padded[1:-1, 1:-1]
    beyond = {_EAST: padded[:-2, 1:-1], _SOUTH: padded[1:-1, 2:], _WEST: padded[2:, 1:-1], _NORTH: padded[1:-1, :-2]}
    start = {_EAST: (0, 0), _SOUTH: (1, 0), _WEST: (1, 1), _NORTH: (0, 1)}
    found = []
    for way, other in beyond.items():
        rows, columns = np.nonzero(inside & ~other)
        right, down = start[way]
        found += [(y + down, way, x + right) for y, x in zip(rows.tolist(), columns.tolist(), strict=True)]
    return {(x, y, way): None for y, way, x in sorted(found)}


def _inset(ring: list[tuple[int, int, int]], inset: float) -> Iterator[Point]:
    """The corners of a ring moved into the pixels beside it: at a right turn one pixel has the corner, at a left turn
    the line leaves one pixel for another."""
    before = ring[-1][2]
    for x, y, way in ring:
        (ex, ey), (fx, fy) = _STEPS[before], _STEPS[way]
        # The region lies to the right of a step (ex, ey), which is (-ey, ex).
        end = x + inset * (-ex - ey), y + inset * (-ey + ex)
        begin = x + inset * (fx - fy), y + inset * (fy + fx)
        yield end
        if begin != end:
            yield begin
        before = way
