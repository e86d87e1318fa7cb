"""Memorisation and leakage: copies of real images, defects that repeat those of real images on another background."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from defectaug.data.near_duplicates import THUMBNAIL, Gallery, Region, nearest
from defectaug.io.images import as_channels, resize_float
from defectaug.metrics.changes import SourceChange, shared
from defectaug.metrics.context import EvaluationContext
from defectaug.metrics.features import FeatureCache
from defectaug.metrics.folders import ImageRecord
from defectaug.metrics.images import Floats, ImageSet, ImageStore
from defectaug.metrics.neighbours import NearDuplicates, Neighbour, baseline, near_duplicates, neighbours

SAME_DEFECT = 0.95  # correlation of two defects from which on one repeats the other
PATCH = 32  # pixels of the square in which a defect is compared with others
SCALE = 128  # side of the image from which it is cut, PATCH being a quarter of it at half the size


@dataclass(frozen=True)
class RepeatedDefects:
    """Which synthetic defects repeat a real one (N,), and whether that is their own reference (N,).

    Args:
        real_share: share of real defects that repeat another real one; None where there are no two.
    """

    same: NDArray[np.bool_]
    own: NDArray[np.bool_]
    real_share: float | None


@dataclass(frozen=True)
class Memorisation:
    """What the defective images of one synthetic set repeat.

    Args:
        images: these images.
        neighbours: of each of them.
        exact: images with the very pixels of a real one.
        repeated: defects that repeat a real one on another background; None without masks of both.
        duplicates_within: pairs of near-duplicates within the set.
        distances: of the features to the nearest real defective image of the product, "synthetic" and, as baseline,
            "real"; None without features.
    """

    images: ImageSet
    neighbours: list[Neighbour]
    exact: int
    repeated: RepeatedDefects | None
    duplicates_within: int
    distances: dict[str, list[float]] | None

    @property
    def copies(self) -> int:
        """Images that repeat a real defective one, exact or nearly so, also shifted or mirrored."""
        return sum(one.is_copy for one in self.neighbours)

    @property
    def unchanged(self) -> int:
        """Images without a visible difference from a normal image."""
        return sum(one.unchanged for one in self.neighbours)

    @property
    def same_defect(self) -> int | None:
        """Images whose defect repeats a real one on another background; None without masks of both."""
        return None if self.repeated is None else int(self.repeated.same.sum())

    @property
    def by_reference(self) -> int:
        """Those of `same_defect` that repeat the very reference that they were to follow."""
        return 0 if self.repeated is None else int((self.repeated.same & self.repeated.own).sum())

    @property
    def same_defect_real(self) -> float | None:
        """Share of real defects that repeat another real one as much: the baseline."""
        return None if self.repeated is None else self.repeated.real_share


@dataclass(frozen=True)
class MemorisationResult:
    """What all sets repeat.

    Args:
        sets: one result a synthetic set.
        neighbours: of all images of each synthetic set.
        pairs: near-duplicates within and between the sets, numbered as in `EvaluationContext.sets`.
        baseline: similarity of real defective images to the nearest other, or of held-out ones to the nearest real one.
    """

    sets: list[Memorisation]
    neighbours: list[list[Neighbour]]
    pairs: list[NearDuplicates]
    baseline: list[float]


def memorisation(
    context: EvaluationContext, features: FeatureCache | None, changes: Sequence[Sequence[SourceChange | None]]
) -> MemorisationResult:
    """Compares all sets with the real images and with each other.

    Args:
        context: what is evaluated.
        features: for distances; None leaves these out.
        changes: of the images of each synthetic set from their sources.
    """
    found: list[list[Neighbour]] = []
    regions: list[Sequence[Region]] = []
    for synthetic, known in zip(context.synthetic, changes, strict=True):
        near, painted = neighbours(context, synthetic, known, context.stages(f"neighbours of {synthetic.name}"))
        found.append(near)
        regions.append(painted)
    real = context.sets[: len(context.sets) - len(regions)]
    pairs = near_duplicates(context, context.sets, [*([None] * len(one) for one in real), *regions])
    results = []
    for number, synthetic in enumerate(context.synthetic):
        defective = context.defective(synthetic)
        results.append(
            Memorisation(
                images=defective,
                neighbours=[
                    one
                    for one, record in zip(found[number], synthetic.records, strict=True)
                    if context.is_defective(record)
                ],
                exact=shared(defective.pixel_hashes, context.real.pixel_hashes),
                repeated=repeated_defects(context, defective),
                duplicates_within=sum(pair.first[0] == pair.second[0] == len(real) + number for pair in pairs),
                distances=_feature_distances(context, defective, features) if features and len(defective) else None,
            )
        )
    return MemorisationResult(results, found, pairs, baseline(context))


def _feature_distances(
    context: EvaluationContext, synthetic: ImageSet, features: FeatureCache
) -> dict[str, list[float]]:
    real = context.defective(context.real)
    held_out = context.defective(context.test) if context.test else real
    near = context.groups[[n for n, record in enumerate(context.real.records) if context.is_defective(record)]]

    def of_products(images: ImageSet) -> NDArray[np.float64]:
        """Distances (N, M) to the real images, infinite to other products."""
        products = [np.array([record.product for record in one.records]) for one in (images, real)]
        found = cdist(features.of(images), features.of(real))
        found[products[0][:, None] != products[1][None]] = np.inf
        return found

    distances = {"synthetic": of_products(synthetic), "real": of_products(held_out)}
    if context.test is None:
        distances["real"][near[:, None] == near[None]] = np.inf
    return {
        name: [float(value) for value in found.min(1, initial=np.inf) if np.isfinite(value)]
        for name, found in distances.items()
    }


def repeated_defects(context: EvaluationContext, synthetic: ImageSet) -> RepeatedDefects | None:
    """Defects cut out by their masks against those of real images; None where masks are missing."""
    real = context.real.where(lambda record: context.is_defective(record) and record.mask is not None)
    masked = [n for n, record in enumerate(synthetic.records) if record.mask is not None]
    if not len(real) or not masked:
        return None
    same, own = np.zeros(len(synthetic), bool), np.zeros(len(synthetic), bool)
    among_real: list[bool] = []
    for defect in sorted({record.defect for record in synthetic.records}):
        numbers = [n for n in masked if synthetic.records[n].defect == defect]
        others = [record for record in real.records if record.defect == defect]
        if not numbers or not others:
            continue
        rest = defect_patches(others, context.store)
        gallery = Gallery(rest, np.zeros_like(rest[0]))
        queries = defect_patches([synthetic.records[n] for n in numbers], context.store)
        for n, match in zip(numbers, nearest(queries, gallery), strict=True):
            same[n] = match.similarity >= SAME_DEFECT
            reference = synthetic.records[n].reference
            own[n] = reference is not None and reference.resolve() == others[match.number].path.resolve()
        between = nearest(rest, gallery, forbidden=np.eye(len(rest), dtype=bool))
        among_real += [match.similarity >= SAME_DEFECT for match in between]
    return RepeatedDefects(same, own, float(np.mean(among_real)) if among_real else None)


def defect_patches(records: Sequence[ImageRecord], store: ImageStore) -> Floats:
    """The defects themselves, by their masks: (N, S, S) grey levels against the surround, 0 outside the mask, at the
    size of thumbnails.

    Raises:
        DataError: an image or mask cannot be read.
        ValueError: an image without mask.
    """
    times = THUMBNAIL // PATCH
    return np.stack([_patch(record, store) for record in records]).repeat(times, 1).repeat(times, 2)


def _patch(record: ImageRecord, store: ImageStore) -> Floats:
    if record.mask is None:
        raise ValueError(f"{record.path}: no mask")
    image = store.read(record.path)
    grey = resize_float(as_channels(image.pixels, 1)[..., 0] * (255 / image.white), (SCALE, SCALE))
    mask = resize_float(store.mask(record.mask).astype(np.float32), (SCALE, SCALE)) > 0.25
    if not mask.any():
        return np.zeros((PATCH, PATCH), np.float32)
    contrast = np.where(mask, grey - np.median(grey[~mask] if not mask.all() else grey), 0)
    rows, columns = np.nonzero(mask)
    centre = [int((places.min() + places.max() + 1) // 2) for places in (rows, columns)]
    padded = np.pad(contrast, PATCH)  # twice PATCH at full size around the centre
    cut = padded[centre[0] : centre[0] + 2 * PATCH, centre[1] : centre[1] + 2 * PATCH]
    return np.asarray(cut.reshape(PATCH, 2, PATCH, 2).mean((1, 3)), np.float32)
