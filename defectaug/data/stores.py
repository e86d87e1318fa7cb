"""Decoded images by number, at the model's size: whole, or as windows at native scale."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from defectaug.data.sample import Sample
from defectaug.errors import DataError
from defectaug.io.images import (
    NativeImage,
    as_channels,
    quantise,
    read_image,
    resize_float,
    to_model,
)
from defectaug.io.masks import read_mask

Say = Callable[[str], None]
MASK_POINTS = 1024  # mask pixels kept per image: plenty to aim a window, little to hold
AIMED = 0.75  # share of normal windows that lie where windows of defective images lie


def _silent(line: str) -> None:
    pass


class Store(Protocol):
    """Images by sample number, at the model's size."""

    size: int
    channels: int

    def __len__(self) -> int: ...

    def get(self, number: int, rng: np.random.Generator) -> Tensor:
        """(C, S, S) float32 in [-1, 1]."""
        ...


class ImageStore:
    """Whole images squeezed to the model's square, kept with the bits of their files.

    Args:
        samples: the images; number i is `samples[i]`.
        size: edge of the square.
        channels: 1 or 3.
        white: white level of 16-bit files; 8-bit files have 255 whatever it is.
        max_bytes: memory for decoded images; the ones used longest ago go first.
        say: takes lines about files that turn out to be unreadable; another image of their cell stands in.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        size: int,
        channels: int,
        white: int = 255,
        max_bytes: int = 2 << 30,
        *,
        say: Say = _silent,
    ) -> None:
        self.samples, self.size, self.channels, self.white = samples, size, channels, white
        self._kept = _Recent(self._decode, max_bytes)
        self._readable = _Readable(samples, say)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, number: int) -> Tensor:
        _, kept = self._readable.find(number, self._kept)
        return torch.from_numpy(kept.astype(np.float32) * np.float32(2 / np.iinfo(kept.dtype).max) - 1)

    def get(self, number: int, rng: np.random.Generator | None = None) -> Tensor:
        """(C, S, S) float32 in [-1, 1]. Whole images leave nothing to chance: `rng` is not used."""
        return self[number]

    def _decode(self, number: int) -> NDArray:
        image = read_image(self.samples[number].path)
        values = to_model(image.pixels, self.size, self.channels, white_of(image, self.white))
        return quantise((values + 1) / 2, image.pixels.dtype)


class CropStore:
    """Square windows at native scale: around the defect in defective images, and in most normal ones where a
    defect of their product could lie, in the rest anywhere.

    Defects keep to certain places, often near the part's border. Were normal windows drawn evenly, the border
    would tell the two apart. Images smaller than the window are enlarged to it. Arguments as of `ImageStore`.

    Args:
        normal: name of the normal class.

    Raises:
        DataError: a defective image has no mask, or an empty one.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        size: int,
        channels: int,
        white: int = 255,
        *,
        normal: str,
        max_bytes: int = 2 << 30,
        say: Say = _silent,
    ) -> None:
        self.samples, self.size, self.channels, self.white = samples, size, channels, white
        defective = [number for number, sample in enumerate(samples) if sample.defect != normal]
        _check_masks([samples[number] for number in defective])
        self._points = {number: _mask_points(samples[number]) for number in defective}
        self._cells: dict[str, dict[str, list[int]]] = {}  # defective images by product and defect
        for number in defective:
            of_product = self._cells.setdefault(samples[number].product, {})
            of_product.setdefault(samples[number].defect, []).append(number)
        self._kept = _Recent(self._decode, max_bytes)
        self._readable = _Readable(samples, say)

    def __len__(self) -> int:
        return len(self.samples)

    def get(self, number: int, rng: np.random.Generator) -> Tensor:
        """(C, S, S) float32 in [-1, 1], the window drawn with `rng`."""
        number, kept = self._readable.find(number, self._kept)
        height, width = kept.shape[:2]
        points = self._aims(number, rng)
        if points is not None:
            aim = points[rng.integers(len(points))] * (height, width)
            corner = np.rint(aim + rng.uniform(-0.75, -0.25, 2) * self.size).astype(int)
        else:
            corner = rng.integers(0, (height - self.size + 1, width - self.size + 1))
        top, left = np.clip(corner, 0, (height - self.size, width - self.size))
        window = as_channels(kept[top : top + self.size, left : left + self.size], self.channels)
        return torch.from_numpy(window.transpose(2, 0, 1) * np.float32(2 / np.iinfo(kept.dtype).max) - 1)

    def _aims(self, number: int, rng: np.random.Generator) -> NDArray[np.float64] | None:
        """Points to aim a window at, as shares of (height, width); None for a window anywhere."""
        if number in self._points:
            return self._points[number]
        cells = list(self._cells.get(self.samples[number].product, {}).values())
        if not cells or rng.random() >= AIMED:
            return None
        cell = cells[rng.integers(len(cells))]  # defects alike, however many images they have, as in batches
        return self._points[cell[rng.integers(len(cell))]]

    def _decode(self, number: int) -> NDArray:
        image = read_image(self.samples[number].path)
        height, width = image.pixels.shape[:2]
        white = white_of(image, self.white)
        enlarge = self.size / min(height, width)
        if enlarge <= 1 and white == image.white:
            return image.pixels
        new_size = (height, width) if enlarge <= 1 else (round(height * enlarge), round(width * enlarge))
        return quantise(resize_float(image.pixels, new_size) / white, image.pixels.dtype)


class _Recent:
    """Arrays by number, made on demand and kept within a bound, the ones used longest ago going first."""

    def __init__(self, make: Callable[[int], NDArray], max_bytes: int) -> None:
        self._make, self._max_bytes, self._bytes = make, max_bytes, 0
        self._arrays: OrderedDict[int, NDArray] = OrderedDict()

    def __getitem__(self, number: int) -> NDArray:
        if number in self._arrays:
            self._arrays.move_to_end(number)
            return self._arrays[number]
        array = self._make(number)
        self._arrays[number] = array
        self._bytes += array.nbytes
        while self._bytes > self._max_bytes and len(self._arrays) > 1:
            self._bytes -= self._arrays.popitem(last=False)[1].nbytes
        return array


class _Readable:
    """Finds, for an image that cannot be read, the next one of its product and defect."""

    def __init__(self, samples: Sequence[Sample], say: Say) -> None:
        self._samples, self._say = samples, say
        self._lost: set[int] = set()

    def find(self, number: int, images: _Recent) -> tuple[int, NDArray]:
        """The number that was read, and its image.

        Raises:
            DataError: no image of the cell can be read, or most of all cannot.
        """
        while True:
            if number in self._lost:
                number = self._stand_in(number)
            try:
                return number, images[number]
            except DataError as error:
                self._lose(number, error)

    def _stand_in(self, number: int) -> int:
        mine = self._samples[number]
        cell = [
            other
            for other, sample in enumerate(self._samples)
            if (sample.product, sample.defect) == (mine.product, mine.defect) and other not in self._lost
        ]
        if not cell:
            raise DataError(f"{mine.path}: cannot be read, nor can any other image of {mine.product}/{mine.defect}")
        return next((other for other in cell if other > number), cell[0])

    def _lose(self, number: int, error: DataError) -> None:
        self._lost.add(number)
        if 2 * len(self._lost) > len(self._samples):
            raise DataError(
                f"{error}; so it is with {len(self._lost)} of {len(self._samples)} images: is the drive still there?"
            ) from error
        self._say(f"skipped: {error}")


def white_of(image: NativeImage, white: int) -> int:
    """The white level of one image in a data set whose 16-bit files have `white`."""
    return image.white if image.white == 255 or white <= 255 else white


def _check_masks(defective: list[Sample]) -> None:
    missing = [sample.path for sample in defective if sample.mask is None]
    if missing:
        raise DataError(
            f"{missing[0]}: no mask; crops are cut around the defects and need a mask for each defective "
            f"image ({len(missing)} of {len(defective)} have none); train on whole images instead"
        )


def _mask_points(sample: Sample) -> NDArray[np.float64]:
    """Some of a mask's pixels, (N, 2), as shares of (height, width)."""
    if sample.mask is None:
        raise ValueError("sample without a mask")
    mask = read_mask(sample.mask)
    points = np.argwhere(mask)
    if not len(points):
        raise DataError(f"{sample.mask}: empty mask, but {sample.path.name} is labelled '{sample.defect}'")
    kept = points[np.linspace(0, len(points) - 1, min(len(points), MASK_POINTS)).round().astype(int)]
    return (kept + 0.5) / mask.shape
