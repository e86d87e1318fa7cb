"""What is evaluated: real images, synthetic sets, held-out images, and how progress is shown."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from defectaug.data.index import DataIndex
from defectaug.data.near_duplicates import mean_images, near_duplicate_groups
from defectaug.io.atomic import write_atomic
from defectaug.io.progress import Log, Stages, silent, unheard
from defectaug.metrics.folders import ImageRecord
from defectaug.metrics.images import Floats, ImageSet, ImageStore


@dataclass(frozen=True)
class ArrayCache:
    """A folder of arrays that are computed already, named after what they were computed from; None keeps nothing.

    Files appear whole, so that an interrupted run leaves good ones.
    """

    folder: Path | None = None

    def rows(self, kind: str) -> dict[str, NDArray]:
        """Every row kept under `kind`, by its key. A damaged file is as if it were not there."""
        rows: dict[str, NDArray] = {}
        for path in sorted((self.folder / kind).glob("*.npz")) if self.folder else ():
            try:
                with np.load(path, allow_pickle=False) as kept:
                    rows |= dict(zip(kept["keys"].tolist(), kept["rows"], strict=True))
            except (OSError, ValueError, KeyError, zipfile.BadZipFile):
                continue
        return rows

    def keep(self, kind: str, keys: list[str], rows: NDArray) -> None:
        """Keeps rows, one a key.

        Raises:
            OutputError: the folder cannot be written.
        """
        if self.folder is None or not keys:
            return
        content = io.BytesIO()
        np.savez(content, keys=np.array(keys), rows=rows)
        write_atomic(self.folder / kind / f"{digest(keys)}.npz", lambda file: file.write(content.getvalue()))


def digest(parts: Iterable[object]) -> str:
    """Sixteen hexadecimal digits that stand for the parts, in their order."""
    content = "\0".join(map(str, parts)).encode(errors="surrogatepass")
    return hashlib.sha256(content).hexdigest()[:16]


@dataclass(frozen=True)
class EvaluationContext:
    """All that the parts of an evaluation have in common.

    Args:
        index: the real folder, without what cannot be read.
        real: its images.
        synthetic: the synthetic images of each folder; real ones that a balanced folder holds are left out.
        test, test_index: real images that nothing was trained on, where the user has some, and their index.
        white: white level of the 16-bit images.
        seed: of every random choice.
        store: decodes the images.
        cache: keeps what is computed.
        log, stages: lines and progress for the user.
    """

    index: DataIndex
    real: ImageSet
    synthetic: tuple[ImageSet, ...]
    test: ImageSet | None = None
    test_index: DataIndex | None = None
    white: int = 255
    seed: int = 0
    store: ImageStore = field(default_factory=ImageStore)
    cache: ArrayCache = field(default_factory=ArrayCache)
    log: Log = unheard
    stages: Stages = silent

    @property
    def normal(self) -> str:
        return self.index.normal

    def is_defective(self, record: ImageRecord) -> bool:
        return record.defect != self.normal

    def defective(self, images: ImageSet, product: str | None = None) -> ImageSet:
        """The defective images of a set, or of one product of it."""
        return images.where(lambda record: self.is_defective(record) and product in (None, record.product))

    @property
    def sets(self) -> list[ImageSet]:
        """The real images, the held-out ones and the synthetic ones, in this order."""
        return [self.real, *([self.test] if self.test else []), *self.synthetic]

    @cached_property
    def groups(self) -> NDArray[np.int64]:
        """(N,) number of the near-duplicate group of each real image: the same part photographed twice."""
        return np.array(near_duplicate_groups(self.index, self.real.thumbnails), np.int64)

    @cached_property
    def means(self) -> dict[str, Floats]:
        """Mean image (S, S) of each product's normal images; of all images where it has no normal ones."""
        categories = [record.category for record in self.real.records]
        return mean_images(categories, self.real.thumbnails, self.normal)
