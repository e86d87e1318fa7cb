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
from defectaug.methods.base import DefectModel
from defectaug.methods.native import restoration_change, seen_size
from defectaug.metrics.context import EvaluationContext
from defectaug.metrics.folders import ImageRecord
from defectaug.metrics.images import Floats, ImageSet, ImageStore, Progress
from defectaug.metrics.localisation import PixelCounts

VISIBLE = 4.0  # grey levels of 255, averaged over 3 x 3 pixels: below what the eye sees on a plain surface
Counts = dict[str, int]  # "product/defect" to a number of images


Mask = NDArray[np.bool_]
FindMask = Callable[[ImageRecord], Mask | None]
"""Gives the mask (H, W) of an image's defect; None where it is not known."""


@dataclass(frozen=True)
class Change:
    """How far synthetic images are from their sources, in grey levels of 255, as a mean over images.

    Args:
        images: images that could be compared with their source.
        everywhere: mean absolute difference over all pixels.
        outside: the same outside the mask; None without masks.
        defect_share: share of the pixels in the mask; None without masks.
    """

    images: int
    everywhere: float
    outside: float | None
    defect_share: float | None


@dataclass(frozen=True)
class SourceChange:
    """How far one synthetic image is from its source.

    Args:
        everywhere, outside, defect_share: as of :class:`Change`.
        visible: share of the pixels where the difference can be seen, a common change of brightness aside.
        region: (S, S) at the size of thumbnails, where that is, a little widened.
    """

    everywhere: float
    outside: float | None
    defect_share: float | None
    visible: float
    region: NDArray[np.bool_]


@dataclass(frozen=True)
class Difference(SourceChange):
    """The same with every pixel.

    Args:
        strength: (H, W), the absolute difference in grey levels of 255.
        mask: (H, W); None without one of the image's size.
    """

    strength: Floats
    mask: NDArray[np.bool_] | None


def difference(record: ImageRecord, store: ImageStore | None = None) -> Difference | None:
    """None where the source is unknown, is gone or has another size.

    Raises:
        DataError: a file cannot be read.
    """
    if record.source is None or not record.source.is_file():
        return None
    store = store or ImageStore(0)
    before, after = grey_levels(store.read(record.source)), grey_levels(store.read(record.path))
    if before.shape != after.shape:
        return None
    signed = after - before
    strength = np.abs(signed)
    if strength.ndim == 3:
        signed, strength = signed.mean(axis=2), strength.mean(axis=2)
    mask = store.mask(record.mask) if record.mask is not None else None
    if mask is not None and mask.shape != strength.shape:
        mask = None
    outside = float(strength[~mask].mean()) if mask is not None and not mask.all() else None
    share = None if mask is None else float(mask.mean())
    visible = visible_change(signed)
    seen = float(visible.mean()), dilated(visible)
    return Difference(float(strength.mean()), outside, share, *seen, strength, mask)


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
            return None if change is None else defect_mask(change.strength / np.float32(255))
        if model is None:
            return None
        product = record.category.product
        return defect_mask(restoration_change(image, model, product), seen_size(model.info, product, image.size))

    return find


def source_change(record: ImageRecord, store: ImageStore, pixels: PixelCounts | None = None) -> SourceChange | None:
    """As :func:`difference`, in little memory; None also where the source cannot be read any more.

    Args:
        record, store: as of :func:`difference`.
        pixels: takes the difference of each pixel, where there is a mask.
    """
    try:
        found = difference(record, store)
    except DataError:
        return None
    if found is not None and found.mask is not None and pixels is not None:
        pixels.add(found.strength, found.mask)
    return found and SourceChange(found.everywhere, found.outside, found.defect_share, found.visible, found.region)


@dataclass(frozen=True)
class SetChanges:
    """How far the images of a synthetic set are from their sources.

    Args:
        images: of each.
        pixels: of each category, how strongly pixels inside and outside the masks differ.
    """

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


def mean_change(changes: Iterable[SourceChange | None]) -> Change | None:
    """Means over the images whose change is known; None where there are none."""
    known = [change for change in changes if change is not None]
    if not known:
        return None
    outside = [change.outside for change in known if change.outside is not None]
    shares = [change.defect_share for change in known if change.defect_share is not None]
    return Change(
        images=len(known),
        everywhere=float(np.mean([change.everywhere for change in known])),
        outside=float(np.mean(outside)) if outside else None,
        defect_share=float(np.mean(shares)) if shares else None,
    )


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
