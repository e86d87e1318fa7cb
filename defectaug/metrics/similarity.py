"""Which pictures are alike, also shifted or mirrored: by what a picture holds beyond its product's mean picture.

Pictures of one product are alike by nature. So its mean picture and slow changes of brightness are taken away, and
what is left is compared by correlation. NumPy alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from defectaug.io.images import resize_float
from defectaug.metrics.image_statistics import SMALL, Floats

COARSE = SMALL // 2
BLUR = 6  # reach of the mean that is taken away, in pixels of SMALL
MANY = 16  # pictures from which on their mean tells what a product's pictures share
REACH = 2  # shifts tried, in pixels of COARSE
TRIED = 3  # neighbours that are compared at SMALL
FLIPS = ((1, 1), (1, -1), (-1, 1), (-1, -1))  # steps along height and width
INNER = (slice(2 * REACH, -2 * REACH), slice(2 * REACH, -2 * REACH))  # what a shift does not wrap around
BLOCK = 512


@dataclass(frozen=True, slots=True)
class Match:
    """The picture of a gallery that a query is most alike to.

    Args:
        number: of the picture; -1 where the gallery holds none.
        likeness: correlation, at most 1.
        flip, shift: how the query lies over it, in pixels of SMALL.
    """

    number: int
    likeness: float
    flip: tuple[int, int] = (1, 1)
    shift: tuple[int, int] = (0, 0)


NO_MATCH = Match(-1, -1.0)


@dataclass(frozen=True)
class Gallery:
    """A product's pictures that others are compared with.

    Args:
        rest: (M, S, S), what they hold beyond `mean`.
        mean: (S, S), what the product's pictures share; taken from queries after they are shifted and mirrored.
    """

    rest: Floats
    mean: Floats

    @staticmethod
    def of(smalls: Sequence[Floats], mean: Floats) -> Gallery:
        """From small grey pictures and a :func:`mean_picture`, (S, S) each."""
        return Gallery(details(smalls) - details([mean]), details([mean])[0])


def mean_picture(smalls: Sequence[Floats]) -> Floats:
    """Mean of a product's normal pictures; zero where there are too few for one."""
    if len(smalls) < MANY:
        return np.zeros((SMALL, SMALL), np.float32)
    return np.mean(smalls, axis=0, dtype=np.float32)


def details(smalls: Sequence[Floats]) -> Floats:
    """Pictures without slow changes of brightness: (N, S, S)."""
    if not len(smalls):
        return np.zeros((0, SMALL, SMALL), np.float32)
    pictures = np.stack(smalls)
    return np.asarray(pictures - _blurred(pictures, BLUR), np.float32)


def nearest(
    queries: Floats,
    gallery: Gallery,
    *,
    regions: Sequence[NDArray[np.bool_] | None] | None = None,
    forbidden: NDArray[np.bool_] | None = None,
    spared: float = 0.0,
) -> list[Match]:
    """For each query the picture of the gallery that it is most alike to.

    Args:
        queries: (N, S, S), `details` of small pictures.
        gallery: what they are compared with.
        regions: where each query (S, S) has been painted on. The query must be alike there as well as in all: its
            background is a real picture's, and says nothing. None: alike in all is enough.
        forbidden: (N, M), True for pairs that are not to be compared.
        spared: share of the pixels, those that differ most, that need not be alike: what was painted on a background.
    """
    found: list[Match] = []
    for start in range(0, len(queries), BLOCK):
        block = queries[start : start + BLOCK]
        scores = coarse_likeness(block, gallery)
        if forbidden is not None:
            scores[forbidden[start : start + len(block)]] = -np.inf
        for row, query in enumerate(block):
            region = None if regions is None else regions[start + row]
            tried = [number for number in np.argsort(-scores[row], kind="stable")[:TRIED] if scores[row, number] >= -1]
            matches = [compare(query, gallery, int(number), region, spared) for number in tried]
            found.append(max(matches, key=lambda match: match.likeness, default=NO_MATCH))
    return found


def coarse_likeness(queries: Floats, gallery: Gallery) -> NDArray[np.float64]:
    """Highest correlations (N, M) over mirrored and slightly shifted queries, at half of SMALL."""
    others, mean = _units(_halved(gallery.rest)).T, _halved(gallery.mean[None])
    small = _halved(queries)
    best = np.full((len(queries), len(gallery.rest)), -1.0)
    for down, right in FLIPS:
        for shift in _shifts(REACH) if best.size else ():
            laid = np.roll(small[:, ::down, ::right], shift, (1, 2)) - mean
            np.maximum(best, _units(laid) @ others, out=best)
    return best


def compare(
    query: Floats, gallery: Gallery, number: int, region: NDArray[np.bool_] | None = None, spared: float = 0.0
) -> Match:
    """A query and one picture of the gallery, the query mirrored and shifted so that they are closest."""
    other, mean = gallery.rest[number], gallery.mean
    shared, own = float((mean * other).sum()), float(np.square(query).sum() + np.square(mean).sum())
    best, place = -np.inf, (FLIPS[0], (0, 0))
    for flip in FLIPS:
        spectrum = np.fft.rfft2(query[:: flip[0], :: flip[1]])
        with_other, with_mean = (
            np.fft.irfft2(np.conj(spectrum) * np.fft.rfft2(surface), s=query.shape) for surface in (other, mean)
        )
        for shift in _shifts(2 * REACH):
            size = max(own - 2 * with_mean[shift], 1e-6)
            likeness = (with_other[shift] - shared) / np.sqrt(size)
            if likeness > best:
                best, place = likeness, (flip, shift)
    (down, right), shift = place
    laid = np.roll(query[::down, ::right], shift, (0, 1)) - mean
    inner, theirs = laid[INNER], other[INNER]
    if spared:
        apart = np.abs(inner - theirs)
        close = apart <= np.quantile(apart, 1 - spared)
        inner, theirs = inner[close], theirs[close]
    found = _correlation(inner, theirs)
    if region is not None and region.any():
        there = np.roll(region[::down, ::right], shift, (0, 1))
        found = min(found, _correlation(laid[there], other[there]))
    return Match(number, found, place[0], shift)


def widened(region: NDArray[np.bool_], reach: int = 2) -> NDArray[np.bool_]:
    """A mask of any size as (SMALL, SMALL), no pixel of it lost, with a border of `reach` pixels."""
    small = resize_float(region.astype(np.float32), (SMALL, SMALL)) > 0
    for axis in (0, 1):
        padded = np.pad(small, [(reach, reach) if a == axis else (0, 0) for a in (0, 1)])
        parts = [np.take(padded, range(k, k + SMALL), axis) for k in range(2 * reach + 1)]
        small = np.logical_or.reduce(parts)
    return small


def _correlation(a: Floats, b: Floats) -> float:
    a, b = a - a.mean(), b - b.mean()
    size = float(np.linalg.norm(a) * np.linalg.norm(b))
    if size < 1e-3:  # nothing but flat surface in one of them: alike only if in both
        return 1.0 if np.abs(a - b).max() < 0.5 else 0.0
    return float((a * b).sum()) / size


def _blurred(images: Floats, reach: int) -> Floats:
    """Mean over squares of 2 reach + 1 pixels, mirrored at the border: (N, S, S)."""
    side = 2 * reach + 1
    for axis in (1, 2):
        padded = np.pad(images, [(reach, reach) if a == axis else (0, 0) for a in range(3)], mode="reflect")
        sums = np.cumsum(padded, axis, dtype=np.float64)
        sums = np.concatenate([np.zeros_like(np.take(sums, [0], axis)), sums], axis)
        length = images.shape[axis]
        upper, lower = (np.take(sums, range(at, at + length), axis) for at in (side, 0))
        images = ((upper - lower) / side).astype(np.float32)
    return images


def _halved(images: Floats) -> Floats:
    return images.reshape(len(images), COARSE, 2, COARSE, 2).mean((2, 4))


def _units(images: Floats) -> Floats:
    rows = images.reshape(len(images), -1)
    rows = rows - rows.mean(1, keepdims=True)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)


def _shifts(reach: int) -> list[tuple[int, int]]:
    """All shifts within reach, the shortest first, so that of equal ones the shortest is taken."""
    steps = range(-reach, reach + 1)
    return sorted(((down, right) for down in steps for right in steps), key=lambda s: (abs(s[0]) + abs(s[1]), s))
