"""COCO instances: `annotations.json`, and the images beside it under the names that it has for them.

Each connected defect is one annotation: a polygon along the edges of its pixels, run lengths where it has holes. The
corners lie a hair within the pixels: pycocotools fills the same ones as without it, and readers that cut corners down
to whole pixels and fill up to and with the line (Ultralytics' converter, many a cv2.fillPoly) do not get one more on
the right and below, which is a third of a thin scratch. Those that round to the nearest pixel (supervision 0.31) do: a
reader that fills by area has the last pixel only from its middle on, and from there rounding adds another.
Source: https://cocodataset.org/#format-data
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from defectaug.io.progress import Log
from defectaug.io.regions import Region
from defectaug.synthesis.formats.finished import Finished, link

NAME = "annotations.json"
INSET = 0.01  # pixels: more than what six digits of a share round away, too little to be seen at another scale


def write(finished: Finished, log: Log, target: Path) -> None:
    """Fills the folder `target`."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    numbers = {name: number for number, name in enumerate(finished.classes, start=1)}
    for entry in finished.annotated(log):
        mask = entry.mask()
        height, width = mask.shape
        link(entry.path, target / entry.file)
        images.append({"id": len(images) + 1, "file_name": str(entry.file), "width": width, "height": height})
        for region in finished.parts(entry, mask):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": len(images),
                    "category_id": numbers[entry.defect],
                    "bbox": region.box,
                    "area": region.area,
                    "iscrowd": 0,
                    "segmentation": _segmentation(region, mask.shape),
                }
            )
    categories = [{"id": number, "name": name, "supercategory": "defect"} for name, number in numbers.items()]
    content = {"info": {}, "licenses": [], "images": images, "annotations": annotations, "categories": categories}
    target.mkdir(parents=True, exist_ok=True)
    (target / NAME).write_text(json.dumps(content), encoding="utf-8")


def _segmentation(region: Region, size: tuple[int, ...]) -> dict[str, Any] | list[list[float]]:
    outline = region.outline(INSET)
    if len(outline) == 1:
        return [[round(value, 2) for point in outline[0] for value in point]]
    whole = np.zeros(size, bool)
    left, top, width, height = region.box
    whole[top : top + height, left : left + width] = region.pixels
    return {"size": list(size), "counts": run_lengths(whole)}


def run_lengths(mask: NDArray[np.bool_]) -> list[int]:
    """Lengths of runs of False and True in turn, from False on, column after column (COCO's uncompressed RLE)."""
    values = mask.T.ravel()
    changes = np.flatnonzero(values[1:] != values[:-1]) + 1
    lengths = np.diff([0, *changes, values.size]).tolist()
    return [0, *lengths] if values[0] else lengths
