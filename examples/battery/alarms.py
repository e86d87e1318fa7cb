"""What a model takes for a defect that is none: on normal images, and beside the defect on defective ones.

    python examples/battery/alarms.py MODEL SET/train [--n 20]

SET/train (or SET/test) holds <product>/<class>/*, SET/train.masks the true masks. Of every product and defect a row:
the share of normal images, or of their windows, in which some pixel is more likely than 0.3 and than 0.5 to be that
defect; of masks that are read from defective images the share of images with a part (more than 20 pixels) further than
6 pixels from the true mask, and these parts' share of the mask.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from images import Mask, of, real_items
from masks import of_this_method, read, window_of
from scipy import ndimage

from defectaug.cli.failures import Session, guard
from defectaug.io import windows
from defectaug.io.images import read_image
from defectaug.methods.native import View, view_of
from defectaug.methods.residual.inference import InferenceModel

NEAR, CRUMB = 6, 20


def stray(found: Mask, true: Mask) -> float:
    """Share of a mask in parts that do not come near the true one."""
    near = ndimage.binary_dilation(true, iterations=NEAR)
    parts, count = ndimage.label(found, np.ones((3, 3)))
    areas = [np.count_nonzero(parts == part) for part in range(1, count + 1) if not near[parts == part].any()]
    return sum(area for area in areas if area > CRUMB) / max(1, np.count_nonzero(found))


def views(path: Path, product: str, model: InferenceModel) -> Iterator[View]:
    """All of an image, or the windows in which it is seen."""
    image = read_image(path)
    side = model.info.window(product, image.size)
    for window in [windows.whole(image.size)] if side is None else windows.tiles(image.size, side):
        yield view_of(image, window, model.info)


@torch.inference_mode()
def table(model_folder: Path, folder: Path, count: int) -> str:
    """Markdown, a row a category.

    Raises:
        ConfigError: the model is of another method.
    """
    model, items = of_this_method(model_folder), real_items(folder)
    lines = ["| category | alarms, 0.3 | 0.5 | images with stray parts | share of masks |", "|---" * 5 + "|"]
    for name in sorted({one.name for one in items if not one.normal}):
        product, defect = name.split("/")
        normal = [one for one in items if one.normal and one.name.startswith(f"{product}/")][:count]
        shown = [view for one in normal for view in views(one.path, product, model)]
        clearest = [read(view, defect, model).likely.max() for view in shown]
        beside = []
        for one in of(items, name)[:count]:
            view, true = window_of(one, model)
            beside.append(stray(read(view, defect, model).outlined, true))
        shares = (np.mean(np.array(clearest) > 0.3), np.mean(np.array(clearest) > 0.5))
        row = (*shares, np.mean(np.array(beside) > 0), np.mean(beside))
        lines.append(f"| {name} | " + " | ".join(f"{x:.2f}" for x in row) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--n", type=int, default=20, help="images a category (default: 20)")
    given = parser.parse_args()
    raise SystemExit(guard(lambda: print(table(given.model, given.folder, given.n)), Session(debug=False)))
