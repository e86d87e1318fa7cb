"""Images that are evaluated: decoded once, with what the decoding has told of them, and as tensors for classifiers."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from defectaug.data.near_duplicates import thumbnail
from defectaug.data.sample import Category
from defectaug.data.survey import WHITE_LEVELS
from defectaug.errors import DataError
from defectaug.io.images import NativeImage, as_channels, pixel_hash, probe, quantise, read_image, to_model, white_of
from defectaug.io.masks import as_mask
from defectaug.io.progress import Log, Progress
from defectaug.io.recent import Recent
from defectaug.io.skipped import log_skipped
from defectaug.metrics.folders import ImageRecord

Floats = NDArray[np.float32]
THREADS = 4
MEMORY = 1 << 29
"""Bytes of decoded images that are kept."""
T = TypeVar("T")


class ImageStore:
    """Decodes every image once, as long as all fit into the memory; those used longest ago go first.

    Args:
        max_bytes: of decoded images.
    """

    def __init__(self, max_bytes: int = MEMORY) -> None:
        self._recent: Recent[Path, NativeImage] = Recent(max_bytes)
        self._lock = Lock()

    def read(self, path: Path) -> NativeImage:
        """As :func:`defectaug.io.images.read_image`; the arrays are shared, and not to be written to."""
        with self._lock:
            if path in self._recent:
                return self._recent.get(path)
        image = read_image(path)  # outside of the lock, so that threads decode side by side
        with self._lock:
            return self._recent.put(path, image)

    def mask(self, path: Path) -> NDArray[np.bool_]:
        """As :func:`defectaug.io.masks.read_mask`."""
        return as_mask(self.read(path))

    def each(self, records: Iterable[ImageRecord], use: Callable[[NativeImage], T]) -> Iterator[T | DataError]:
        """`use` of every image, in order, from several threads; the error of one that cannot be read."""

        def read(record: ImageRecord) -> T | DataError:
            try:
                return use(self.read(record.path))
            except DataError as error:
                return error

        with ThreadPoolExecutor(THREADS) as pool:
            yield from pool.map(read, records)

    def all(self, records: Iterable[ImageRecord], use: Callable[[NativeImage], T]) -> list[T]:
        """As :meth:`each`; raises the first error."""
        found = []
        for one in self.each(records, use):
            if isinstance(one, DataError):
                raise one
            found.append(one)
        return found


@dataclass(frozen=True)
class ImageStatistics:
    """What decoding an image has told.

    Args:
        pixel_hash: of the decoded pixels, size and depth: equal for equal images in whatever file format.
        size: (height, width).
        mode: "8-bit grey", "16-bit grey" or "8-bit colour".
        peak: brightest value.
        thumbnail: (S, S) grey levels.
    """

    pixel_hash: str
    size: tuple[int, int]
    mode: str
    peak: int
    thumbnail: Floats

    @staticmethod
    def of(image: NativeImage) -> ImageStatistics:
        return ImageStatistics(
            pixel_hash=pixel_hash(image),
            size=image.size,
            mode=f"{8 * image.pixels.dtype.itemsize}-bit {'grey' if image.channels == 1 else 'colour'}",
            peak=int(image.pixels.max()),
            thumbnail=thumbnail(image),
        )


@dataclass(frozen=True)
class ImageSet:
    """A folder's images in the order of category and content, so that names of files change nothing.

    Args:
        name: the folder as the user named it.
        records, statistics: one of each an image.
    """

    name: str
    records: tuple[ImageRecord, ...]
    statistics: tuple[ImageStatistics, ...]

    def __len__(self) -> int:
        return len(self.records)

    def where(self, keep: Callable[[ImageRecord], bool]) -> ImageSet:
        """The images to keep."""
        return self.take([number for number, record in enumerate(self.records) if keep(record)])

    def take(self, numbers: Sequence[int]) -> ImageSet:
        """The images of these numbers, in their order."""
        parts = (tuple(some[number] for number in numbers) for some in (self.records, self.statistics))
        return ImageSet(self.name, *parts)  # type: ignore[arg-type]

    @cached_property
    def categories(self) -> dict[Category, list[int]]:
        """Numbers of the images of each category, sorted by name."""
        categories: dict[Category, list[int]] = {}
        for number, record in enumerate(self.records):
            categories.setdefault(record.category, []).append(number)
        return dict(sorted(categories.items()))

    @property
    def pixel_hashes(self) -> list[str]:
        return [one.pixel_hash for one in self.statistics]

    @property
    def thumbnails(self) -> list[Floats]:
        return [one.thumbnail for one in self.statistics]

    def counts(self) -> dict[str, int]:
        """Images of each "product/defect"."""
        return {str(category): len(members) for category, members in self.categories.items()}


def evenly(members: Sequence[T], most: int) -> list[T]:
    """At most so many of them, evenly taken."""
    places = np.linspace(0, len(members) - 1, min(most, len(members))).round().astype(int)
    return [members[place] for place in places]


def read_images(
    name: str, records: Sequence[ImageRecord], store: ImageStore, log: Log, progress: Progress | None = None
) -> ImageSet:
    """Decodes every image; files that cannot be read are named, counted and left out.

    Raises:
        DataError: none of them can be read.
    """
    found: list[ImageStatistics | DataError] = []
    for one in store.each(records, ImageStatistics.of):
        found.append(one)
        if progress:
            progress(len(found), len(records))
    bad = [str(one) for one in found if isinstance(one, DataError)]
    if records and len(bad) == len(records):
        raise DataError(f"{bad[0]}, nor can any other of the {len(bad)} images of {name}")
    log_skipped(bad, f"images of {name}", log)
    good = [(record, one) for record, one in zip(records, found, strict=True) if isinstance(one, ImageStatistics)]
    good.sort(key=lambda pair: (pair[0].category, pair[1].pixel_hash, pair[0].path))
    return ImageSet(name, tuple(record for record, _ in good), tuple(one for _, one in good))


def white_level_of(sets: Sequence[ImageSet]) -> int:
    """White level of the 16-bit images of these sets: the least one of a camera that fits them all."""
    peak = max((one.peak for some in sets for one in some.statistics if one.mode.startswith("16")), default=0)
    return next(level for level in (255, *WHITE_LEVELS) if peak <= level) if peak else 255


def colour_tensor(image: NativeImage, white: int = 255) -> Tensor:
    """uint8 (3, H, W) of an image, `white` being the white level of 16-bit files."""
    values = quantise(as_channels(image.pixels, 3) / np.float32(white_of(image, white)), np.uint8)
    return torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1)))


@dataclass(frozen=True)
class Form:
    """What a classifier is shown of an image.

    Args:
        size: side of the square that images are squeezed to.
        channels: 1 or 3.
        white: white level of 16-bit files.
        store: decodes the images; None for a new one each time, which keeps nothing.
    """

    size: int
    channels: int
    white: int = 255
    store: ImageStore | None = field(default=None, repr=False, compare=False)

    def __call__(self, image: NativeImage) -> NDArray[np.uint8]:
        """(C, S, S) of an image."""
        values = to_model(image.pixels, self.size, self.channels, white_of(image, self.white))
        return np.rint((values + 1) * 127.5).astype(np.uint8)


@dataclass(frozen=True)
class Decoded:
    """Images as a classifier is shown them, by category and content.

    Args:
        records: where they are, and their labels.
        images: (N, C, S, S) uint8.
        digests: of the pixels of each.
    """

    records: tuple[ImageRecord, ...]
    images: Tensor
    digests: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.records)

    @property
    def categories(self) -> list[Category]:
        """Of each image."""
        return [record.category for record in self.records]

    def take(self, numbers: Sequence[int]) -> Decoded:
        """The images of these numbers, in their order."""
        images = self.images[torch.as_tensor(list(numbers), dtype=torch.long)]
        return Decoded(tuple(self.records[n] for n in numbers), images, tuple(self.digests[n] for n in numbers))

    def where(self, keep: Iterable[bool]) -> Decoded:
        """The images to keep."""
        return self.take([number for number, kept in enumerate(keep) if kept])


def decode(records: Sequence[ImageRecord], form: Form, log: Log) -> Decoded:
    """Images for a classifier; those that cannot be read are named, counted and left out.

    Args:
        records: the images.
        form: what they are squeezed to.
        log: takes lines for the user.

    Raises:
        DataError: none of them can be read.
    """
    found = list((form.store or ImageStore(0)).each(records, form))
    bad = [str(one) for one in found if isinstance(one, DataError)]
    if bad and len(bad) == len(records):
        raise DataError(f"{bad[0]} (the same for all {len(bad)} images)")
    log_skipped(bad, "unreadable images", log)
    rows = [
        (record.category, hashlib.sha256(one.tobytes()).hexdigest()[:32], str(record.path), record, one)
        for record, one in zip(records, found, strict=True)
        if not isinstance(one, DataError)
    ]
    rows.sort(key=lambda row: row[:3])
    shape = (len(rows), form.channels, form.size, form.size)
    images = np.stack([row[4] for row in rows]) if rows else np.zeros(shape, np.uint8)
    return Decoded(tuple(row[3] for row in rows), torch.from_numpy(images), tuple(row[1] for row in rows))


def channels_of(records: Iterable[ImageRecord]) -> int:
    """1 where all images are grey, else 3. Opens the headers alone."""

    def read(record: ImageRecord) -> int:
        try:
            return probe(record.path).channels
        except DataError:
            return 1

    with ThreadPoolExecutor(THREADS) as pool:
        return max(pool.map(read, records), default=1)
