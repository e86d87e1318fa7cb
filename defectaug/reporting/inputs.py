"""Reading the folders of an evaluation: real ones by their layout, synthetic ones by their manifest, masks for both."""

from __future__ import annotations

import filecmp
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from defectaug.bundle import held_out, read_config
from defectaug.data.holdout import Holdout
from defectaug.data.index import DataIndex, alike, index_folder
from defectaug.errors import ConfigError, DataError
from defectaug.io.files import real
from defectaug.io.progress import Log, Stages
from defectaug.metrics.folders import (
    ImageRecord,
    read_synthetic,
    records_of,
    under_product,
    with_masks,
    without_shared,
)
from defectaug.metrics.images import ImageSet, ImageStore, read_images

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

    def real(self, folder: Path, tested: DataIndex | None = None) -> tuple[DataIndex, ImageSet]:
        """A data folder, or one of test images for that in `tested`, without what cannot be read: its index, its images
        in the same order."""
        index = index_folder(folder, class_map=self._class_map, normal=self._normal, require_defects=False)
        index = index if tested is None else alike(index, tested, self._log)
        self._log(f"reading {len(index):,} real images in {folder}")
        images = self._read(folder, records_of(index))
        samples = {sample.path: sample for sample in index.samples}
        kept = tuple(replace(samples[record.path], mask=record.mask) for record in images.records)
        return replace(index, samples=kept), images

    def synthetic(self, folder: Path, index: DataIndex, real: ImageSet) -> ImageSet:
        """A synthetic folder, or a balanced one with real images in it."""
        records = without_shared(read_synthetic(folder, self._log), real.records, folder, self._log)
        records = under_product(records, folder, index.products, self._log)
        if not records:
            raise DataError(f"{folder}: holds nothing but links to the images of {index.root}")
        self._log(f"reading {len(records):,} images in {folder}")
        return self._read(folder, records)

    def held_out(
        self, index: DataIndex, images: ImageSet, bundles: Sequence[Path]
    ) -> tuple[tuple[DataIndex, ImageSet], tuple[DataIndex | None, ImageSet | None]]:
        """The real images without those that no bundle's training has seen, and these: index and images of each."""
        held = [held for bundle in bundles if (held := self._held_of(bundle, index)).files or held.folder]
        if not held or len(held) < len(bundles):
            return (index, images), (None, None)
        names = " and ".join(map(str, bundles))
        folders = {one.folder for one in held}
        if folders == {held[0].folder} and held[0].folder and held[0].folder.is_dir():
            self._log(f"tests: the images in {held[0].folder}, which {names} has not seen")
            return (index, images), self.real(held[0].folder, index)
        common = Holdout(tuple(set.intersection(*(set(one.files) for one in held))))
        tests = common.only(index)
        if not len(tests):
            return (index, images), (None, None)
        self._log(f"tests: the {len(tests):,} images of {index.root} that {names} has not seen")
        paths = {sample.path for sample in tests.samples}
        seen = images.where(lambda record: record.path not in paths)
        return (common.keep_away(index), seen), (tests, replace(images.where(lambda r: r.path in paths),
                                                               name=f"{images.name}, held out"))

    def _held_of(self, bundle: Path, index: DataIndex) -> Holdout:
        """What a bundle has not seen of a folder: the one it was trained on, or a copy of it."""
        data, held = read_config(bundle)[1], held_out(bundle)
        root = Path(os.path.normpath(bundle / data.root)) if data.root else None
        if root is None or real(root) == real(index.root):
            return held
        there = {file: root / file for file in held.files}
        if all(_same(index.root / file, path) for file, path in there.items()):
            return held
        return Holdout(folder=held.folder)

    def check_masks(self) -> None:
        """Raises ConfigError where `--masks` holds no mask of any image."""
        if self._masks is not None and not self._masked:
            raise ConfigError(
                f"--masks {self._masks}: no mask of any image in it; masks are named as their images, "
                "PRODUCT/DEFECT/NAME.png"
            )

    def _read(self, folder: Path, records: list[ImageRecord]) -> ImageSet:
        if self._masks is not None:
            records = with_masks(records, folder, self._masks)
            self._masked += sum(one.mask is not None and one.mask.is_relative_to(self._masks) for one in records)
        return read_images(str(folder), records, self.store, self._log, self._stages(f"reading {folder.name}"))


def _same(path: Path, original: Path) -> bool:
    """Whether a file is a copy of another one, which may be gone."""
    return path.is_file() and (not original.is_file() or filecmp.cmp(path, original, shallow=False))
