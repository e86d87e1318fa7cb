"""What synthetic folders hold, and how far synthetic images are from the real ones that they were painted on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from defectaug.data.near_duplicates import dilated
from defectaug.data.sample import Category
from defectaug.errors import DataError
from defectaug.io.images import NativeImage
from defectaug.io.masks import defect_mask
from defectaug.io.progress import Progress
from defectaug.methods.base import DefectModel
from defectaug.methods.native import restoration_change, seen_size
from defectaug.metrics.context import EvaluationContext
from defectaug.metrics.folders import ImageRecord
from defectaug.metrics.images import Floats, ImageSet, ImageStore
from defectaug.metrics.localisation import PixelCounts

VISIBLE = 4.0  # grey levels of 255, averaged over 3 x 3 pixels: below what the eye sees on a plain surface
Counts = dict[str, int]  # "product/defect" to a number of images
Mask = NDArray[np.bool_]
FindMask = Callable[[ImageRecord], Mask | None]
"""Gives the mask (H, W) of an image's defect; None where it is not known."""


@dataclass(frozen=True)
class SourceChange:
    """How far one synthetic image is from its source, in grey levels of 255.

    Args:
        everywhere: mean absolute difference over all pixels.
        outside: the same outside the mask; None without a mask of the image's size.
        defect_share: share of the pixels in the mask; None as `outside`.
        visible: share of the pixels where the difference can be seen, a common change of brightness aside.
        region: (S, S) at the size of thumbnails, where that is, a little widened.
    """

    everywhere: float
    outside: float | None
    defect_share: float | None
    visible: float
    region: Mask


def difference(record: ImageRecord, store: ImageStore) -> tuple[Floats, Floats, Mask | None] | None:
    """The difference from the source (H, W), signed and absolute, and the mask of that size, where there is one; None
    where the source is unknown, is gone or has another size.

    Raises:
        DataError: a file cannot be read.
    """
    if record.source is None or not record.source.is_file():
        return None
    before, after = (grey_levels(store.read(path)) for path in (record.source, record.path))
    if before.shape != after.shape:
        return None
    signed = after - before
    strength = np.abs(signed)
    if strength.ndim == 3:
        signed, strength = signed.mean(axis=2), strength.mean(axis=2)
    mask = store.mask(record.mask) if record.mask is not None else None
    return signed, strength, mask if mask is not None and mask.shape == strength.shape else None


def mask_finder(store: ImageStore, model: DefectModel | None) -> FindMask:
    """Finds a defect by the image's mask; else, where it is synthetic, by the change against its source, and where it
    is real by what restoring by the model changes.

    Args:
        store: decodes the images.
        model: restores them; None: real defects without a mask are not found.
    """

    def find(record: ImageRecord) -> Mask | None:
        image = store.read(record.path)
        mask = None if record.mask is None else store.mask(record.mask)
        if mask is not None and mask.shape == image.size:
            return mask
        if record.synthetic:
            change = difference(record, store)
            return None if change is None else defect_mask(change[1] / np.float32(255))
        if model is None:
            return None
        product = record.category.product
        return defect_mask(restoration_change(image, model, product), seen_size(model.info, product, image.size))

    return find


def source_change(record: ImageRecord, store: ImageStore, pixels: PixelCounts | None = None) -> SourceChange | None:
    """From :func:`difference`; None also where the source cannot be read any more.

    Args:
        record: the synthetic image.
        store: decodes the images.
        pixels: takes the difference of each pixel, where there is a mask.
    """
    try:
        found = difference(record, store)
    except DataError:
        return None
    if found is None:
        return None
    signed, strength, mask = found
    if mask is not None and pixels is not None:
        pixels.add(strength, mask)
    outside = float(strength[~mask].mean()) if mask is not None and not mask.all() else None
    visible = visible_change(signed)
    share = None if mask is None else float(mask.mean())
    return SourceChange(float(strength.mean()), outside, share, float(visible.mean()), dilated(visible))


@dataclass(frozen=True)
class SetChanges:
    """How far each image of a synthetic set is from its source, and of each category how strongly pixels inside and
    outside the masks differ."""

    images: list[SourceChange | None]
    pixels: dict[Category, PixelCounts]


def source_changes(images: ImageSet, store: ImageStore, progress: Progress) -> SetChanges:
    """`source_change` of every image."""
    found, pixels = [], {category: PixelCounts() for category in images.categories}
    for number, record in enumerate(images.records):
        found.append(source_change(record, store, pixels[record.category]))
        progress(number + 1, len(images))
    return SetChanges(found, pixels)


def visible_change(signed: Floats) -> NDArray[np.bool_]:
    """Where a difference (H, W) in grey levels can be seen; its median, a change of brightness, does not count."""
    smooth = uniform_filter(signed - np.float32(np.median(signed)), 3, mode="nearest")
    return np.asarray(np.abs(smooth) > VISIBLE)


@dataclass(frozen=True)
class Change:
    """Means, as of :class:`SourceChange`, over so many images; `outside` and `defect_share` over those with masks."""

    images: int
    everywhere: float
    outside: float | None
    defect_share: float | None


def mean_change(changes: Iterable[SourceChange | None]) -> Change | None:
    """Means over the images whose change is known; None where there are none."""
    known = [change for change in changes if change is not None]
    if not known:
        return None
    outside = [change.outside for change in known if change.outside is not None]
    shares = [change.defect_share for change in known if change.defect_share is not None]
    means = (float(np.mean(some)) if some else None for some in (outside, shares))
    return Change(len(known), float(np.mean([change.everywhere for change in known])), *means)


def grey_levels(image: NativeImage) -> Floats:
    """Pixels (H, W) or (H, W, 3) as grey levels of 0 to 255."""
    return np.asarray(image.pixels.astype(np.float32) * np.float32(255 / image.white))


@dataclass(frozen=True)
class FolderScore:
    """One synthetic folder against the real one.

    Args:
        folder: the folder.
        synthetic, real: images of each category, synthetic ones and real ones beside them.
        copies_of_real: synthetic images whose pixels equal a real image's.
        repeats: synthetic images whose pixels equal an earlier synthetic one's.
        change: difference from the sources, by category; those without known sources are left out.
        by_this_model: synthetic images made by the model that was named; None without a model.
    """

    folder: str
    synthetic: Counts
    real: Counts
    copies_of_real: int
    repeats: int
    change: dict[str, Change]
    by_this_model: int | None = None


def score(
    synthetic: ImageSet,
    copied: ImageSet,
    real: ImageSet,
    changes: Sequence[SourceChange | None],
    weights: str | None,
) -> FolderScore:
    """Counts of one folder.

    Args:
        synthetic, copied: its synthetic images, and the real ones that a balanced folder holds beside them.
        real: the real folder.
        changes: of each synthetic image from its source.
        weights: sha256 of the model that was named.
    """
    means = {str(c): mean_change(changes[n] for n in members) for c, members in synthetic.categories.items()}
    return FolderScore(
        folder=synthetic.name,
        synthetic=synthetic.counts(),
        real=copied.counts(),
        copies_of_real=shared(synthetic.pixel_hashes, real.pixel_hashes),
        repeats=repeats(synthetic.pixel_hashes),
        change={category: change for category, change in means.items() if change is not None},
        by_this_model=None if weights is None else sum(record.model == weights for record in synthetic.records),
    )


def repeats(pixel_hashes: Sequence[str]) -> int:
    """Images that equal an earlier one of the sequence."""
    return len(pixel_hashes) - len(set(pixel_hashes))


def shared(synthetic: Sequence[str], real: Sequence[str]) -> int:
    """Synthetic images that equal a real one, by their pixel hashes."""
    known = set(real)
    return sum(count for one, count in Counter(synthetic).items() if one in known)


def check_classes(context: EvaluationContext) -> None:
    """Raises DataError where a synthetic set shares no product or no defect with the real images."""
    for synthetic in context.synthetic:
        for part in ("product", "defect"):
            real = {getattr(record, part) for record in context.real.records}
            new = {getattr(record, part) for record in synthetic.records}
            if new and not new & real:
                raise DataError(
                    f"{synthetic.name}: no {part} of it ({', '.join(sorted(new))}) is in {context.real.name} "
                    f"({', '.join(sorted(real))}); rename its folders, or map the real ones with --map FILE"
                )
