"""The layout of MVTec AD: `PRODUCT/train/good`, `PRODUCT/test/DEFECT`, `PRODUCT/ground_truth/DEFECT/NAME_mask.png`.

Readers such as anomalib's ask for a mask of each defective image, and for PNG files. Normal images are those of the
folder, or where it has none, those that were painted on.
Source: https://www.mvtec.com/company/research/datasets/mvtec-ad
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from defectaug.io.images import read_image, write_png
from defectaug.io.progress import Log
from defectaug.synthesis.formats.finished import Entry, Finished, link
from defectaug.synthesis.write import copy_file

GOOD = "good"


def write(finished: Finished, log: Log, target: Path) -> None:
    """Fills the folder `target`."""
    for product in sorted({entry.product for entry in finished.entries}):
        entries = tuple(entry for entry in finished.annotated(log) if entry.product == product)
        normal = [entry for entry in entries if entry.defect == finished.normal]
        good = target / product / "train" / GOOD
        for entry in normal:
            _png(entry.path, good / f"{entry.file.stem}.png", ours=True)
        for number, path in enumerate([] if normal else _sources(entries)):
            _png(path, good / f"{number:06d}.png", ours=False)
        for entry in (entry for entry in entries if entry.defect != finished.normal):
            _png(entry.path, target / product / "test" / entry.defect / f"{entry.file.stem}.png", ours=True)
            link(entry.mask_file, target / product / "ground_truth" / entry.defect / f"{entry.file.stem}_mask.png")


def _sources(entries: Iterable[Entry]) -> list[Path]:
    """The normal images that were painted on, as far as they are still there."""
    named = {Path(entry.line["source"]) for entry in entries if entry.line.get("source")}
    return sorted(path for path in named if path.is_file())


def _png(source: Path, target: Path, *, ours: bool) -> None:
    """An image as PNG: linked where it is one of ours, so that no work on the copy reaches a file of the user's."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.suffix.casefold() != ".png":
        write_png(target, read_image(source))
    elif ours:
        link(source, target)
    else:
        copy_file(source, target)
