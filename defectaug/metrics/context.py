"""What is evaluated: real images, synthetic sets, held-out images, and how progress is shown. No torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from defectaug.data.index import DataIndex
from defectaug.data.near_duplicates import mean_images, near_duplicate_groups
from defectaug.data.sample import Category
from defectaug.metrics.array_cache import Cache
from defectaug.metrics.folders import ImageRecord
from defectaug.metrics.image_statistics import Floats, ImageSet, Progress, Say

Stages = Callable[[str], Progress]
"""Gives what shows the progress of a stage of that name."""


def silent(stage: str) -> Progress:
    """Shows nothing."""
    return lambda done, total: None


@dataclass(frozen=True)
class Scene:
    """All that the parts of an evaluation look at.

    Args:
        index: the real folder, without what cannot be read.
        real: its pictures.
        synthetic: the synthetic pictures of each folder; real ones that a balanced folder holds are left out.
        test, test_index: real pictures that nothing was trained on, where the user has some, and their index.
        white: white level of the 16-bit images.
        seed: of every random choice.
        cache: keeps what is computed.
        say, stages: lines and progress for the user.
    """

    index: DataIndex
    real: ImageSet
    synthetic: tuple[ImageSet, ...]
    test: ImageSet | None = None
    test_index: DataIndex | None = None
    white: int = 255
    seed: int = 0
    cache: Cache = field(default_factory=Cache)
    say: Say = lambda line: None
    stages: Stages = silent

    @property
    def normal(self) -> str:
        return self.index.normal

    def is_defective(self, picture: ImageRecord) -> bool:
        return picture.defect != self.normal

    @cached_property
    def groups(self) -> NDArray[np.int64]:
        """Number of the near-duplicate group of each real picture: the same part photographed twice."""
        return np.array(near_duplicate_groups(self.index, [look.small for look in self.real.looks]), np.int64)

    @cached_property
    def means(self) -> dict[str, Floats]:
        """Mean picture of each product's normal images; of all images where it has no normal ones."""
        categories = [record.category for record in self.real.records]
        return mean_images(categories, [look.small for look in self.real.looks], self.normal)

    def stage(self, name: str) -> Progress:
        return self.stages(name)


def cell_name(cell: Category) -> str:
    return "/".join(cell)
