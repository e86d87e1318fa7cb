"""Folders in, arrays out: images of the layout ROOT/<product>/<class>/*, their masks, and the manifest.

Written apart from the package on purpose, so that its mistakes are not repeated here.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 128
NORMAL_NAMES = {"normal", "good", "ok", "free", "defect_free"}
IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"}

Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Shown:
    """An image of a defect, and the mask that says where; for a synthetic one also what it was made from."""

    file: Path
    product: str
    defect: str
    mask: Path
    source: Path | None = None
    reference: Path | None = None


def read_grey(path: Path, side: int | None = SIDE) -> Pixels:
    """An image file as 8-bit grey, [side, side], or as large as it is if `side` is None."""
    with Image.open(path) as opened:
        image: Image.Image = opened
        if image.mode.startswith("I"):  # 16 bit: convert() would clip it
            image = Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).clip(0, 255).astype(np.uint8))
        grey = image.convert("L")
        if side is not None and grey.size != (side, side):
            grey = grey.resize((side, side), Image.Resampling.BILINEAR)
        return np.asarray(grey)


def read_mask(path: Path, side: int | None = SIDE) -> Mask:
    """A mask file as booleans; a pixel that is scaled down is defective if a quarter of it was."""
    with Image.open(path) as image:
        mask = image.convert("L").point(lambda value: 255 if value else 0)
        if side is not None and mask.size != (side, side):
            mask = mask.resize((side, side), Image.Resampling.BOX)
        return np.asarray(mask) >= 64


def cells(root: Path) -> Iterator[tuple[str, str, list[Path]]]:
    """Every (product, class, sorted image files) of the layout ROOT/<product>/<class>/*."""
    for folder in sorted(path for path in root.glob("*/*") if path.is_dir()):
        files = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
        if files:
            yield folder.parent.name, folder.name, files


def mask_of(file: Path) -> Path:
    """Where the mask of ROOT/<product>/<class>/NAME lies: ROOT.masks/<product>/<class>/NAME.png."""
    root = file.parents[2]
    return (root.with_name(root.name + ".masks") / file.relative_to(root)).with_suffix(".png")


def real_defects(root: Path) -> list[Shown]:
    """The defective images of a folder that have a true mask in ROOT.masks."""
    return [
        Shown(file, product, kind, mask_of(file))
        for product, kind, files in cells(root)
        if kind.lower() not in NORMAL_NAMES
        for file in files
        if mask_of(file).is_file()
    ]


def synthetic_defects(root: Path, masks: Path | None = None) -> list[Shown]:
    """The synthetic images that ROOT/manifest.jsonl lists; without a manifest all defective ones with a mask.

    Paths to sources and references may be relative to the working folder or to ROOT.
    """
    manifest = root / "manifest.jsonl"
    if not manifest.is_file():
        return real_defects(root)
    masks = masks or root.with_name(root.name + ".masks")
    shown = []
    for text in manifest.read_text(encoding="utf-8").splitlines():
        line = json.loads(text)
        if line["synthetic"] and line["defect"].lower() not in NORMAL_NAMES:
            shown.append(
                Shown(
                    root / line["file"],
                    line["product"],
                    line["defect"],
                    (masks / line["file"]).with_suffix(".png"),
                    _found(line.get("source"), root),
                    _found(line.get("reference"), root),
                )
            )
    return shown


def by_cell(shown: Iterable[Shown]) -> dict[str, list[Shown]]:
    """Group as {"product/defect": images}, in the order of the names."""
    groups: dict[str, list[Shown]] = {}
    for item in shown:
        groups.setdefault(f"{item.product}/{item.defect}", []).append(item)
    return dict(sorted(groups.items()))


def print_table(rows: dict[str, dict[str, float | int | None]], first: str = "cell") -> None:
    """Rows of the same columns on standard output; a missing value is a dash."""
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    cells = [[first, *columns]]
    for name, row in rows.items():
        cells.append([name, *(_show(row.get(column)) for column in columns)])
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for line in cells:
        print(
            line[0].ljust(widths[0]),
            *(text.rjust(width) for text, width in zip(line[1:], widths[1:], strict=True)),
        )


def write_json(path: Path | None, content: object) -> None:
    """Write numbers to a file, if one is asked for."""
    if path is not None:
        path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def require(found: list[Shown], root: Path, what: str) -> list[Shown]:
    """The list, or the end of the program with a line that says what is missing."""
    if not found:
        sys.exit(f"{root}: no {what} found")
    return found


def _found(path: str | None, root: Path) -> Path | None:
    if path is None:
        return None
    return Path(path) if Path(path).exists() else root / path


def _show(value: float | int | None) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:.3f}"
