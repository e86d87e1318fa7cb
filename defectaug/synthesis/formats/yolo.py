"""YOLO segmentation: `images/train`, `labels/train` with one line a connected defect, and `data.yaml`.

A line is the class, from 0, and the corners of a polygon as shares of width and height. Readers either fill the area,
or cut the corners down to whole pixels and fill up to and with the line (Ultralytics); corners a little within the
defect's own pixels give back the mask in both ways. Readers that round to the nearest pixel instead (supervision 0.31)
have a pixel more on the right and below, which no polygon for the other two avoids. Holes are joined to the outer line
by cuts.
Source: https://docs.ultralytics.com/datasets/segment
"""

from __future__ import annotations

from pathlib import Path

import yaml

from defectaug.io.progress import Log
from defectaug.io.regions import Region, one_ring
from defectaug.synthesis.formats.finished import Finished, distinct_stems, link

INSET = 0.1  # pixels: more than what six digits of a share round away, less than the half that would lose a pixel
_HEAD = """\
# Ultralytics' format for segmentation. What is here is for training: name real images for validation in 'val'.
"""


def write(finished: Finished, log: Log, target: Path) -> None:
    """Fills the folder `target`."""
    (target / "images/train").mkdir(parents=True, exist_ok=True)
    (target / "labels/train").mkdir(parents=True, exist_ok=True)
    numbers = {name: number for number, name in enumerate(finished.classes)}
    entries = finished.annotated(log)
    for entry, stem in zip(entries, distinct_stems(entries), strict=True):
        link(entry.path, target / "images/train" / f"{stem}{entry.path.suffix}")
        # A normal image has an empty file, which the format calls background.
        mask = entry.mask()
        lines = (f"{numbers[entry.defect]} {polygon(part, mask.shape)}\n" for part in finished.parts(entry, mask))
        (target / "labels/train" / f"{stem}.txt").write_text("".join(lines), encoding="utf-8")
    names = dict(enumerate(finished.classes))
    # Without 'path' the folder of this file counts, wherever it is moved to.
    content = {"train": "images/train", "val": "images/train", "names": names}
    text = _HEAD + yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    (target / "data.yaml").write_text(text, encoding="utf-8")


def polygon(region: Region, size: tuple[int, ...]) -> str:
    """The corners "x y x y ..." of a connected defect in an image of this height and width."""
    height, width = size
    return " ".join(f"{x / width:.6f} {y / height:.6f}" for x, y in one_ring(region.outline(INSET)))
