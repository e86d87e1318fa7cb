"""Memorisation: copies of real images, defects that repeat training ones or each other, defects like no real one.

A synthetic image lies near the normal image that it was painted on, as it should. So it counts as a copy of a
defective one only if it is similar where it has been painted on, too; and one without a change is no defect.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from scipy.stats import fisher_exact

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
from defectaug.errors import DataError
from defectaug.io.images import as_channels
from defectaug.io.progress import Progress, following
from defectaug.metrics.changes import VISIBLE, FindMask, SourceChange, shared, source_change
from defectaug.metrics.context import EvaluationContext
from defectaug.metrics.copies import VIEW, Closeness, Repeat, defect_view, nearest_defects
from defectaug.metrics.defects import odd_ones, traits
from defectaug.metrics.folders import ImageRecord
from defectaug.metrics.images import Floats, ImageSet, evenly

MOST = 60  # defects of a kind that are compared, evenly taken
MUCH = 0.5  # share of an image: a change of more is no defect, it is another image
SOURCE = 0.97  # similarity of an image and what it was painted on; on the demonstration data others stay below 0.96
SPARED = 0.25  # share of an image that painting may change, for its source still to be known by its similarity
BATCH = 256
ODD, CHANCE = 0.3, 0.001  # share of a kind's images that are like no real one, to be told, and the chance of so many


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
    """Two near-duplicates: number of the set, and of the image in it, of each."""

    first: tuple[int, int]
    second: tuple[int, int]
    similarity: float


@dataclass(frozen=True)
class Kind:
    """What the defects of one name are like, over all products.

    Args:
        defect: the name.
        numbers: of the images that were compared, within `Memorisation.images`.
        repeats: nearest training defect of each; `training` holds those.
        to_training: similarities to these, beside those of unseen real defects.
        to_each_other: the same among the synthetic, and among the real ones, as many.
        odd: images with a trait that no real one has, by trait; `odd_real` how many of the real ones are so.
        compared: synthetic and real images compared for that.
    """

    defect: str
    numbers: tuple[int, ...] = ()
    repeats: tuple[Repeat, ...] = ()
    training: tuple[ImageRecord, ...] = ()
    to_training: Closeness = field(default_factory=Closeness)
    to_each_other: Closeness = field(default_factory=Closeness)
    odd: tuple[tuple[int, str], ...] = ()
    odd_real: int = 0
    compared: tuple[int, int] = (0, 0)

    @property
    def is_odd(self) -> bool:
        """Whether too many are like no real one for that to be luck."""
        count, (total, real) = len(self.odd), self.compared
        if not total or not real or count < ODD * total or count / total <= self.odd_real / real:
            return False
        table = [[count, total - count], [self.odd_real, real - self.odd_real]]
        return bool(fisher_exact(table, "greater").pvalue < CHANCE) or (count == total and self.odd_real == 0)


@dataclass(frozen=True)
class Memorisation:
    """What the defective images of one synthetic set repeat.

    Args:
        images: these images.
        neighbours: of each of them.
        exact: images with the very pixels of a real one.
        kinds: their defects by name; empty without masks of both sides.
        duplicates_within: pairs of near-duplicates within the set.
    """

    images: ImageSet
    neighbours: list[Neighbour]
    exact: int
    kinds: list[Kind]
    duplicates_within: int

    @property
    def copies(self) -> int:
        """Images that repeat a real defective one, exact or nearly so, also shifted or mirrored."""
        return sum(one.is_copy for one in self.neighbours)

    @property
    def unchanged(self) -> int:
        """Images without a visible difference from a normal image."""
        return sum(one.unchanged for one in self.neighbours)

    @property
    def by_reference(self) -> int:
        """Defects that are nearest to the very reference that they were to follow."""
        return sum(
            (asked := self.images.records[n].reference) is not None
            and repeat.number >= 0
            and asked.resolve() == kind.training[repeat.number].path.resolve()
            for kind in self.kinds
            for n, repeat in zip(kind.numbers, kind.repeats, strict=True)
        )


def memorisation(
    context: EvaluationContext, changes: Sequence[Sequence[SourceChange | None]], find_mask: FindMask
) -> tuple[list[Memorisation], list[NearDuplicates]]:
    """Compares all sets with the real images and with each other: what each repeats, near-duplicates of all.

    Args:
        context: what is evaluated; near-duplicates have the numbers of its `sets`.
        changes: of the images of each synthetic set from their sources.
        find_mask: finds where defects lie.
    """
    found: list[list[Neighbour]] = []
    regions: list[Sequence[Region]] = []
    for synthetic, known in zip(context.synthetic, changes, strict=True):
        near, painted = neighbours(context, synthetic, known, context.stages(f"neighbours of {synthetic.name}"))
        found.append(near)
        regions.append(painted)
    real = context.sets[: len(context.sets) - len(regions)]
    pairs = near_duplicates(context, context.sets, [*([None] * len(one) for one in real), *regions])
    read, results = _reader(context, find_mask), []
    for number, synthetic in enumerate(context.synthetic):
        numbers = [n for n, record in enumerate(synthetic.records) if context.is_defective(record)]
        defective, near = synthetic.take(numbers), [found[number][n] for n in numbers]
        names, kinds = sorted({record.defect for record in defective.records}), []
        for done, name in enumerate(names, 1):
            kinds.append(_kind(context, read, defective, near, name))
            context.stages(f"defects of {synthetic.name}")(done, len(names))
        exact = shared(defective.pixel_hashes, context.real.pixel_hashes)
        within = sum(pair.first[0] == pair.second[0] == len(real) + number for pair in pairs)
        results.append(Memorisation(defective, near, exact, kinds, within))
    return results, pairs


def neighbours(
    context: EvaluationContext, synthetic: ImageSet, changes: Sequence[SourceChange | None], progress: Progress
) -> tuple[list[Neighbour], list[Region]]:
    """For each synthetic image which real image it repeats, and where it was painted on, None for unknown.

    Args:
        context: what is evaluated.
        synthetic: synthetic images.
        changes: of each from its source, where that is known.
        progress: called with the images done and their number.
    """
    found: list[Neighbour] = [Neighbour(NO_MATCH)] * len(synthetic)
    regions: list[Region] = [None] * len(synthetic)
    exact = {value: number for number, value in enumerate(context.real.pixel_hashes)}
    places = {record.path.resolve(): number for number, record in enumerate(context.real.records)}
    for product in sorted({record.product for record in synthetic.records}):
        members = [n for n, record in enumerate(synthetic.records) if record.product == product]
        galleries = {kind: _gallery(context, product, kind) for kind in (True, False)}
        for start in range(0, len(members), BATCH):
            batch = members[start : start + BATCH]
            queries = details([synthetic.statistics[n].thumbnail for n in batch])
            (numbers, gallery), (defective, others) = galleries[False], galleries[True]
            painted = []
            for n, match in zip(batch, nearest(queries, gallery, spared=SPARED), strict=True):
                normal = replace(match, number=numbers[match.number]) if match.number >= 0 else match
                painted.append(_painted_on(context, synthetic, n, changes[n], normal, places))
                regions[n] = painted[-1][2]
            near = nearest(queries, others, regions=[regions[n] for n in batch])
            for n, match, (source, unchanged, _) in zip(batch, near, painted, strict=True):
                match = replace(match, number=defective[match.number]) if match.number >= 0 else match
                found[n] = Neighbour(match, source, unchanged)
                equal = exact.get(synthetic.statistics[n].pixel_hash)
                if equal is not None:
                    is_defect = context.is_defective(context.real.records[equal])
                    found[n] = Neighbour(Match(equal, 1.0)) if is_defect else Neighbour(match, equal, True)
            progress(min(start + BATCH, len(members)), len(synthetic))
    return found, regions


def _gallery(context: EvaluationContext, product: str, defective: bool) -> tuple[list[int], Gallery]:
    """Numbers of a product's real images that are defective, or normal, and these to compare with."""
    records = enumerate(context.real.records)
    numbers = [n for n, one in records if one.product == product and context.is_defective(one) == defective]
    mean = context.means.get(product, np.zeros((THUMBNAIL, THUMBNAIL), np.float32))
    return numbers, Gallery.of([context.real.statistics[n].thumbnail for n in numbers], mean)


def _painted_on(
    context: EvaluationContext,
    synthetic: ImageSet,
    number: int,
    change: SourceChange | None,
    match: Match,
    places: Mapping[Path, int],
) -> tuple[int, bool, Region]:
    """Number of the normal image that an image was painted on, -1 for unknown; whether it is that one unchanged; where
    it was changed. By its source, else by the normal image `match`, where they are so similar that it must be that."""
    record, real = synthetic.records[number], context.real
    if change is not None and record.source is not None:
        known = places.get(record.source.resolve(), -1)
    elif match.similarity < SOURCE:
        return -1, False, None
    else:
        known = match.number
        if (match.flip, match.shift) == ((1, 1), (0, 0)):
            change = source_change(replace(record, source=real.records[known].path), context.store)
    if change is not None:
        return known, change.visible == 0, change.region if 0 < change.visible < MUCH else None
    (down, right), shift = match.flip, match.shift
    laid = np.roll(synthetic.statistics[number].thumbnail[::down, ::right], shift, (0, 1))
    edge = max(1, *map(abs, shift))
    rest = (details([laid]) - details([real.statistics[known].thumbnail]))[0]
    rest[:edge] = rest[-edge:] = rest[:, :edge] = rest[:, -edge:] = 0  # what the shift has wrapped around
    seen = np.abs(rest) > VISIBLE
    back = np.roll(seen, (-shift[0], -shift[1]), (0, 1))[::down, ::right]
    return known, not seen.any(), dilated(back) if seen.any() else None


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
    show, done, total = context.stages("near-duplicates"), 0, sum(map(len, sets))
    for category in sorted({record.category for one in sets for record in one.records}):
        members = [(k, n) for k, one in enumerate(sets) for n in one.categories.get(category, ())]
        thumbnails = [sets[k].statistics[n].thumbnail for k, n in members]
        mean = context.means.get(category.product, np.zeros((THUMBNAIL, THUMBNAIL), np.float32))
        painted, part = [regions[k][n] for k, n in members], following(show, done, total)
        for a, b, similarity in near_duplicate_pairs(thumbnails, mean, painted, progress=part):
            pairs.append(NearDuplicates(members[a], members[b], similarity))
        done += len(members)
    return pairs


@dataclass(frozen=True)
class _Seen:
    """A defect as it is compared: its view (2, V, V), None where it is not known where it lies; traits (T,)."""

    view: Floats | None
    traits: Floats


Reader = Callable[[ImageRecord, "ImageRecord | None"], "_Seen | None"]
"""Reads a defect, given its image and what that was painted on, where it is known; None for an unreadable image."""


def _reader(context: EvaluationContext, find_mask: FindMask) -> Reader:
    """Reads each defect once."""
    known: dict[ImageRecord, _Seen | None] = {}

    def seen(record: ImageRecord, source: ImageRecord | None) -> _Seen:
        image = context.store.read(record.path)
        colour = as_channels(image.pixels, 3).astype(np.float32) * (255 / image.white)
        mask = find_mask(replace(record, source=source.path) if source and not record.source else record)
        mask = mask if mask is not None and mask.shape == colour.shape[:2] and mask.any() else None
        return _Seen(None if mask is None else defect_view(colour.mean(2), mask), traits(colour, mask))

    def read(record: ImageRecord, source: ImageRecord | None = None) -> _Seen | None:
        if record not in known:
            try:
                known[record] = seen(record, source)
            except DataError:
                known[record] = None
        return known[record]

    return read


def _kind(context: EvaluationContext, read: Reader, images: ImageSet, near: Sequence[Neighbour], name: str) -> Kind:
    """What the defects of one name are like."""
    members = evenly([n for n, record in enumerate(images.records) if record.defect == name], MOST)
    painted_on = [context.real.records[near[n].normal] if near[n].normal >= 0 else None for n in members]
    fake = {n: one for n, on in zip(members, painted_on, strict=True) if (one := read(images.records[n], on))}
    training = evenly([n for n, record in enumerate(context.real.records) if record.defect == name], MOST)
    groups = context.groups[training]
    known = [read(context.real.records[n], None) for n in training]
    unseen = known
    if context.test is not None:
        tests = evenly([record for record in context.test.records if record.defect == name], MOST)
        unseen = [read(record, None) for record in tests]
    odd, odd_real = odd_ones([one.traits for one in fake.values()], _traits(known), _traits(unseen), unseen is known)
    traits_of: dict = {
        "odd": tuple((n, where) for n, where in zip(fake, odd, strict=True) if where),
        "odd_real": odd_real,
        "compared": (len(fake), len(_traits(unseen))),
    }
    rest = [n for n, one in enumerate(known) if one is not None and one.view is not None]
    numbers = [n for n, one in fake.items() if one.view is not None]
    if not rest or not numbers:
        return Kind(name, **traits_of)
    near_ones = groups[rest][:, None] == groups[rest][None]
    queries, others = _stacked(fake.values()), _stacked(known)
    repeats = nearest_defects(queries, others)
    beside = nearest_defects(_stacked(unseen), others, near_ones if unseen is known else None)
    count = min(len(queries), len(others))
    chosen, real = (evenly(range(len(views)), count) for views in (queries, others))
    among = nearest_defects(queries[chosen], queries[chosen], np.eye(count, dtype=bool))
    among_real = nearest_defects(others[real], others[real], near_ones[np.ix_(real, real)])
    return Kind(
        name, tuple(numbers), tuple(repeats), tuple(context.real.records[training[n]] for n in rest),
        Closeness.of(repeats, beside), Closeness.of(among, among_real), **traits_of,
    )  # fmt: skip


def _traits(seen: Sequence[_Seen | None]) -> list[Floats]:
    return [one.traits for one in seen if one is not None]


def _stacked(seen: Iterable[_Seen | None]) -> Floats:
    views = [one.view for one in seen if one is not None and one.view is not None]
    return np.stack(views) if views else np.zeros((0, 2, VIEW, VIEW), np.float32)
