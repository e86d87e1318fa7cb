"""Where defects may lie on each source: on the product as it is found, within masks that are given, or anywhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from defectaug.data.regions import Surroundings, find_surroundings
from defectaug.data.sample import Sample
from defectaug.errors import DataError
from defectaug.io.files import MASK_ENDING, image_files, nfc, real
from defectaug.io.images import NativeImage, probe, read_image, resize_float
from defectaug.io.masks import read_mask
from defectaug.io.progress import Log
from defectaug.methods.native import View

LOOKED_AT = 16  # images of a product in which its surroundings are sought

Bools = NDArray[np.bool_]


class Regions(Protocol):
    """Tells for each source where a defect may lie."""

    def of(self, sample: Sample, image: NativeImage) -> Bools | None:
        """A mask over the whole image, of any size; None for anywhere."""
        ...


class Anywhere:
    """No limits."""

    def of(self, sample: Sample, image: NativeImage) -> Bools | None:
        return None


class OnProduct:
    """On the product, where it does not fill its images.

    Args:
        surroundings: by product; None for one that fills its images.
    """

    def __init__(self, surroundings: Mapping[str, Surroundings | None]) -> None:
        self._surroundings = surroundings
        self._found: dict[Path, NDArray[np.uint8]] = {}  # packed, 2 kB each

    def of(self, sample: Sample, image: NativeImage) -> Bools | None:
        surroundings = self._surroundings.get(sample.product)
        if surroundings is None:
            return None
        if sample.path not in self._found:
            self._found[sample.path] = np.packbits(surroundings.product_in(image), axis=1)
        return np.unpackbits(self._found[sample.path], axis=1).astype(bool)


class Masks:
    """In mask files.

    Args:
        files: of each source.
    """

    def __init__(self, files: Mapping[Path, Path]) -> None:
        self._files = files

    def of(self, sample: Sample, image: NativeImage) -> Bools | None:
        return read_mask(self._files[sample.path])


def choose_regions(region: str | Path, normals: Mapping[str, Sequence[Sample]], root: Path, log: Log) -> Regions:
    """The limits that were asked for.

    Args:
        region: ``auto``, ``none``, a folder of masks or one mask.
        normals: product to all images that may be painted on.
        root: the folder that these lie in.
        log: takes a line a product about what was found.

    Raises:
        DataError: a mask is missing, empty, unreadable, or not of its source's size.
    """
    if region == "none":
        return Anywhere()
    if region == "auto":
        return OnProduct(surroundings_of(normals, log))
    return Masks(_mask_files(Path(region), [sample for samples in normals.values() for sample in samples], root))


def surroundings_of(normals: Mapping[str, Sequence[Sample]], log: Log) -> dict[str, Surroundings | None]:
    """What surrounds each product in its normal images, of which some are read; None where it fills them."""
    return {product: _surroundings(product, samples, log) for product, samples in normals.items()}


def _surroundings(product: str, samples: Sequence[Sample], log: Log) -> Surroundings | None:
    some = samples[:: max(1, len(samples) // LOOKED_AT)][:LOOKED_AT]
    with ThreadPoolExecutor(4) as pool:
        images = [image for image in pool.map(_readable, some) if image is not None]
    found = find_surroundings(images) if images else None
    few = " (one image is all there is)" if len(images) == 1 else ""
    told = (
        f"no surroundings found{few}, defects may lie anywhere on its images (--region DIR limits them)"
        if found is None
        else f"surroundings cover {found.share:.0%} of its images, defects stay off them (--region none lifts that)"
    )
    log(f"{product or 'SRC'}: {told}")
    return found


def _readable(sample: Sample) -> NativeImage | None:
    try:
        return read_image(sample.path)
    except DataError:  # told of where it is painted on
        return None


def _mask_files(place: Path, samples: Sequence[Sample], root: Path) -> dict[Path, Path]:
    """The mask of each source: of the same name and folders, as far as these are there, or one for all."""
    masks = [place] if place.is_file() else list(image_files(place))
    if not masks:
        raise DataError(f"--region {place}: no masks in this folder")
    by_name = {(*parts[:-1], parts[-1].removesuffix(MASK_ENDING)): mask for mask in masks
               for parts in [_name(mask, place)]}  # fmt: skip
    pairs = {}
    for sample in samples:
        parts = _name(sample.path, root)
        ends = (by_name.get(parts[start:]) for start in range(len(parts)))
        mask = masks[0] if len(masks) == 1 else next((mask for mask in ends if mask is not None), None)
        if mask is None:
            raise DataError(f"--region {place}: no mask for {sample.path}; it would be called {'/'.join(parts)}.png")
        pairs[sample.path] = mask
    with ThreadPoolExecutor(4) as pool:
        unfit = pool.map(_why_unfit, pairs.values(), pairs.keys())
        for reason in chain(unfit, pool.map(_why_of_no_use, dict.fromkeys(pairs.values()))):
            if reason:
                raise DataError(f"--region {reason}" if place.is_file() else f"--region {place}: {reason}")
    return pairs


def _name(path: Path, root: Path) -> tuple[str, ...]:
    """Folders and name of a file below a folder, without its ending."""
    path, root = real(path), real(root)
    below = path.relative_to(root) if root.is_dir() and path.is_relative_to(root) else Path(path.name)
    return (*map(nfc, below.parts[:-1]), nfc(below.stem))


def _why_unfit(mask: Path, source: Path) -> str | None:
    try:
        there = probe(mask).size
    except DataError as error:
        return str(error)
    wanted = probe(source).size
    if wanted == there:
        return None
    return f"{mask} has {there[0]}x{there[1]} pixels, its source {source} {wanted[0]}x{wanted[1]}; make them the same"


def _why_of_no_use(mask: Path) -> str | None:
    try:
        allowed = read_mask(mask)
    except DataError as error:
        return str(error)
    return None if allowed.any() else f"{mask} allows no place; draw it white (255) where defects may lie"


def resized_mask(mask: Bools, size: tuple[int, int]) -> Bools:
    """A mask (H, W) at another size."""
    return mask if mask.shape == size else resize_float(mask, size) > 0.5


def seen_region(region: Bools, view: View, side: int) -> Bools:
    """The part of a region, a mask over the whole image, that the model sees: (side, side)."""
    if view.window.size == view.native.size:
        return resized_mask(region, (side, side))
    return resized_mask(view.window.cut(resized_mask(region, view.native.size)), (side, side))
