"""Reading the folders of an evaluation: real ones by their layout, synthetic ones by their manifest, masks for both."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from defectaug.data.index import DataIndex, index_folder
from defectaug.errors import ConfigError, DataError
from defectaug.metrics.context import Stages
from defectaug.metrics.folders import ImageRecord, read_synthetic, records_of, with_masks, without_shared
from defectaug.metrics.images import ImageSet, ImageStore, Log, read_images

if TYPE_CHECKING:
    from defectaug.data.class_map import ClassMap


class FolderReader:
    """Reads folders, and counts for how many of their images `--masks` holds masks."""

    def __init__(
        self, class_map: str | Path | ClassMap | None, normal: str | None, masks: Path | None, log: Log, stages: Stages
    ) -> None:
        if masks is not None and not masks.is_dir():
            raise ConfigError(f"--masks {masks}: no such folder")
        self._class_map, self._normal, self._masks = class_map, normal, masks
        self._log, self._stages = log, stages
        self.store = ImageStore()
        self._masked = 0

    def real(self, folder: Path) -> tuple[DataIndex, ImageSet]:
        """A data folder without what cannot be read: its index, its images in the same order."""
        index = index_folder(folder, class_map=self._class_map, normal=self._normal, require_defects=False)
        self._log(f"reading {len(index):,} real images in {folder}")
        images = self._read(folder, records_of(index))
        samples = {sample.path: sample for sample in index.samples}
        return replace(index, samples=tuple(samples[record.path] for record in images.records)), images

    def synthetic(self, folder: Path, index: DataIndex, real: ImageSet) -> ImageSet:
        """A synthetic folder, or a balanced one with real images in it."""
        records = without_shared(read_synthetic(folder, self._log), real.records, folder, self._log)
        records = _product_of_real(records, folder, index, self._log)
        if not records:
            raise DataError(f"{folder}: holds nothing but links to the images of {index.root}")
        self._log(f"reading {len(records):,} images in {folder}")
        return self._read(folder, records)

    def check_masks(self) -> None:
        """Raises ConfigError where `--masks` holds no mask of any image."""
        if self._masks is not None and not self._masked:
            raise ConfigError(
                f"--masks {self._masks}: no mask of any image in it; masks are named as their images, "
                "PRODUCT/DEFECT/NAME.png"
            )

    def _read(self, folder: Path, records: list[ImageRecord]) -> ImageSet:
        if self._masks is not None:
            before = [record.mask for record in records]
            records = with_masks(records, folder, self._masks)
            self._masked += sum(old != one.mask for old, one in zip(before, records, strict=True))
        return read_images(str(folder), records, self.store, self._log, self._stages(f"reading {folder.name}"))


def _product_of_real(records: list[ImageRecord], folder: Path, index: DataIndex, log: Log) -> list[ImageRecord]:
    """Gives images without a folder for their product, DEFECT/*, the only product there is."""
    named = {record.product for record in records}
    if len(index.products) != 1 or len(named) != 1 or named <= set(index.products):
        return records
    if named != {folder.resolve().name}:
        return records
    log(f"{folder}: no folder names the product; taken for '{index.products[0]}'")
    return [replace(record, product=index.products[0]) for record in records]
