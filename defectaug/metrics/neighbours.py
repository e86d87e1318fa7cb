"""Nearest real images, copies and near-duplicates. No torch.

A synthetic image lies near the normal image that it was painted on, as it should. So a synthetic image counts as a copy
of a defective one only if it is similar where it has been painted on, too; and one that shows no change from a normal
image is no defect at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from defectaug.data.near_duplicates import (
    NEAR_DUPLICATE,
    NO_MATCH,
    THUMBNAIL,
    Gallery,
    Match,
    Region,
    details,
    dilated,
    near_duplicate_pairs,
    nearest,
)
from defectaug.metrics.changes import VISIBLE, SourceChange, source_change
from defectaug.metrics.context import EvaluationContext
from defectaug.metrics.images import Floats, ImageSet, Progress

MOST = 0.5  # share of an image: a change of more is no defect, it is another image
SOURCE = 0.97  # similarity of an image and what it was painted on; on the demonstration data others stay below 0.96
SPARED = 0.25  # share of an image that painting may change, for its source still to be known by its similarity
BATCH = 64


@dataclass(frozen=True)
class Neighbour:
    """The real images that a synthetic one was compared with.

    Args:
        defective: the nearest defective real image of its product, also shifted or mirrored.
        normal: number of the normal real image that it was painted on, known from the manifest or from its similarity;
            -1 for unknown.
        unchanged: whether no difference from that image can be seen.
    """

    defective: Match
    normal: int = -1
    unchanged: bool = False

    @property
    def is_copy(self) -> bool:
        return self.defective.similarity >= NEAR_DUPLICATE


@dataclass(frozen=True)
class NearDuplicates:
    """Two images that are near-duplicates: number of the set, and of the image in it, of each."""

    first: tuple[int, int]
    second: tuple[int, int]
    similarity: float


def neighbours(
    context: EvaluationContext, synthetic: ImageSet, changes: Sequence[SourceChange | None], progress: Progress
) -> tuple[list[Neighbour], list[Region]]:
    """For each synthetic image which real image it repeats, and where it was painted on.

    Args:
        context: what is evaluated.
        synthetic: synthetic images.
        changes: of each from its source, where that is known.
        progress: called with the images done and their number.

    Returns:
        Neighbours, their numbers those of `context.real`; and regions, None for unknown.
    """
    found: list[Neighbour] = [Neighbour(NO_MATCH)] * len(synthetic)
    regions: list[Region] = [None] * len(synthetic)
    exact = {value: number for number, value in enumerate(context.real.pixel_hashes)}
    done = 0
    for product in sorted({record.product for record in synthetic.records}):
        of_product = [n for n, record in enumerate(synthetic.records) if record.product == product]
        for start in range(0, len(of_product), BATCH):
            numbers = of_product[start : start + BATCH]
            batch = _of_product(context, product, synthetic.take(numbers), [changes[n] for n in numbers])
            for number, (neighbour, region) in zip(numbers, batch, strict=True):
                equal = exact.get(synthetic.statistics[number].pixel_hash)
                found[number] = neighbour if equal is None else _exact(context, neighbour, equal)
                regions[number] = region
            done += len(numbers)
            progress(done, len(synthetic))
    return found, regions


def _of_product(
    context: EvaluationContext, product: str, synthetic: ImageSet, changes: Sequence[SourceChange | None]
) -> list[tuple[Neighbour, Region]]:
    """As `neighbours`, of synthetic images of one product."""
    real, mean = context.real, context.means.get(product, np.zeros((THUMBNAIL, THUMBNAIL), np.float32))
    defective, normal = _real_of(context, product, True), _real_of(context, product, False)
    queries = details(synthetic.thumbnails)
    on_normal = nearest(queries, Gallery.of([real.statistics[n].thumbnail for n in normal], mean), spared=SPARED)
    numbers = {record.path.resolve(): n for n, record in enumerate(real.records)}
    painted: list[tuple[int, bool, Region]] = []
    for number, (record, match, change) in enumerate(zip(synthetic.records, on_normal, changes, strict=True)):
        if change is not None and record.source is not None:
            painted.append((numbers.get(record.source.resolve(), -1), *_known(change)))
        elif match.similarity >= SOURCE:
            painted.append((normal[match.number], *_guessed(context, synthetic, number, match, normal[match.number])))
        else:
            painted.append((-1, False, None))
    regions = [region for _, _, region in painted]
    gallery = Gallery.of([real.statistics[n].thumbnail for n in defective], mean)
    on_defective = nearest(queries, gallery, regions=regions)
    return [
        (Neighbour(_renumbered(match, defective), source, unchanged), region)
        for match, (source, unchanged, region) in zip(on_defective, painted, strict=True)
    ]


def _known(change: SourceChange) -> tuple[bool, Region]:
    """Whether an image is its source unchanged, and where it was painted on."""
    return change.visible == 0, change.region if 0 < change.visible < MOST else None


def _guessed(
    context: EvaluationContext, synthetic: ImageSet, number: int, match: Match, source: int
) -> tuple[bool, Region]:
    """As `_known`, of an image so similar to a normal one that this must be what it was painted on."""
    real = context.real
    if (match.flip, match.shift) == ((1, 1), (0, 0)):
        change = source_change(replace(synthetic.records[number], source=real.records[source].path), context.store)
        if change is not None:
            return _known(change)
    (down, right), shift = match.flip, match.shift
    laid = np.roll(synthetic.statistics[number].thumbnail[::down, ::right], shift, (0, 1))
    edge = max(1, *map(abs, shift))
    rest: Floats = (details([laid]) - details([real.statistics[source].thumbnail]))[0]
    rest[:edge] = rest[-edge:] = rest[:, :edge] = rest[:, -edge:] = 0  # what the shift has wrapped around
    seen = np.abs(rest) > VISIBLE
    if not seen.any():
        return True, None
    return False, dilated(np.roll(seen, (-shift[0], -shift[1]), (0, 1))[::down, ::right])


def _exact(context: EvaluationContext, neighbour: Neighbour, number: int) -> Neighbour:
    """The neighbour of an image whose pixels equal those of a real one."""
    if context.is_defective(context.real.records[number]):
        return Neighbour(Match(number, 1.0))
    return Neighbour(neighbour.defective, number, True)


def baseline(context: EvaluationContext) -> list[float]:
    """How similar real defective images are that are no near-duplicates: of each to the nearest other of its product.

    With held-out images, of each of those to the nearest real one.
    """
    found: list[Match] = []
    queried = context.test or context.real
    for product in sorted({record.product for record in queried.records}):
        numbers = _real_of(context, product, True)
        if not numbers:
            continue
        gallery = Gallery.of([context.real.statistics[n].thumbnail for n in numbers], context.means[product])
        if context.test is None:
            queries, groups = queried.take(numbers), context.groups[numbers]
            forbidden = groups[:, None] == groups[None]
        else:
            queries, forbidden = context.defective(queried, product), None
        found += nearest(details(queries.thumbnails), gallery, forbidden=forbidden)
    return [match.similarity for match in found if match.number >= 0]


def near_duplicates(
    context: EvaluationContext, sets: Sequence[ImageSet], regions: Sequence[Sequence[Region]]
) -> list[NearDuplicates]:
    """Pairs of similar images of all sets: of one product and defect, and similar where either was painted on, too.

    Args:
        context: what is evaluated.
        sets: images of one set come before those of a later one in a pair.
        regions: of each image of each set.
    """
    pairs: list[NearDuplicates] = []
    for category in sorted({record.category for one in sets for record in one.records}):
        members = [(k, n) for k, one in enumerate(sets) for n in one.categories.get(category, ())]
        thumbnails = [sets[k].statistics[n].thumbnail for k, n in members]
        mean = context.means.get(category.product, np.zeros((THUMBNAIL, THUMBNAIL), np.float32))
        for a, b, similarity in near_duplicate_pairs(thumbnails, mean, [regions[k][n] for k, n in members]):
            pairs.append(NearDuplicates(members[a], members[b], similarity))
    return pairs


def _real_of(context: EvaluationContext, product: str, defective: bool) -> list[int]:
    return [
        number
        for number, record in enumerate(context.real.records)
        if record.product == product and context.is_defective(record) == defective
    ]


def _renumbered(match: Match, numbers: Sequence[int]) -> Match:
    return match if match.number < 0 else replace(match, number=numbers[match.number])
