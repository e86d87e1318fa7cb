"""The control of the study: real training defects cut out, warped, and pasted on normal images. No learning."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, gaussian_filter, map_coordinates

from defectaug.benchmark.leakage import SyntheticSet
from defectaug.benchmark.result import CONTROL
from defectaug.benchmark.settings import StudySettings
from defectaug.data.sample import Category
from defectaug.errors import DataError
from defectaug.io.images import resize_float
from defectaug.metrics.changes import FindMask, Mask
from defectaug.metrics.folders import ImageRecord
from defectaug.metrics.images import Decoded

TURN, SCALE, BEND = 0.5, 1.25, 0.03  # radians; factor either way; of the side
COVERED = 0.1  # share of a pixel that is enough of a mask, since thin defects are thinner than a pixel here
RING = 5  # pixels around a defect that its tone is taken against
Floats = NDArray[np.float32]


def cut_and_paste(
    real: Decoded, normal: str, find: FindMask, settings: StudySettings, beside: Sequence[SyntheticSet] = (),
    draw: int = 0,
) -> SyntheticSet:  # fmt: skip
    """As many images of each category as the study may ask for, on normal images of the same product; no more than the
    largest of the sets that it is compared with has.

    A defect is warped, and its tone is kept as a share of the light, or of the darkness, that the surface leaves it.
    Results depend on pixels, seed and draw alone.

    Args:
        real: the training images.
        normal: name of the normal class.
        find: gives their masks.
        settings: tells how many, which mirroring makes no other part, and the seed of all choices.
        beside: the sets; a category that none of them has is not limited.
        draw: number of the draw; the sets of others than 0 have it in their names.

    Raises:
        DataError: no defect of a product with normal images has a mask.
    """
    side = real.images.shape[-1]
    counts = Counter(real.categories)
    donors: dict[Category, list[tuple[int, Mask]]] = {}
    for number, record in enumerate(real.records):
        mask = find(record) if record.defect != normal and counts[Category(record.product, normal)] else None
        small = None if mask is None else resize_float(mask.astype(np.float32), (side, side)) > COVERED
        if small is not None and small.any() and not small.all():
            donors.setdefault(record.category, []).append((number, small))
    if not donors:
        raise DataError("--control: no training image of a defect has a mask (--masks DIR or --model DIR give them)")
    defective = sum(count for one, count in counts.items() if one.defect != normal)
    each = max(max(counts.values()), round(max((*settings.sweep, settings.amount or 0)) * defective))
    most: Counter[Category] = Counter()
    for one in beside:
        most |= Counter(one.images.categories)
    made = [
        one
        for category, masks in sorted(donors.items())
        for one in islice(_of(category, masks, real, normal, settings, draw), min(each, most[category] or each))
    ]
    digests = tuple(hashlib.sha256(image.tobytes()).hexdigest()[:32] for _, image in made)
    images = torch.from_numpy(np.stack([image for _, image in made]))
    lacking = defective - sum(map(len, donors.values()))
    told = {"training defects of unknown mask, or on products without normal images": lacking} if lacking else {}
    name = f"{CONTROL}, draw {draw + 1}" if draw else CONTROL
    return SyntheticSet(name, Decoded(tuple(record for record, _ in made), images, digests), told, None)


def _of(
    category: Category, donors: list[tuple[int, Mask]], real: Decoded, normal: str, settings: StudySettings, draw: int
) -> Iterator[tuple[ImageRecord, NDArray[np.uint8]]]:
    rng = np.random.default_rng([settings.split_seed, *str(category).encode(), *([256 + draw] if draw else [])])
    normals = [n for n, one in enumerate(real.categories) if one == Category(category.product, normal)]
    while True:
        number, mask = donors[rng.integers(len(donors))]
        on = normals[rng.integers(len(normals))]
        donor, source = (real.images[n].numpy().astype(np.float32) for n in (number, on))
        image = np.rint(paste(source, donor, mask, rng, settings.flips)).astype(np.uint8)
        path, reference = real.records[on].path, real.records[number].path
        yield ImageRecord(path, *category, synthetic=True, source=path, reference=reference), image


def paste(source: Floats, donor: Floats, mask: Mask, rng: np.random.Generator, flips: str) -> Floats:
    """The donor's defect, warped, at a random place of the source.

    Args:
        source, donor: (C, S, S) in [0, 255].
        mask: (S, S), where the donor's defect is.
        rng: of warp and place.
        flips: directions of mirroring.
    """
    rows, columns = _warp(mask, rng, flips)
    alpha = gaussian_filter(binary_dilation(mask).astype(np.float32), 0.7)
    at = [map_coordinates(plane, (rows, columns), order=1, mode="nearest") for plane in (alpha, *donor)]
    alpha, moved = at[0], np.stack(at[1:])
    before, after = _ground(donor, mask), _ground(source, alpha > 0.1)
    darker = after * moved / np.maximum(before, 1)
    lighter = 255 - (255 - after) * (255 - moved) / np.maximum(255 - before, 1)
    return source + alpha * (np.where(moved < before, darker, lighter) - source)


def _ground(image: Floats, mask: Mask) -> Floats:
    """Median of each channel (C, 1, 1) around a mask; of the whole image where nothing is around it."""
    ring = binary_dilation(mask, iterations=RING) & ~binary_dilation(mask, iterations=2)
    return np.median(image[:, ring] if ring.any() else image.reshape(len(image), -1), axis=1)[:, None, None]


def _warp(mask: Mask, rng: np.random.Generator, flips: str) -> tuple[Floats, Floats]:
    """Where each pixel (S, S) of the result comes from: turned, scaled, mirrored, bent and moved, so that the defect's
    middle comes to lie anywhere at which it would fit unturned."""
    side = len(mask)
    places = np.argwhere(mask)
    low, high = places.min(0), places.max(0)
    middle, reach = (low + high) / 2, (high - low) / 2
    target = rng.uniform(np.minimum(reach, side / 2), np.maximum(side - 1 - reach, side / 2))
    turn, scale = rng.uniform(-TURN, TURN), SCALE ** rng.uniform(-1, 1)
    mirror = [-1 if axis in flips and rng.random() < 0.5 else 1 for axis in ("v", "h")]
    matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) * mirror / scale
    bend = [gaussian_filter(rng.normal(size=(side, side)), side / 10, mode="wrap") for _ in range(2)]
    grid = np.indices((side, side)) - target[:, None, None]
    moved = np.einsum("ij,jhw->ihw", matrix, grid) + middle[:, None, None]
    rows, columns = (place + BEND * side * one / one.std() for place, one in zip(moved, bend, strict=True))
    return rows, columns
