"""What both scripts share: images with their masks, and a table in Markdown."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from defectaug.cli.failures import Session, guard
from defectaug.data.index import index_folder
from defectaug.data.layouts import Hints
from defectaug.io.images import as_channels, read_image
from defectaug.io.masks import read_mask
from defectaug.metrics.folders import ImageRecord, read_synthetic, records_of, with_masks

Rows = dict[str, dict[str, float]]
"""Measures of every product and defect."""


@dataclass(frozen=True)
class Record:
    """An image, decoded once, and its mask where there is one."""

    record: ImageRecord

    @property
    def name(self) -> str:
        return "/".join(self.record.category)

    @property
    def normal(self) -> bool:
        return Hints().is_normal(self.record.defect)

    @cached_property
    def image(self) -> NDArray[np.uint8]:
        """Grey levels (H, W) of 255."""
        native = read_image(self.record.path)
        return np.rint(as_channels(native.pixels, 1)[..., 0] * (255 / native.white)).astype(np.uint8)

    @cached_property
    def mask(self) -> NDArray[np.bool_]:
        return read_mask(self.record.mask) if self.record.mask else np.zeros(self.image.shape, bool)

    @property
    def has_mask(self) -> bool:
        return not self.normal and bool(self.mask.any())


def records(root: Path) -> list[Record]:
    """The images of a folder with the masks of ROOT.masks; of a synthesized one without the real images."""
    synthesized = (root / "manifest.jsonl").is_file()
    if synthesized:
        records = [one for one in read_synthetic(root) if one.synthetic]
    else:
        records = records_of(index_folder(root, require_defects=False))
    masks = root.with_name(f"{root.name}.masks")
    return [Record(one) for one in (with_masks(records, root, masks) if masks.is_dir() else records)]


def by_name(found: Sequence[Record]) -> dict[str, list[Record]]:
    """Grouped by product and defect, in the order of their names."""
    return {name: [one for one in found if one.name == name] for name in sorted({one.name for one in found})}


def parser(text: str | None, steps: int) -> argparse.ArgumentParser:
    """The options of both scripts."""
    made = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("folders", type=Path, nargs="+", help="real images, or what synthesize --masks has left")
    made.add_argument("--seeds", type=int, default=3, help="classifiers to train (3)")
    made.add_argument("--steps", type=int, default=steps, help=f"steps of each, of 48 images ({steps})")
    made.add_argument("--json", type=Path, help="write the numbers here, too")
    return made


def write(rows: Rows, path: Path | None) -> None:
    """Prints measures from top to bottom, products and defects from left to right; writes all digits as JSON."""
    lines = [["", *rows], ["---"] * (len(rows) + 1)]
    for measure in dict.fromkeys(measure for row in rows.values() for measure in row):
        lines.append([measure, *(f"{row[measure]:.3g}" if measure in row else "" for row in rows.values())])
    print(*(f"| {' | '.join(line)} |" for line in lines), sep="\n")
    if path is not None:
        path.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def ended(run: Callable[[], None]) -> int:
    """Exit code; an error that the user can mend is one line."""
    return guard(run, Session(debug=False))
