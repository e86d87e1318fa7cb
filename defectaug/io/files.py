"""Walking a data folder: which entries are folders of images, which files are images, which are masks."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

from defectaug.errors import DataError
from defectaug.io.masks import is_black_and_white

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})
MASK_FOLDERS = frozenset({"ground_truth", "mask", "masks"})
MASK_ENDING = "_mask"


def nfc(name: str) -> str:
    """The composed Unicode form: file systems differ in how they store accents, class names must not."""
    return unicodedata.normalize("NFC", name)


def expanded(path: str | Path) -> Path:
    """The path with `~` replaced by the home folder; as it is where there is no such user."""
    return Path(os.path.expanduser(path))


def real(path: Path) -> Path:
    """The absolute path without links. Unlike `Path.resolve`, does not fail where links lead in circles."""
    return Path(os.path.realpath(path))


def entries(folder: Path) -> list[Path]:
    """Visible entries of a folder by name, without archive litter.

    Raises:
        DataError: the folder cannot be listed.
    """
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed ({error.strerror}); check its rights") from error
    return [folder / name for name in names if not name.startswith(".") and name != "__MACOSX"]


def subfolders(folder: Path) -> list[Path]:
    """Folders that may hold images: no mask folders, and no links back to the folder or above it."""
    above = _real_ancestors(folder)
    return [
        entry
        for entry in entries(folder)
        if entry.is_dir() and not is_mask_folder(entry) and os.path.realpath(entry) not in above
    ]


def child(folder: Path | None, *names: str) -> Path | None:
    """The first subfolder with one of these names, in any case; None when there is none."""
    if folder is None or not folder.is_dir():
        return None
    found = {entry.name.casefold(): entry for entry in entries(folder) if entry.is_dir()}
    return next((found[name] for name in names if name in found), None)


def is_mask_folder(folder: Path) -> bool:
    name = folder.name.casefold()
    return name in MASK_FOLDERS or name.endswith((".masks", "_masks"))


def image_files(folder: Path) -> list[Path]:
    """Every file below `folder` that has an image's suffix, masks by name included; sorted."""
    return sorted(_walk(folder))


def has_images(folder: Path) -> bool:
    return next(_walk(folder), None) is not None


def has_own_images(folder: Path) -> bool:
    """Whether images lie in the folder itself."""
    return any(_is_image_file(entry) for entry in entries(folder))


def images_with_masks(
    folder: Path, *, png_is_mask: bool = False, masks: dict[str, Path] | None = None
) -> list[tuple[Path, Path | None]]:
    """Images below `folder`, each with its mask or None.

    Masks are `NAME_mask.*` beside `NAME.*`, a black-and-white `NAME.png` beside `NAME.jpg`, or come from
    `masks`.

    Args:
        folder: searched with all that lies below.
        png_is_mask: every PNG beside an image of the same name is a mask, without a look inside.
        masks: see `masks_by_stem`.
    """
    groups: dict[tuple[Path, str], list[Path]] = defaultdict(list)
    for file in image_files(folder):
        groups[file.parent, _image_stem(file)].append(file)
    copies = Counter(stem for _, stem in groups)
    pairs: list[tuple[Path, Path | None]] = []
    for (parent, stem), files in groups.items():
        beside = next((file for file in files if _is_mask_file(file, files, png_is_mask)), None)
        if beside is None and masks:
            by_name = masks.get(stem) if copies[stem] == 1 else None
            beside = masks.get(str((parent / stem).relative_to(folder)), by_name)
        pairs += [(file, beside) for file in files if not _is_mask_file(file, files, png_is_mask)]
    return sorted(pairs)


def masks_by_stem(folder: Path | None) -> dict[str, Path]:
    """Mask files below a folder of masks, by name without ending, with and without their subfolder."""
    if folder is None or not folder.is_dir():
        return {}
    masks: dict[str, Path] = {}
    for file in image_files(folder):
        stem = _image_stem(file)
        masks.setdefault(stem, file)
        masks[str((file.parent / stem).relative_to(folder))] = file
    return masks


def _walk(top: Path) -> Iterator[Path]:
    seen: set[str] = set()
    todo = [(top, os.path.realpath(top))]
    while todo:
        folder, real = todo.pop()
        if real in seen:  # links may lead in circles
            continue
        seen.add(real)
        for entry in entries(folder):
            if _is_image_file(entry):
                yield entry
            elif entry.is_dir() and not is_mask_folder(entry):
                inside = os.path.realpath(entry) if entry.is_symlink() else os.path.join(real, entry.name)
                if not Path(real).is_relative_to(inside):
                    todo.append((entry, inside))


def _is_image_file(entry: Path) -> bool:
    if entry.suffix.casefold() not in IMAGE_SUFFIXES:
        return False
    # A dangling link counts, so that it is reported as unreadable; a pipe would block whoever opens it.
    return entry.is_file() or (entry.is_symlink() and not entry.exists())


def _is_mask_file(file: Path, together: list[Path], png_is_mask: bool) -> bool:
    if file.stem.casefold().endswith(MASK_ENDING):
        return True
    if file.suffix.casefold() != ".png" or all(other.suffix.casefold() == ".png" for other in together):
        return False
    if png_is_mask:
        return True
    return is_black_and_white(file)


def _image_stem(file: Path) -> str:
    stem = file.stem
    return stem[: -len(MASK_ENDING)] if stem.casefold().endswith(MASK_ENDING) else stem


def _real_ancestors(folder: Path) -> set[str]:
    real = Path(os.path.realpath(folder))
    return {str(real), *map(str, real.parents)}
