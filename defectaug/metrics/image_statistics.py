"""A first look at every image: what its file holds, a fingerprint of its pixels, a small grey copy. No torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from defectaug.data.near_duplicates import pixel_hash, thumbnail
from defectaug.data.sample import Category
from defectaug.data.survey import WHITE_LEVELS
from defectaug.errors import DataError
from defectaug.io.images import read_image
from defectaug.io.skipped import log_skipped
from defectaug.metrics.folders import ImageRecord

Floats = NDArray[np.float32]
Progress = Callable[[int, int], None]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Look:
    """What reading an image once has told.

    Args:
        fingerprint: hash of the decoded pixels, size and depth: equal for equal pictures in whatever file format.
        size: (height, width).
        mode: "8-bit grey", "16-bit grey" or "8-bit colour".
        peak: brightest value.
        small: thumbnail (S, S).
    """

    fingerprint: str
    size: tuple[int, int]
    mode: str
    peak: int
    small: Floats


@dataclass(frozen=True)
class ImageSet:
    """A folder's pictures with their looks, by cell and content, so that names of files change nothing.

    Args:
        name: the folder as the user named it.
        records, looks: one look a picture.
    """

    name: str
    records: tuple[ImageRecord, ...]
    looks: tuple[Look, ...]

    def __len__(self) -> int:
        return len(self.records)

    def where(self, keep: Callable[[ImageRecord], bool]) -> ImageSet:
        """The pictures to keep."""
        both = [pair for pair in zip(self.records, self.looks, strict=True) if keep(pair[0])]
        return ImageSet(self.name, tuple(picture for picture, _ in both), tuple(look for _, look in both))

    def take(self, numbers: Sequence[int]) -> ImageSet:
        """The pictures of these numbers, in their order."""
        return ImageSet(
            self.name, tuple(self.records[n] for n in numbers), tuple(self.looks[n] for n in numbers)
        )

    @cached_property
    def categories(self) -> dict[Category, list[int]]:
        """Numbers of the pictures of each product and defect, sorted by name."""
        cells: dict[Category, list[int]] = {}
        for number, picture in enumerate(self.records):
            cells.setdefault(picture.category, []).append(number)
        return dict(sorted(cells.items()))

    @property
    def prints(self) -> list[str]:
        return [look.fingerprint for look in self.looks]

    def counts(self) -> dict[str, int]:
        """Images of each "product/defect"."""
        return {"/".join(cell): len(members) for cell, members in self.categories.items()}


def look_at(path: Path) -> Look:
    """Reads one image.

    Raises:
        DataError: it cannot be read.
    """
    image = read_image(path)
    return Look(
        fingerprint=pixel_hash(image),
        size=(image.pixels.shape[0], image.pixels.shape[1]),
        mode=f"{8 * image.pixels.dtype.itemsize}-bit {'grey' if image.channels == 1 else 'colour'}",
        peak=int(image.pixels.max()),
        small=thumbnail(image),
    )


def look_at_all(name: str, pictures: Sequence[ImageRecord], say: Say, progress: Progress | None = None) -> ImageSet:
    """Looks at every picture; files that cannot be read are named, counted and left out.

    Raises:
        DataError: none of them can be read.
    """

    def read(picture: ImageRecord) -> Look | str:
        try:
            return look_at(picture.path)
        except DataError as error:
            return str(error)

    looks: list[Look | str] = []
    with ThreadPoolExecutor(4) as pool:
        for look in pool.map(read, pictures):
            looks.append(look)
            if progress:
                progress(len(looks), len(pictures))
    bad = [look for look in looks if isinstance(look, str)]
    if pictures and len(bad) == len(pictures):
        raise DataError(f"{bad[0]}, nor can any other of the {len(bad)} images of {name}")
    log_skipped(bad, f"images of {name}", say)
    good = [(picture, look) for picture, look in zip(pictures, looks, strict=True) if isinstance(look, Look)]
    good.sort(key=lambda pair: (pair[0].category, pair[1].fingerprint, pair[0].path))
    return ImageSet(name, tuple(picture for picture, _ in good), tuple(look for _, look in good))


def fingerprint(path: Path) -> str:
    """Fingerprint of an image file, see :class:`Look`.

    Raises:
        DataError: the file cannot be read.
    """
    return pixel_hash(read_image(path))


def white_of(sets: Sequence[ImageSet]) -> int:
    """White level of the 16-bit images of these sets: the least one of a camera that fits them all."""
    peak = max((look.peak for one in sets for look in one.looks if look.mode.startswith("16")), default=0)
    return next(level for level in (255, *WHITE_LEVELS) if peak <= level) if peak else 255


def kinds(images: ImageSet) -> str:
    """Sizes and colour modes in words: "128 x 128, 8-bit grey" or the commonest and how many differ."""
    parts = []
    for found in (Counter(look.size for look in images.looks), Counter(look.mode for look in images.looks)):
        ((most, count),) = found.most_common(1)
        text = f"{most[1]} x {most[0]}" if isinstance(most, tuple) else most
        parts.append(text if len(found) == 1 else f"{text} ({len(images) - count} of {len(images)} differ)")
    return ", ".join(parts)
