"""A finished output folder, read back for what is written beside it. No torch."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from defectaug.io import manifest
from defectaug.io.masks import mask_folder, read_mask
from defectaug.io.progress import Log
from defectaug.io.regions import Region, regions
from defectaug.synthesis.write import copy_file

LONGEST = 150  # bytes of a file's name without its ending, of which file systems allow 255


@dataclass(frozen=True)
class Finished:
    """An output folder with masks.

    Args:
        out: the folder.
        normal: name of the normal class.
        defects: names of the defects that the model knows, in its order, which numbers of classes follow.
        white: level of 16-bit images that is shown white.
    """

    out: Path
    normal: str
    defects: tuple[str, ...]
    white: int = 255

    @cached_property
    def entries(self) -> tuple[Entry, ...]:
        """All images, in the manifest's order."""
        masks = mask_folder(self.out)
        return tuple(
            Entry(self.out / line["file"], (masks / line["file"]).with_suffix(".png"), line)
            for line in manifest.read_lines(self.out / manifest.NAME)
        )

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """The defects that the model knows, then those that only real images show."""
        return tuple(dict.fromkeys((*self.defects, *sorted({e.defect for e in self.entries} - {self.normal}))))

    def annotated(self, log: Log) -> tuple[Entry, ...]:
        """The images whose masks are known; says how many are not: to leave their defects out would be wrong."""
        known = tuple(entry for entry in self.entries if entry.mask_file.is_file())
        if missing := len(self.entries) - len(known):
            images = "image has" if missing == 1 else "images have"
            log(f"{missing:,} real {images} no mask: left out of the annotations")
        return known

    def parts(self, entry: Entry, mask: NDArray[np.bool_]) -> list[Region]:
        """The connected defects of an image; none of a normal one, whatever its mask."""
        return [] if entry.defect == self.normal else regions(mask)


@dataclass(frozen=True)
class Entry:
    """One image.

    Args:
        path: its file.
        mask_file: its mask, which real images may lack.
        line: of the manifest.
    """

    path: Path
    mask_file: Path
    line: Mapping[str, Any]

    @property
    def product(self) -> str:
        return str(self.line["product"])

    @property
    def defect(self) -> str:
        return str(self.line["defect"])

    @property
    def file(self) -> PurePosixPath:
        """Its path below the output folder."""
        return PurePosixPath(self.line["file"])

    def mask(self) -> NDArray[np.bool_]:
        """(H, W), True where the defect is."""
        return read_mask(self.mask_file)


def link(source: Path, target: Path) -> None:
    """A second name of a file of ours; a copy where the file system has no hard links.

    Raises:
        OutputError: it cannot be written.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        copy_file(source, target)


def distinct_stems(entries: tuple[Entry, ...]) -> Iterator[str]:
    """A name without ending for each image, unlike all others in one folder: "product_defect_name"."""
    taken: set[str] = set()
    for entry in entries:
        whole = "_".join((entry.product, entry.defect, entry.file.stem))
        stem = whole.encode(errors="surrogatepass")[:LONGEST].decode(errors="ignore")
        if stem != whole or stem.casefold() in taken:
            stem = f"{stem}-{entry.line['index']}"
        while stem.casefold() in taken:
            stem += "b"
        taken.add(stem.casefold())
        yield stem
