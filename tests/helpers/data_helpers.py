"""Small data folders for the tests, in every layout that is understood."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

COUNTS = {"A/normal": 4, "A/scratch": 3, "B/normal": 3, "B/spot": 2}


def picture(seed: int, height: int = 20, width: int = 24, channels: int = 1) -> np.ndarray:
    """A smooth random picture, uint8, unlike that of any other seed."""
    rng = np.random.default_rng(seed)
    shape = (height, width) if channels == 1 else (height, width, channels)
    rough = rng.integers(0, 256, (5, 5) if channels == 1 else (5, 5, channels), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(rough).resize((width, height), Image.Resampling.BICUBIC))
    return smooth.reshape(shape)


def save(path: Path, pixels: np.ndarray | None = None, **options: object) -> Path:
    """Writes an image file; without pixels, a picture that no other path shares."""
    path.parent.mkdir(parents=True, exist_ok=True)
    seed = sum(ord(letter) * (place + 1) for place, letter in enumerate(str(path)))
    Image.fromarray(picture(seed) if pixels is None else pixels).save(path, **options)  # type: ignore[arg-type]
    return path


def save_many(folder: Path, count: int, suffix: str = ".png") -> list[Path]:
    return [save(folder / f"{number:03d}{suffix}") for number in range(count)]


def mask(height: int = 20, width: int = 24, top: int = 5, left: int = 6, edge: int = 4) -> np.ndarray:
    """A square of 255 on 0."""
    values = np.zeros((height, width), np.uint8)
    values[top : top + edge, left : left + edge] = 255
    return values


def native(root: Path, counts: dict[str, int] | None = None) -> Path:
    """ROOT/<product>/<defect>/*.png with the given number of images for each "product/defect"."""
    for category, count in (counts or {"A/normal": 4, "A/scratch": 3, "B/normal": 2, "B/spot": 1}).items():
        save_many(root / category, count)
    return root


def mtd(root: Path) -> Path:
    for kind, count in (("MT_Free", 3), ("MT_Crack", 2), ("MT_Blowhole", 2), ("MT_Fray", 1)):
        for number in range(count):
            stem = root / kind / "Imgs" / f"exp1_num_{number * 1000}"
            save(stem.with_suffix(".jpg"))
            save(stem.with_suffix(".png"), mask() if kind != "MT_Free" else np.zeros((20, 24), np.uint8))
    return root


def sdi(root: Path) -> Path:
    for product in ("A", "B"):
        save_many(root / f"{product}_ok", 3, ".jpg")
        for split in ("train", "val", "test"):
            for defect in ("scratches", "spots"):
                save_many(root / f"{product}_nok" / split / defect, 2, ".jpg")
    return root


def mvtec(root: Path, categories: tuple[str, ...] = ("bottle", "nut"), normal: str = "good") -> Path:
    """Also BTAD with `normal="ok"`, but for the name of the defect."""
    for category in categories:
        save_many(root / category / "train" / normal, 3)
        save_many(root / category / "test" / normal, 2)
        save_many(root / category / "test" / "crack", 2)
        for number in range(2):
            save(root / category / "ground_truth" / "crack" / f"{number:03d}_mask.png", mask())
    return root


def visa(root: Path) -> Path:
    for category in ("candle", "pcb1"):
        save_many(root / category / "Data" / "Images" / "Normal", 3, ".jpg")
        save_many(root / category / "Data" / "Images" / "Anomaly", 2, ".jpg")
        for number in range(2):
            save(root / category / "Data" / "Masks" / "Anomaly" / f"{number:03d}.png", mask() // 255)
    return root
