"""Decoded images by number, at the model's size: whole, or as windows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from defectaug.data.framing import Photograph
from defectaug.data.sample import Category, Sample
from defectaug.errors import DataError
from defectaug.io.images import as_channels, quantise, read_image, resize_float, to_model, white_of
from defectaug.io.masks import read_mask
from defectaug.io.progress import Log, unheard
from defectaug.io.recent import Recent
from defectaug.io.windows import CELLS, cells, likest, unlike

MASK_POINTS = 1024  # mask pixels kept per image: plenty to aim a window, little to hold
AIMED = 0.75  # share of normal windows that are aimed at what windows of defective images show
TRIED = 16  # windows of which it is chosen


class Store:
    """Images by sample number, at the model's size; decoded ones are kept within a bound, with the bits of their files.

    Args:
        samples: the images; number i is `samples[i]`.
        size: edge of the model's square.
        channels: 1 or 3.
        white: white level of 16-bit files; 8-bit files have 255 whatever it is.
        max_bytes: memory for decoded images; the ones used longest ago go first.
        log: takes lines about files that turn out to be unreadable; another image of their category stands in.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        size: int,
        channels: int,
        white: int = 255,
        max_bytes: int = 2 << 30,
        *,
        log: Log = unheard,
    ) -> None:
        self.samples, self.size, self.channels, self.white = samples, size, channels, white
        self._kept: Recent[int, NDArray] = Recent(max_bytes)
        self._log = log
        self._unreadable: set[int] = set()

    def __len__(self) -> int:
        return len(self.samples)

    def get(self, number: int, rng: np.random.Generator) -> Tensor:
        """(C, S, S) float32 in [-1, 1]."""
        raise NotImplementedError

    def photograph(self, number: int) -> Photograph:
        """The image at its native size, and how it is shown.

        Raises:
            DataError: it cannot be read any more.
        """
        image = read_image(self.samples[number].path)
        pixels = image.pixels.astype(np.float32) * np.float32(2 / white_of(image, self.white)) - 1
        return Photograph(pixels)

    @property
    def points(self) -> Mapping[int, NDArray[np.float64]]:
        """Of every defective sample that is seen in windows, by its number, places (N, 2) as shares of (height, width)
        where its defect may be."""
        return {}

    def aim(self, points: Mapping[int, NDArray[np.float64]]) -> None:
        """Replaces the points of some samples."""

    def _decode(self, number: int) -> NDArray:
        """What is kept of an image."""
        raise NotImplementedError

    def _readable(self, number: int) -> tuple[int, NDArray]:
        """An image's number and what is kept of it; of the next one of its category where it cannot be read.

        Raises:
            DataError: no image of the category can be read, or most of all cannot.
        """
        while True:
            if number in self._unreadable:
                number = self._stand_in(number)
            try:
                if number in self._kept:
                    return number, self._kept.get(number)
                return number, self._kept.put(number, self._decode(number))
            except DataError as error:
                self._lose(number, error)

    def _stand_in(self, number: int) -> int:
        sample = self.samples[number]
        others = [
            other
            for other, one in enumerate(self.samples)
            if one.category == sample.category and other not in self._unreadable
        ]
        if not others:
            raise DataError(f"{sample.path}: cannot be read, nor can any other image of {sample.category}")
        return next((other for other in others if other > number), others[0])

    def _lose(self, number: int, error: DataError) -> None:
        self._unreadable.add(number)
        if 2 * len(self._unreadable) > len(self.samples):
            raise DataError(
                f"{error}; so it is with {len(self._unreadable)} of {len(self.samples)} images: is the drive still "
                "there?"
            ) from error
        self._log(f"skipped: {error}")


class ImageStore(Store):
    """Whole images squeezed to the model's square. Arguments as of :class:`Store`."""

    def get(self, number: int, rng: np.random.Generator | None = None) -> Tensor:
        """(C, S, S) float32 in [-1, 1]. Whole images leave nothing to chance: `rng` is not used."""
        return torch.from_numpy(_in_range(self._readable(number)[1]))

    def _decode(self, number: int) -> NDArray:
        image = read_image(self.samples[number].path)
        values = to_model(image.pixels, self.size, self.channels, white_of(image, self.white))
        return quantise((values + 1) / 2, image.pixels.dtype)


class CropStore(Store):
    """Square windows: around the defect in defective images, and in most normal ones where a
    defect of their product could lie, in the rest anywhere.

    Defects keep to certain places, often near the part's border. Were normal windows drawn evenly, the border
    would tell the two apart, so they lie where windows of defective images do, at an edge where these do, whatever the
    sizes. Of a small part that lies anywhere on a table most would then show nothing but the table: where one of TRIED
    looks clearly more like the window of the defective image, that is taken. Images smaller than the window are
    enlarged to it. Arguments as of :class:`Store`.

    Args:
        normal: name of the normal class.
        windows: sides of the windows of products, in pixels of their images; those of others are at native scale.
        points: for every defective sample places (N, 2), as shares of (height, width), where its defect may be; None
            for those of the masks.

    Raises:
        DataError: without points, a defective image has no mask, or an empty one.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        size: int,
        channels: int,
        white: int = 255,
        max_bytes: int = 2 << 30,
        *,
        normal: str,
        windows: Mapping[str, int] | None = None,
        points: Mapping[int, NDArray[np.float64]] | None = None,
        log: Log = unheard,
    ) -> None:
        super().__init__(samples, size, channels, white, max_bytes, log=log)
        self._windows = dict(windows or {})
        defective = [number for number, sample in enumerate(samples) if sample.defect != normal]
        self._certain = points is None
        if points is None:
            _check_masks([samples[number] for number in defective])
            points = {number: _mask_points(samples[number]) for number in defective}
        self._points = dict(points)
        numbers: dict[Category, list[int]] = defaultdict(list)
        for number in defective:
            numbers[samples[number].category].append(number)
        self._defective: dict[str, list[list[int]]] = defaultdict(list)  # by product, then by defect
        for category, found in numbers.items():
            self._defective[category.product].append(found)

    def get(self, number: int, rng: np.random.Generator) -> Tensor:
        """(C, S, S) float32 in [-1, 1], the window drawn with `rng`."""
        number, kept = self._readable(number)
        points = self._points.get(number)
        corner = self._normal(kept, number, rng) if points is None else self._aimed(kept, points, rng)
        return torch.from_numpy(_in_range(self._cut(kept, corner).transpose(2, 0, 1), kept.dtype))

    def _cut(self, kept: NDArray, corner: NDArray[np.int64]) -> NDArray:
        """The window (S, S, C) below and right of a corner."""
        top, left = corner.tolist()
        return as_channels(kept[top : top + self.size, left : left + self.size], self.channels)

    def _aimed(self, kept: NDArray, points: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.int64]:
        """Corner of a window about one of the points (N, 2), shares of (height, width)."""
        size = np.array(kept.shape[:2])
        aim = points[rng.integers(len(points))] * size
        return np.clip(np.rint(aim + rng.uniform(-0.75, -0.25, 2) * self.size).astype(int), 0, size - self.size)

    def _normal(self, kept: NDArray, number: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Corner of a window of a normal image: anywhere, or where a window of a defective image of its product is, or
        where it looks clearly more like that."""
        size = np.array(kept.shape[:2])
        corners = rng.integers(0, size - self.size + 1, (TRIED, 2))
        defects = self._defective.get(self.samples[number].product, [])
        if not defects or rng.random() >= AIMED:
            return corners[0]
        numbers = defects[rng.integers(len(defects))]  # defects evenly, however many images they have, as in batches
        other, shown = self._readable(numbers[rng.integers(len(numbers))])
        corner = self._aimed(shown, self._points[other], rng)
        there, here = np.array(shown.shape[:2]) - self.size, size - self.size  # how far a corner can lie
        corners[0] = np.where(there > 0, np.rint(corner * here / np.maximum(there, 1)), corners[0])
        (wanted,), looks = self._cells(shown, corner[None]), self._cells(kept, corners)
        return corners[likest([unlike(one, wanted) for one in looks])]

    def _cells(self, kept: NDArray, corners: NDArray[np.int64]) -> list[NDArray[np.float32]]:
        """What windows of an image look like from afar, beside its mean: another may be exposed in another way."""
        step = max(1, self.size // (4 * CELLS))
        usual = _in_range(as_channels(kept[::step, ::step], self.channels), kept.dtype).mean((0, 1))
        return [cells(_in_range(self._cut(kept, one)[::step, ::step], kept.dtype)) - usual for one in corners]

    def photograph(self, number: int) -> Photograph:
        """As of :class:`Store`, with the side of the windows."""
        side = self._windows.get(self.samples[number].product, self.size)
        return replace(super().photograph(number), side=side, points=self._points.get(number))

    @property
    def points(self) -> Mapping[int, NDArray[np.float64]]:
        """As of :class:`Store`; none where masks tell it."""
        return {} if self._certain else self._points

    def aim(self, points: Mapping[int, NDArray[np.float64]]) -> None:
        """As of :class:`Store`."""
        self._points |= points

    def _decode(self, number: int) -> NDArray:
        image = read_image(self.samples[number].path)
        height, width = image.size
        white = white_of(image, self.white)
        scale = self.size / min(height, width, self._windows.get(self.samples[number].product, self.size))
        if scale == 1 and white == image.white:
            return image.pixels
        new_size = max(self.size, round(height * scale)), max(self.size, round(width * scale))
        return quantise(resize_float(image.pixels, new_size) / white, image.pixels.dtype)


class FramedStore(Store):
    """Images of some products whole, of the others in windows.

    Args:
        whole, crops: both over the same samples.
        windowed: the products of the second.
    """

    def __init__(self, whole: ImageStore, crops: CropStore, windowed: Collection[str]) -> None:
        super().__init__(whole.samples, whole.size, whole.channels, whole.white, 0)
        self._stores = whole, crops
        self._windowed = frozenset(windowed)

    def _of(self, number: int) -> Store:
        return self._stores[self.samples[number].product in self._windowed]

    def get(self, number: int, rng: np.random.Generator) -> Tensor:
        """(C, S, S) float32 in [-1, 1]."""
        return self._of(number).get(number, rng)

    @property
    def points(self) -> Mapping[int, NDArray[np.float64]]:
        """Of the products that are seen in windows."""
        return {n: places for n, places in self._stores[1].points.items() if self._of(n) is self._stores[1]}

    def aim(self, points: Mapping[int, NDArray[np.float64]]) -> None:
        """As of :class:`Store`."""
        self._stores[1].aim(points)

    def photograph(self, number: int) -> Photograph:
        """As of the product's store."""
        return self._of(number).photograph(number)


def _in_range(values: NDArray, dtype: np.dtype | None = None) -> NDArray[np.float32]:
    """Whole numbers of a type (default: their own) scaled to [-1, 1]."""
    return values.astype(np.float32) * np.float32(2 / np.iinfo(dtype or values.dtype).max) - 1


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
