"""Reading the folders that are compared: real images by their layout, synthetic ones by their manifest."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from defectaug.data.files import nfc
from defectaug.data.index import index_folder
from defectaug.data.layouts import Hints, find_layout
from defectaug.errors import DataError
from defectaug.synthesis import manifest
from defectaug.synthesis.write import mask_folder

if TYPE_CHECKING:
    from defectaug.data.class_map import ClassMap


@dataclass(frozen=True, slots=True)
class Picture:
    """An image to score.

    Args:
        path: the file.
        product, defect: its cell.
        synthetic: False for real images, also for those that a balanced folder holds.
        source: the real image that was painted on, where that is known.
        mask: mask of what was painted, where there is one.
        model: sha256 of the weights that made it, where that is known.
    """

    path: Path
    product: str
    defect: str
    synthetic: bool
    source: Path | None = None
    mask: Path | None = None
    model: str | None = None


def read_real(
    root: Path, *, class_map: str | Path | ClassMap | None = None, normal: str | None = None
) -> list[Picture]:
    """All images of a data folder.

    Raises:
        DataError, ConfigError: as :func:`defectaug.data.index.index_folder`.
    """
    index = index_folder(root, class_map=class_map, normal=normal, require_defects=False)
    return [Picture(sample.path, sample.product, sample.defect, False) for sample in index.samples]


def read_synthetic(root: Path) -> list[Picture]:
    """The images of a folder that synthesis has left; of any other folder all images, as synthetic ones.

    Raises:
        DataError: no folder, no images, or files of the manifest that are not there.
    """
    if not root.is_dir():
        raise DataError(f"{root}: no such folder")
    lines = manifest.read_lines(root / manifest.NAME)
    if not lines:
        return _by_folders(root)
    pictures = [_picture(root, line) for line in lines]
    missing = [picture.path for picture in pictures if not picture.path.is_file()]
    if missing:
        raise DataError(f"{missing[0]}: listed in {manifest.NAME} but not there ({len(missing)} in all)")
    return pictures


def _picture(root: Path, line: dict[str, Any]) -> Picture:
    source = line.get("source") if line.get("synthetic") else None
    mask = (mask_folder(root) / line["file"]).with_suffix(".png")
    return Picture(
        path=root / line["file"],
        product=str(line.get("product")),
        defect=str(line.get("defect")),
        synthetic=bool(line.get("synthetic")),
        source=Path(source) if source else None,
        mask=mask if mask.is_file() else None,
        model=line.get("model"),
    )


def _by_folders(root: Path) -> list[Picture]:
    hints = Hints()  # synthetic images of defects alone are no data set to train on: no index_folder
    samples = list(find_layout(root, hints).read(root, hints))
    if not samples:
        raise DataError(f"{root}: no images in this folder or below it")
    return [Picture(sample.path, nfc(sample.product), nfc(sample.defect), True) for sample in samples]
