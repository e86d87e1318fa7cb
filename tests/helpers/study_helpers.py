"""Tiny surfaces with scratches and spots, hard enough that a few images do not teach a classifier all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from data_helpers import save

from defectaug.benchmark import runs

SIDE = 32
CLASSES = ("normal", "scratch", "spot")
REAL = {"A/normal": 16, "A/scratch": 10, "A/spot": 6, "B/normal": 16, "B/scratch": 6, "B/spot": 10}
MORE = {"A/scratch": 5, "A/spot": 5, "B/scratch": 5, "B/spot": 5}


def surface(product: str, defect: str, number: int, stream: int, side: int = SIDE) -> np.ndarray:
    """Image `number` of a category, uint8 (side, side); streams share none."""
    rng = np.random.default_rng([stream, ord(product[0]), CLASSES.index(defect), number])
    y, x = np.mgrid[:side, :side]
    stripes = np.sin((x if product == "A" else y) / rng.uniform(2, 4) + rng.uniform(0, 6))
    image = 120 + 15 * stripes + rng.normal(0, 6, (side, side))
    cy, cx = rng.uniform(8, side - 8, 2)
    if defect == "scratch":
        angle = rng.uniform(0, np.pi)
        across = np.abs((x - cx) * np.sin(angle) - (y - cy) * np.cos(angle))
        along = np.abs((x - cx) * np.cos(angle) + (y - cy) * np.sin(angle))
        image += rng.choice([-60, 60]) * ((across < 1) & (along < rng.uniform(5, 9)))
    elif defect == "spot":
        image += rng.choice([-60, 60]) * (np.hypot(x - cx, y - cy) < rng.uniform(2, 3.2))
    return np.clip(image, 0, 255).astype(np.uint8)


def folder(root: Path, counts: dict[str, int], stream: int = 0, start: int = 0, side: int = SIDE) -> Path:
    """ROOT/<product>/<defect>/NNN.png with so many images for each "product/defect"."""
    for category, count in counts.items():
        product, defect = category.split("/")
        for number in range(start, start + count):
            save(root / category / f"{number:03d}.png", surface(product, defect, number, stream, side))
    return root


def noise(root: Path, counts: dict[str, int]) -> Path:
    """The same with noise alone, under the name of whatever the category is called."""
    for place, (category, count) in enumerate(sorted(counts.items())):
        for number in range(count):
            pixels = np.random.default_rng([9, place, number]).integers(0, 256, (SIDE, SIDE), dtype=np.uint8)
            save(root / category / f"{number:03d}.png", pixels)
    return root


def not_taught(trial: runs.Trial, progress: Callable[[int], object]) -> runs.Outcome:
    """In place of `runs.train`, where classifiers are not what is tested: they call all images normal."""
    progress(trial.settings.steps)
    count = len(trial.real.test)
    return runs.Outcome((1,) * count, (-1.0,) * count, (0.0,) * count, (), 0.0)
