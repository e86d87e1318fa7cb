"""Reading the folders that are compared: real images by their layout, synthetic ones by their manifest. No torch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from defectaug.data.index import DataIndex, only_product
from defectaug.data.layouts import Hints, find_layout
from defectaug.data.sample import Category
from defectaug.errors import ConfigError, DataError
from defectaug.io import manifest
from defectaug.io.files import image_files, masks_by_stem, nfc
from defectaug.io.masks import mask_folder
from defectaug.io.progress import Log, unheard


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """An image to score.

    Args:
        path: the file.
        product, defect: its category.
        synthetic: False for real images, also for those that a balanced folder holds.
        source: the real image that was painted on, where that is known.
        mask: mask of the defect: the true one of a real image, or what was painted.
        model: sha256 of the weights that it was made with, where that is known.
        reference: the real image whose defect was taken, where there is one.
        bundle: folder of the model, where that is known.
    """

    path: Path
    product: str
    defect: str
    synthetic: bool
    source: Path | None = None
    mask: Path | None = None
    model: str | None = None
    reference: Path | None = None
    bundle: Path | None = None

    @property
    def category(self) -> Category:
        return Category(self.product, self.defect)


def records_of(index: DataIndex) -> list[ImageRecord]:
    """The samples of an index as real images, with their true masks where the data set brings them."""
    return [ImageRecord(one.path, one.product, one.defect, False, mask=one.mask) for one in index.samples]


def read_synthetic(root: Path, log: Log = unheard) -> list[ImageRecord]:
    """The images of a folder that synthesis has left; of any other folder all images, as synthetic ones.

    Raises:
        DataError: no folder, no images, or a manifest that cannot be read or names files which are not there, lie
            elsewhere or under another product or defect.
    """
    if not root.is_dir():
        raise DataError(f"{root}: {'is a file, not a folder' if root.exists() else 'no such folder'}")
    lines = manifest.read_lines(root / manifest.NAME)
    if not lines and (root / manifest.NAME).exists():
        raise DataError(
            f"{root / manifest.NAME}: no line of it can be read as synthesis writes them; mend it, or remove it to "
            "take the images for what their folders tell"
        )
    if not lines:
        log(f"{root}: no {manifest.NAME}, so sources, masks and what made the images are unknown")
        return _by_folders(root)
    for line in lines:
        _check_line(root, line)
    records = sorted((_record(root, line) for line in lines), key=lambda record: record.path)
    missing = [record.path for record in records if not record.path.is_file()]
    if missing:
        raise DataError(
            f"{missing[0]}: listed in {manifest.NAME} but not there ({len(missing)} in all); finish the run with the "
            "same command, or mend the folder"
        )
    if (root / manifest.RECORD).exists():
        log(
            f"{root}: not finished, the {len(records):,} images that are there are measured; the command that began "
            "the run finishes it"
        )
    listed = {record.path for record in records}
    others = [path for path in image_files(root) if path not in listed]
    if others:
        log(f"{root}: {len(others)} images are not in {manifest.NAME} and are left out, first {others[0]}")
    return records


def under_product(records: list[ImageRecord], root: Path, products: Sequence[str], log: Log) -> list[ImageRecord]:
    """Gives images without a folder for their product, DEFECT/*, the only one of `products`."""
    product = only_product({record.product for record in records}, root, products)
    if product is None:
        return records
    log(f"{root}: no folder names the product; taken for '{product}'")
    return [replace(record, product=product) for record in records]


def with_masks(records: Sequence[ImageRecord], root: Path, masks: Path) -> list[ImageRecord]:
    """The images with the masks of another folder, found by their place below `root`, then by category and name."""
    known = masks_by_stem(masks)
    found = []
    for record in records:
        place = record.path.relative_to(root).with_suffix("") if record.path.is_relative_to(root) else None
        keys = [str(place), f"{record.product}/{record.defect}/{record.path.stem}"]
        mask = next((known[key] for key in keys if key in known), None)
        found.append(replace(record, mask=mask or record.mask))
    return found


def refuse_overlap(folders: Sequence[Path]) -> None:
    """Raises ConfigError where one of the folders is another, or lies inside it."""
    places = [(folder, folder.resolve()) for folder in folders]
    for number, (folder, place) in enumerate(places):
        for other, there in places[number + 1 :]:
            if place == there:
                raise ConfigError(f"{other}: is the same folder as {folder}; name each folder once")
            if place in there.parents or there in place.parents:
                raise ConfigError(f"{other}: shares files with {folder}, one lies inside the other; move one out")


def without_shared(
    records: Sequence[ImageRecord], known: Sequence[ImageRecord], root: Path, log: Log
) -> list[ImageRecord]:
    """The synthetic images that are not, by a link, the very files of `known`; how many were left out is logged."""
    taken = {_identity(record.path) for record in known}
    kept = [record for record in records if not record.synthetic or _identity(record.path) not in taken]
    if len(kept) < len(records):
        log(f"{root}: {len(records) - len(kept)} files are links to real images and are left out")
    return kept


def _identity(path: Path) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_dev, found.st_ino


def _check_line(root: Path, line: dict[str, Any]) -> None:
    place = PurePosixPath(line["file"])
    where = f"{root / manifest.NAME}: '{line['file']}'"
    if place.is_absolute() or ".." in place.parts:
        raise DataError(f"{where} lies outside the folder; the manifest is not of this folder")
    for key in ("product", "defect"):
        if not isinstance(line.get(key), str):
            raise DataError(f"{where} has no {key}; the manifest is damaged")
    if len(place.parts) == 3 and tuple(map(nfc, place.parts[:2])) != (nfc(line["product"]), nfc(line["defect"])):
        raise DataError(
            f"{where} is listed as {line['product']}/{line['defect']}; the manifest does not match the folder"
        )


def _record(root: Path, line: dict[str, Any]) -> ImageRecord:
    source = line.get("source") if line.get("synthetic") else None
    mask = (mask_folder(root) / line["file"]).with_suffix(".png")
    return ImageRecord(
        path=root / line["file"],
        product=nfc(line["product"]),
        defect=nfc(line["defect"]),
        synthetic=bool(line.get("synthetic")),
        source=_found(root, source),
        mask=mask if mask.is_file() else None,
        model=line.get("model"),
        reference=_found(root, line.get("reference")),
        bundle=_found(root, line.get("bundle")),
    )


def _found(root: Path, path: Any) -> Path | None:
    """A path of a manifest: as it stands, or for one that is relative, from the folder where it is there."""
    if not isinstance(path, str):
        return None
    beside = root / path
    return beside if not Path(path).exists() and beside.exists() else Path(path)


def _by_folders(root: Path) -> list[ImageRecord]:
    hints = Hints()  # synthetic images of defects alone are no data set to train on: no index_folder
    samples = list(find_layout(root, hints).read(root, hints))
    if not samples:
        raise DataError(f"{root}: no images in this folder or below it")
    return [
        ImageRecord(sample.path, nfc(sample.product), nfc(sample.defect), True, mask=sample.mask)
        for sample in sorted(samples, key=lambda sample: sample.path)
    ]
