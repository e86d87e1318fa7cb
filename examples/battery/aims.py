"""Whether the windows that a training looks at show the defect: as the prior aims them, and as E does later in the run.

    python examples/battery/aims.py MODEL TRAIN

TRAIN holds <product>/<class>/*, TRAIN.masks the true masks; MODEL was trained on TRAIN and still has `state`.
Of every product that is seen in windows, and its defects, a row: the share of windows that show more than 30 pixels of
the true mask, and the share of the mask that a window shows, on average of 20 windows an image.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from images import Mask, real_items
from numpy.typing import NDArray

from defectaug.bundle import read_config
from defectaug.cli.failures import Session, guard
from defectaug.data.index import index_folder
from defectaug.device import choose
from defectaug.training.framing import choose_framing

WINDOWS, LEAST = 20, 30

Places = NDArray[np.float64]


def shown(mask: Mask, places: Places, side: int, rng: np.random.Generator) -> tuple[float, float]:
    """Share of windows, drawn as a training draws them, that show a defect, and the share of it that they show."""
    size, pixels = np.array(mask.shape), []
    for _ in range(WINDOWS):
        corner = np.rint(places[rng.integers(len(places))] * size + rng.uniform(-0.75, -0.25, 2) * side).astype(int)
        top, left = np.clip(corner, 0, np.maximum(size - side, 0))
        pixels.append(np.count_nonzero(mask[top : top + side, left : left + side]))
    return float(np.mean(np.array(pixels) > LEAST)), float(np.mean(pixels) / np.count_nonzero(mask))


def table(model: Path, train: Path) -> str:
    """Markdown, a row a category."""
    index = index_folder(train)
    framed = choose_framing(index, read_config(model)[0].network.image_size, 255, choose("cpu"), print)
    later = {Path(path).resolve(): np.array(places) for path, places in aims(model).items()}
    masks = {one.path.resolve(): one.mask for one in real_items(train) if not one.normal and one.mask.any()}
    rng, rows = np.random.default_rng(0), {}
    for number, places in (framed.points or {}).items():
        sample = index.samples[number]
        side, path = framed.framings[sample.product].window, sample.path.resolve()
        if side is not None and path in masks and path in later:
            both = [*shown(masks[path], places, side, rng), *shown(masks[path], later[path], side, rng)]
            rows.setdefault(str(sample.category), []).append(both)
    head = "| category | by the prior: windows that show it | share shown | by E: windows | share |"
    means = {name: " | ".join(f"{x:.2f}" for x in np.mean(some, axis=0)) for name, some in rows.items()}
    return "\n".join([head, "|---" * 5 + "|", *(f"| {name} | {row} |" for name, row in means.items())])


def aims(model: Path) -> Mapping[str, list[list[float]]]:
    """The places that a run has found for itself, by file."""
    return json.loads((model / "state" / "state.json").read_text(encoding="utf-8"))["aims"]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("train", type=Path)
    given = parser.parse_args()
    raise SystemExit(guard(lambda: print(table(given.model, given.train)), Session(debug=False)))
