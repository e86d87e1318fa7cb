"""Images decoded once, into one uint8 tensor, in an order that file names do not change."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from defectaug.data.sample import Category
from defectaug.data.stores import white_of
from defectaug.errors import DataError
from defectaug.io.images import probe, read_image, to_model
from defectaug.io.skipped import log_skipped
from defectaug.metrics.folders import ImageRecord

Say = Callable[[str], None]


@dataclass(frozen=True)
class Form:
    """What images are squeezed to: side of the square, 1 or 3 channels, white level of 16-bit files."""

    size: int
    channels: int
    white: int = 255


@dataclass(frozen=True)
class Decoded:
    """Images by product, defect and content.

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
        """Product and defect of each image."""
        return [record.category for record in self.records]

    def take(self, numbers: Sequence[int]) -> Decoded:
        """The images of these numbers, in their order."""
        images = self.images[torch.as_tensor(list(numbers), dtype=torch.long)]
        return Decoded(tuple(self.records[n] for n in numbers), images, tuple(self.digests[n] for n in numbers))

    def where(self, keep: Iterable[bool]) -> Decoded:
        """The images to keep."""
        return self.take([number for number, kept in enumerate(keep) if kept])


def decode(records: Sequence[ImageRecord], form: Form, say: Say) -> Decoded:
    """Reads images; those that cannot be read are named, counted and left out.

    Raises:
        DataError: none of them can be read.
    """

    def read(record: ImageRecord) -> NDArray[np.uint8] | str:
        try:
            image = read_image(record.path)
        except DataError as error:
            return str(error)
        values = to_model(image.pixels, form.size, form.channels, white_of(image, form.white))
        return np.rint((values + 1) * 127.5).astype(np.uint8)

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(read, records))
    bad = [row for row in found if isinstance(row, str)]
    if bad and len(bad) == len(records):
        raise DataError(f"{bad[0]} (the same for all {len(bad)} images)")
    log_skipped(bad, "unreadable images", say)
    rows = [
        (record.category, hashlib.sha256(row.tobytes()).hexdigest()[:32], str(record.path), record, row)
        for record, row in zip(records, found, strict=True)
        if not isinstance(row, str)
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

    with ThreadPoolExecutor(4) as pool:
        return max(pool.map(read, records), default=1)
