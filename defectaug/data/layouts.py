"""The folder layouts that are understood: a table of what fits and how it is read. The first fit wins."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from defectaug.data.sample import Sample
from defectaug.errors import DataError
from defectaug.io.files import child, has_images, has_own_images, images_with_masks, masks_by_stem, nfc, subfolders

NORMAL_NAMES = frozenset({"normal", "good", "ok", "free", "defect_free", "mt_free"})
NOT_NORMAL = frozenset({"not", "no", "non", "nok", "ng", "bad", "almost", "rework"})
PARTS = ("train", "val", "valid", "validation", "test")
SDI_FOLDER = re.compile(r"(?P<product>.+)_(?P<kind>ok|nok)", re.IGNORECASE)


def sounds_normal(name: str) -> bool:
    """Whether a folder's name says among other words that what it holds is good: "ok_front", "GoodParts"."""
    words = {word.casefold() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}
    return bool(words & {"normal", "good", "ok"} or {"defect", "free"} <= words) and not words & NOT_NORMAL


@dataclass(frozen=True)
class Hints:
    """What the user says: the normal folder's name, and the product's where no folder names it."""

    normal: str | None = None
    product: str | None = None

    def is_normal(self, name: str) -> bool:
        """Whether a folder of this name holds normal images. A name given by the user is the only one."""
        name = nfc(name)
        if self.normal is not None:
            return name.casefold() == nfc(self.normal).casefold()
        return re.sub(r"[ -]", "_", name).casefold() in NORMAL_NAMES

    def product_of(self, root: Path) -> str:
        return nfc(self.product or Path(os.path.realpath(root)).name)


@dataclass(frozen=True)
class Layout:
    """A shape of folders: its name for messages, whether a tree has it, and the samples of such a tree."""

    name: str
    shape: str
    match: Callable[[Path, Hints], bool]
    read: Callable[[Path, Hints], Iterator[Sample]]


def find_layout(root: Path, hints: Hints) -> Layout:
    """The first layout that fits.

    Raises:
        DataError: none fits, or there is no image at all.
    """
    for layout in LAYOUTS:
        if layout.match(root, hints):
            return layout
    if not has_images(root):
        raise DataError(f"{root}: no images (PNG, JPEG, BMP, TIFF, WebP) in this folder or below it")
    shapes = "; ".join(dict.fromkeys(f"{layout.name}: {layout.shape}" for layout in LAYOUTS))
    raise DataError(f"{root}: unknown layout, sort the images into PRODUCT/DEFECT folders (known: {shapes})")


# MTD: ROOT/MT_<Kind>/Imgs/*.jpg, masks are the PNGs beside


def _mtd_kinds(root: Path) -> list[tuple[Path, Path]]:
    kinds = [folder for folder in subfolders(root) if folder.name.casefold().startswith("mt_")]
    return [(kind, images) for kind in kinds if (images := child(kind, "imgs")) is not None]


def _match_mtd(root: Path, hints: Hints) -> bool:
    return any(has_images(images) for _, images in _mtd_kinds(root))


def _read_mtd(root: Path, hints: Hints) -> Iterator[Sample]:
    product = hints.product or "magnetic_tile"
    for kind, images in _mtd_kinds(root):
        for path, mask in images_with_masks(images, png_is_mask=True):
            yield Sample(path, product, kind.name, mask)


# SDI: ROOT/<P>_ok/*, ROOT/<P>_nok/{train,val,test}/<defect>/*


def _sdi_folders(root: Path, kind: str) -> dict[str, Path]:
    found = ((SDI_FOLDER.fullmatch(folder.name), folder) for folder in subfolders(root))
    return {match["product"]: folder for match, folder in found if match and match["kind"].casefold() == kind}


def _match_sdi(root: Path, hints: Hints) -> bool:
    return bool(_sdi_folders(root, "ok").keys() & _sdi_folders(root, "nok").keys())


def _read_sdi(root: Path, hints: Hints) -> Iterator[Sample]:
    normal = hints.normal or "ok"
    for product, folder in _sdi_folders(root, "ok").items():
        for path, mask in images_with_masks(folder):
            yield Sample(path, product, normal, mask)
    for product, folder in _sdi_folders(root, "nok").items():
        for part in subfolders(folder):
            split = part.name.casefold() if part.name.casefold() in PARTS else None
            for defect in subfolders(part) if split else [part]:
                for path, mask in images_with_masks(defect):
                    yield Sample(path, product, defect.name, mask, _split_name(split))


def _split_name(part: str | None) -> str | None:
    return "val" if part in ("valid", "validation") else part


# VisA as published: CATEGORY/Data/Images/{Normal,Anomaly}, CATEGORY/Data/Masks/Anomaly


def _visa_images(category: Path) -> Path | None:
    return child(child(category, "data"), "images")


def _match_visa(root: Path, hints: Hints) -> bool:
    return bool(_categories(root, hints, lambda folder: _visa_images(folder) is not None))


def _read_visa(root: Path, hints: Hints) -> Iterator[Sample]:
    for product, category in _categories(root, hints, lambda folder: _visa_images(folder) is not None):
        for defect in subfolders(_visa_images(category) or category):
            masks = masks_by_stem(child(child(child(category, "data"), "masks"), defect.name.casefold()))
            for path, mask in images_with_masks(defect, masks=masks):
                yield Sample(path, product, defect.name, mask)


# MVTec AD, and BTAD and the re-split VisA, which have its shape:
# CATEGORY/{train,test}/<type>, CATEGORY/ground_truth/<type>. The split is not kept: their training part holds
# no defect, and the defects of the test part are what there is to learn from.


def _is_mvtec_category(folder: Path, hints: Hints) -> bool:
    parts = [part for name in PARTS if (part := child(folder, name)) is not None]
    return any(hints.is_normal(kind.name) and has_images(kind) for part in parts for kind in subfolders(part))


def _match_mvtec(root: Path, hints: Hints) -> bool:
    return bool(_categories(root, hints, lambda folder: _is_mvtec_category(folder, hints)))


def _read_mvtec(root: Path, hints: Hints) -> Iterator[Sample]:
    for product, category in _categories(root, hints, lambda folder: _is_mvtec_category(folder, hints)):
        truth = child(category, "ground_truth", "masks")
        for part in filter(None, (child(category, name) for name in PARTS)):
            for kind in subfolders(part):
                # numbers start anew in each part, masks are those of the test part
                drawn = child(truth, kind.name.casefold()) if part.name.casefold() == "test" else None
                for path, mask in images_with_masks(kind, masks=masks_by_stem(drawn)):
                    yield Sample(path, product, kind.name, mask)


def _categories(root: Path, hints: Hints, fits: Callable[[Path], bool]) -> list[tuple[str, Path]]:
    """The categories below a root, or the root itself where it is one, each with its product's name."""
    if fits(root):
        return [(hints.product_of(root), root)]
    return [(folder.name, folder) for folder in subfolders(root) if fits(folder)]


# One product: ROOT/<defect>/*. Native: ROOT/<product>/<defect>/**/*. Masks of both lie in ROOT.masks, as
# synthesis writes them.


def _match_normal_folder(root: Path, hints: Hints) -> bool:
    return any(hints.is_normal(folder.name) and has_images(folder) for folder in subfolders(root))


def _match_one_product(root: Path, hints: Hints) -> bool:
    return any(has_own_images(folder) for folder in subfolders(root))


def _read_one_product(root: Path, hints: Hints) -> Iterator[Sample]:
    return _read_product(root, _mask_root(root), hints.product_of(root))


def _match_native(root: Path, hints: Hints) -> bool:
    return any(has_images(defect) for product in subfolders(root) for defect in subfolders(product))


def _read_native(root: Path, hints: Hints) -> Iterator[Sample]:
    for product in subfolders(root):
        yield from _read_product(product, _mask_root(root) / product.name, product.name)


def _read_product(folder: Path, masks: Path, product: str) -> Iterator[Sample]:
    for defect in subfolders(folder):
        for path, mask in images_with_masks(defect, masks=masks_by_stem(masks / defect.name)):
            yield Sample(path, product, defect.name, mask)


def _mask_root(root: Path) -> Path:
    real = Path(os.path.realpath(root))
    return real.parent / f"{real.name}.masks"


LAYOUTS = (
    Layout("MTD", "MT_KIND/Imgs/*.jpg", _match_mtd, _read_mtd),
    Layout("SDI", "P_ok/*, P_nok/SPLIT/DEFECT/*", _match_sdi, _read_sdi),
    Layout("VisA", "CATEGORY/Data/Images/{Normal,Anomaly}/*", _match_visa, _read_visa),
    Layout("MVTec AD", "CATEGORY/{train/good,test/TYPE}/*", _match_mvtec, _read_mvtec),
    Layout("one product", "DEFECT/*", _match_normal_folder, _read_one_product),
    Layout("native", "PRODUCT/DEFECT/**/*", _match_native, _read_native),
    Layout("one product", "DEFECT/*", _match_one_product, _read_one_product),
)
