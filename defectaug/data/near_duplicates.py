"""Near-duplicates, found by correlation, also shifted or mirrored. No torch.

Images of one product are alike by nature. So the product's mean image and slow changes of brightness are taken away,
and what is left is compared by correlation.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import DisjointSet
from scipy.ndimage import maximum_filter, uniform_filter

from defectaug.data.index import DataIndex
from defectaug.data.sample import Category, Sample
from defectaug.io.images import NativeImage, as_channels, read_image, resize_float
from defectaug.io.progress import Progress, following

THUMBNAIL = 64
"""Side of the small grey images that are compared."""
COARSE = THUMBNAIL // 2
NEAR_DUPLICATE = 0.9
"""Correlation from which on two images count as one; on the demonstration data others stay below 0.72."""
SAME_PART = 0.87
"""The same for images that may show one part under another exposure (on MTD down to 0.876): a split had better hold two
parts together than one part on both sides."""
BLUR = 6  # reach of the local mean that is taken away, in pixels of the thumbnail
MANY = 16  # images from which on their mean tells what a product's images share
REACH = 2  # shifts tried, in coarse pixels
TRIED = 3  # neighbours that are compared at full size
FLIPS = ((1, 1), (1, -1), (-1, 1), (-1, -1))  # steps along height and width
INNER = (slice(2 * REACH, -2 * REACH), slice(2 * REACH, -2 * REACH))  # what a shift does not wrap around
BLOCK = 256  # queries that are compared at once, which bounds the memory
MTD_NAME = re.compile(r"exp\d+_num_(\d+)", re.IGNORECASE)
MTD_GAP = 200  # frames of one tile lie closer together than this

Floats = NDArray[np.float32]
Region = NDArray[np.bool_] | None
"""(S, S), where an image was painted on; None for unknown."""
Alignment = tuple[tuple[int, int], tuple[int, int]]
"""Mirroring and shift of an image, as of `Match`."""


@dataclass(frozen=True, slots=True)
class Match:
    """The image of a gallery that a query is most similar to.

    Args:
        number: of the image; -1 where the gallery holds none.
        similarity: correlation, at most 1.
        flip, shift: how the query lies over it, in pixels of the thumbnail.
    """

    number: int
    similarity: float
    flip: tuple[int, int] = (1, 1)
    shift: tuple[int, int] = (0, 0)


NO_MATCH = Match(-1, -1.0)


@dataclass(frozen=True)
class Gallery:
    """A product's images that others are compared with.

    Args:
        rest: (M, S, S), what they hold beyond `mean`.
        mean: (S, S), what the product's images share; taken from queries after they are shifted and mirrored.
    """

    rest: Floats
    mean: Floats

    @staticmethod
    def of(thumbnails: Sequence[Floats], mean: Floats) -> Gallery:
        """From thumbnails and a :func:`mean_image`, (S, S) each."""
        return Gallery(details(thumbnails) - details([mean]), details([mean])[0])


def thumbnail(image: NativeImage) -> Floats:
    """(S, S) grey levels of 0 to 255, averaged over the area."""
    grey = as_channels(image.pixels, 1)[..., 0] * (255 / image.white)
    return resize_float(grey, (THUMBNAIL, THUMBNAIL))


def mean_image(thumbnails: Sequence[Floats]) -> Floats:
    """Mean of a product's images; zero where there are too few for one."""
    if len(thumbnails) < MANY:
        return np.zeros((THUMBNAIL, THUMBNAIL), np.float32)
    return np.mean(thumbnails, axis=0, dtype=np.float32)


def mean_images(categories: Sequence[Category], thumbnails: Sequence[Floats], normal: str) -> dict[str, Floats]:
    """Mean image of each product's normal images; of all its images where it has no normal ones."""
    everything, normals = defaultdict(list), defaultdict(list)
    for (product, defect), image in zip(categories, thumbnails, strict=True):
        everything[product].append(image)
        if defect == normal:
            normals[product].append(image)
    return {product: mean_image(normals[product] or images) for product, images in everything.items()}


def details(thumbnails: Sequence[Floats]) -> Floats:
    """Thumbnails without slow changes of brightness: (N, S, S)."""
    if not len(thumbnails):
        return np.zeros((0, THUMBNAIL, THUMBNAIL), np.float32)
    images = np.stack(thumbnails).astype(np.float64)
    return (images - uniform_filter(images, (0, 2 * BLUR + 1, 2 * BLUR + 1), mode="mirror")).astype(np.float32)


def near_duplicate_groups(
    index: DataIndex, thumbnails: Sequence[Floats] | None = None, progress: Progress | None = None
) -> list[int]:
    """Groups the images that show the same part: group number by sample, in the order of `index.samples`.

    Only images of one product and defect are compared. In file names as those of MTD (`exp1_num_2345`), neighbouring
    numbers of a class are one tile under several exposures. Groups are closed under both relations.

    Args:
        index: the images.
        thumbnails: of every sample, where they are known.
        progress: called with the images done and their number.
    """
    if thumbnails is None:
        thumbnails = [thumbnail(read_image(sample.path)) for sample in index.samples]
    means = mean_images([sample.category for sample in index.samples], thumbnails, index.normal)
    groups, done = DisjointSet(range(len(index.samples))), 0
    for (product, _), members in members_of_categories(index).items():
        show = None if progress is None else following(progress, done, len(index.samples))
        some = [thumbnails[n] for n in members]
        for a, b, _ in near_duplicate_pairs(some, means[product], threshold=SAME_PART, progress=show):
            groups.merge(members[a], members[b])
        for a, b in _tile_neighbours([index.samples[member] for member in members]):
            groups.merge(members[a], members[b])
        done += len(members)
    return numbered(groups)


def part_groups(
    index: DataIndex,
    others: Sequence[Sample],
    thumbnails: Sequence[Floats],
    digests: Sequence[str],
    progress: Progress | None = None,
) -> list[int]:
    """:func:`near_duplicate_groups` of an index's samples and of further ones; those of one digest are one group under
    whatever label."""
    everything = replace(index, samples=(*index.samples, *others))
    near = near_duplicate_groups(everything, thumbnails, progress)
    joined, first = DisjointSet(near), dict[str, int]()
    for group, digest in zip(near, digests, strict=True):
        joined.merge(group, first.setdefault(digest, group))
    return [joined[group] for group in near]


def numbered(groups: DisjointSet) -> list[int]:
    """Number of its set for every element, counted from 0 in order of first appearance."""
    seen: dict[int, int] = {}
    return [seen.setdefault(groups[element], len(seen)) for element in groups]


def members_of_categories(index: DataIndex) -> dict[Category, list[int]]:
    """Numbers of the samples of each category."""
    members: dict[Category, list[int]] = defaultdict(list)
    for number, sample in enumerate(index.samples):
        members[sample.category].append(number)
    return members


def near_duplicate_pairs(
    thumbnails: Sequence[Floats],
    mean: Floats,
    regions: Sequence[Region] | None = None,
    threshold: float = NEAR_DUPLICATE,
    progress: Progress | None = None,
) -> Iterator[tuple[int, int, float]]:
    """Pairs of images, the first one's number the lower, that are near-duplicates, with their similarity.

    Args:
        thumbnails: (S, S) each.
        mean: what the product's images share, see :func:`mean_image`.
        regions: where each image was painted on, see :func:`nearest`; None for unknown.
        threshold: least similarity of a pair.
        progress: called with the images done and their number.
    """
    gallery, queries = Gallery.of(thumbnails, mean), details(thumbnails)
    for start in range(0, len(queries), BLOCK):
        likely = coarse_similarity(queries[start : start + BLOCK], gallery) > threshold - 0.1
        for first, others in enumerate(np.triu(likely, start + 1), start):
            numbers = np.flatnonzero(others)
            laid = alignments(queries[first], gallery, numbers) if len(numbers) else ()
            for second, alignment in zip(numbers.tolist(), laid, strict=True):
                known = [] if regions is None else [r for r in (regions[first], regions[second]) if r is not None]
                region = np.logical_or.reduce(known) if known else None
                similarity = compare(queries[first], gallery, second, alignment, region).similarity
                if similarity >= threshold:
                    yield first, second, similarity
            if progress:
                progress(first + 1, len(queries))


def nearest(
    queries: Floats,
    gallery: Gallery,
    *,
    regions: Sequence[Region] | None = None,
    spared: float = 0.0,
) -> list[Match]:
    """For each query the image of the gallery that it is most similar to.

    Args:
        queries: (N, S, S), `details` of thumbnails.
        gallery: what they are compared with.
        regions: where each query (S, S) was painted on. Similarity is then the lower of that of the whole image and
            that of the region: the background is a real image's, and tells nothing. None: of the whole image.
        spared: share of the pixels, those that differ most, that is left out: what was painted on a background.
    """
    found: list[Match] = []
    for start in range(0, len(queries), BLOCK):
        block = queries[start : start + BLOCK]
        scores = coarse_similarity(block, gallery)
        for row, query in enumerate(block):
            region = None if regions is None else regions[start + row]
            tried = [number for number in np.argsort(-scores[row], kind="stable")[:TRIED] if scores[row, number] >= -1]
            laid = alignments(query, gallery, np.array(tried, int)) if tried else ()
            matches = [
                compare(query, gallery, int(number), alignment, region, spared)
                for number, alignment in zip(tried, laid, strict=True)
            ]
            found.append(max(matches, key=lambda match: match.similarity, default=NO_MATCH))
    return found


def coarse_similarity(queries: Floats, gallery: Gallery) -> NDArray[np.float64]:
    """Highest correlations (N, M) over mirrored and slightly shifted queries, at half of the thumbnails' size."""
    others, mean = _units(_halved(gallery.rest)).T, _halved(gallery.mean[None])
    small = _halved(queries)
    best = np.full((len(queries), len(gallery.rest)), -1.0)
    for down, right in FLIPS:
        for shift in _shifts(REACH) if best.size else ():
            laid = np.roll(small[:, ::down, ::right], shift, (1, 2)) - mean
            np.maximum(best, _units(laid) @ others, out=best)
    return best


def alignments(query: Floats, gallery: Gallery, numbers: NDArray[np.integer]) -> list[Alignment]:
    """How a query (S, S) is mirrored and shifted so that it is closest to each of some images of the gallery; of equal
    ones the first of `FLIPS`, then the shortest shift."""
    others = gallery.rest[numbers].reshape(len(numbers), -1).T
    ways, found = _shifts(2 * REACH), []
    for down, right in FLIPS:
        wrapped = np.pad(query[::down, ::right], 2 * REACH, mode="wrap")
        views = np.lib.stride_tricks.sliding_window_view(wrapped, query.shape)
        laid = np.stack([views[2 * REACH - a, 2 * REACH - b] for a, b in ways]) - gallery.mean
        rows = laid.reshape(len(ways), -1)
        sizes = np.sqrt(np.maximum(np.square(rows).sum(1), 1e-6))
        found.append(rows @ others / sizes[:, None])
    best = np.concatenate(found).argmax(0)
    return [(FLIPS[one // len(ways)], ways[one % len(ways)]) for one in best.tolist()]


def compare(
    query: Floats, gallery: Gallery, number: int, alignment: Alignment, region: Region = None, spared: float = 0.0
) -> Match:
    """A query, mirrored and shifted, and one image of the gallery."""
    other, mean = gallery.rest[number], gallery.mean
    (down, right), shift = alignment
    laid = np.roll(query[::down, ::right], shift, (0, 1)) - mean
    inner, target = laid[INNER], other[INNER]
    if spared:
        apart = np.abs(inner - target)
        close = apart <= np.quantile(apart, 1 - spared)
        inner, target = inner[close], target[close]
    found = _correlation(inner, target)
    if region is not None and region.any():
        there = np.roll(region[::down, ::right], shift, (0, 1))
        found = min(found, _correlation(laid[there], other[there]))
    return Match(number, found, (down, right), shift)


def dilated(region: NDArray[np.bool_], reach: int = 2) -> NDArray[np.bool_]:
    """A mask of any size at the size of thumbnails, no pixel of it lost, with a border of `reach` pixels."""
    small = resize_float(region.astype(np.float32), (THUMBNAIL, THUMBNAIL)) > 0
    return maximum_filter(small, 2 * reach + 1, mode="constant", cval=False)


def _correlation(a: Floats, b: Floats) -> float:
    a, b = a - a.mean(), b - b.mean()
    size = float(np.linalg.norm(a) * np.linalg.norm(b))
    if size < 1e-3:  # nothing but flat surface in one of them: similar only if in both
        return 1.0 if np.abs(a - b).max() < 0.5 else 0.0
    return float((a * b).sum()) / size


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


def _tile_neighbours(samples: Sequence[Sample]) -> list[tuple[int, int]]:
    """Pairs of samples that follow each other closely in the numbers of their MTD file names."""
    matches = [(MTD_NAME.fullmatch(sample.path.stem), position) for position, sample in enumerate(samples)]
    numbered = sorted((int(match[1]), position) for match, position in matches if match)
    return [(a, b) for (first, a), (second, b) in pairwise(numbered) if second - first <= MTD_GAP]
