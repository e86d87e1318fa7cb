"""Features of sets of images, kept by content."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from defectaug.io.images import as_channels, quantise, read_image
from defectaug.metrics.array_cache import Cache, digest
from defectaug.metrics.extractors import Extractor
from defectaug.metrics.folders import ImageRecord
from defectaug.metrics.image_statistics import ImageSet, Progress

BATCH = 32
Job = tuple[tuple[int, int], str, int]  # an image's size, its fingerprint, its number


class FeatureStore:
    """Features of images by fingerprint: each picture is shown to the extractor once, over all parts and runs.

    Args:
        extractor: makes them.
        cache: keeps them, after every batch.
        white: white level of 16-bit images.
    """

    def __init__(self, extractor: Extractor, cache: Cache, white: int = 255) -> None:
        self.extractor = extractor
        self._cache, self._white = cache, white
        self._kind = f"features-{digest([extractor.name, extractor.weights, extractor.resize, white])}"
        self._rows = cache.rows(self._kind)

    def of(self, images: ImageSet, progress: Progress | None = None) -> NDArray[np.float32]:
        """Features (N, D) in the order of the pictures."""
        todo = {look.fingerprint: number for number, look in enumerate(images.looks)}
        missing = sorted((images.looks[n].size, key, n) for key, n in todo.items() if key not in self._rows)
        done = len(todo) - len(missing)
        for batch in _batches(missing):
            if progress:
                progress(done, len(todo))
            self._add([images.records[n] for _, _, n in batch], [key for _, key, _ in batch])
            done += len(batch)
        if progress and missing:
            progress(done, len(todo))
        empty = np.zeros((0, self.extractor.size), np.float32)
        return np.stack([self._rows[key] for key in images.prints]) if len(images) else empty

    def _add(self, pictures: Sequence[ImageRecord], keys: list[str]) -> None:
        rows = self.extractor(torch.stack(load(pictures, self._white)))
        self._rows |= dict(zip(keys, rows, strict=True))
        self._cache.keep(self._kind, keys, rows)


def load(pictures: Sequence[ImageRecord], white: int = 255) -> list[Tensor]:
    """Pictures as uint8 colour images (3, H, W) of their own sizes."""

    def read(picture: ImageRecord) -> Tensor:
        image = read_image(picture.path)
        top = white if image.white > 255 and white > 255 else image.white
        values = quantise(as_channels(image.pixels, 3) / np.float32(top), np.uint8)
        return torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1)))

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(read, pictures))


def _batches(todo: Sequence[Job]) -> Iterator[list[Job]]:
    """Batches of images of one size each."""
    for _, group in groupby(todo, key=lambda entry: entry[0]):
        same = list(group)
        for start in range(0, len(same), BATCH):
            yield same[start : start + BATCH]
