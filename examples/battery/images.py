"""Images with their masks, in colour, as the battery measures and shows them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from defectaug.data.index import index_folder
from defectaug.data.layouts import Hints
from defectaug.io.images import as_channels, read_image
from defectaug.io.masks import mask_folder, read_mask
from defectaug.metrics.defects import around_defect
from defectaug.metrics.folders import ImageRecord, read_synthetic, records_of, with_masks

Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Item:
    """An image, decoded once, and the file of its mask where there is one."""

    path: Path
    name: str
    """product/defect"""
    mask_path: Path | None = None

    @property
    def normal(self) -> bool:
        return Hints().is_normal(self.name.split("/")[1])

    @cached_property
    def image(self) -> Pixels:
        """(H, W, 3), grey levels of 255."""
        native = read_image(self.path)
        return np.rint(as_channels(native.pixels, 3) * (255 / native.white)).astype(np.uint8)

    @cached_property
    def mask(self) -> Mask:
        """(H, W)."""
        return read_mask(self.mask_path) if self.mask_path else np.zeros(self.image.shape[:2], bool)

    def crop(self, side: int) -> Pixels:
        """(side, side, 3) about the defect, at native scale."""
        return around_defect(self.image, self.mask, side)


def real_items(root: Path) -> list[Item]:
    """The images of ROOT/<product>/<class> with the masks of ROOT.masks."""
    return _items(records_of(index_folder(root, require_defects=False)), root)


def synthetic_items(root: Path) -> list[Item]:
    """What synthesis has left in ROOT and ROOT.masks."""
    return _items(read_synthetic(root), root)


def _items(records: list[ImageRecord], root: Path) -> list[Item]:
    masks = mask_folder(root)
    found = with_masks(records, root, masks) if masks.is_dir() else records
    return [Item(one.path, "/".join(one.category), one.mask) for one in found]


def of(items: Iterable[Item], name: str) -> list[Item]:
    """The images of a category whose masks are not empty."""
    return [one for one in items if one.name == name and one.mask.any()]
