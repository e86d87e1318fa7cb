"""Small parts with scratches and spots, every image unlike the others, for the tests of `evaluate`."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
from data_helpers import save
from PIL import Image

SIDE = 64


def surface(seed: int) -> np.ndarray:
    """A rough grey surface, (SIDE, SIDE) float."""
    rng = np.random.default_rng(seed)
    rough = rng.normal(0, 1, (SIDE + 4, SIDE + 4))
    smooth = sum(rough[a : a + SIDE, b : b + SIDE] for a in range(4) for b in range(4)) / 4
    return 110 + 8 * smooth + rng.normal(0, 1.5, (SIDE, SIDE))


def strokes(seed: int, defect: str) -> np.ndarray:
    """Where a defect lies, bool: a thin line, or a round spot, anywhere."""
    rng = np.random.default_rng([seed, 7])
    y, x = np.mgrid[:SIDE, :SIDE]
    row, column = rng.uniform(16, SIDE - 16, 2)
    if defect == "spot":
        return (y - row) ** 2 + (x - column) ** 2 < rng.uniform(3, 6) ** 2
    turn, half = rng.uniform(0, np.pi), rng.uniform(9, 16)
    along = (x - column) * np.cos(turn) + (y - row) * np.sin(turn)
    across = (y - row) * np.cos(turn) - (x - column) * np.sin(turn)
    return (np.abs(along) < half) & (np.abs(across) < 1.2)


def part(seed: int, defect: str = "normal") -> tuple[np.ndarray, np.ndarray]:
    """An image uint8 and the mask of its defect."""
    return painted(surface(seed), seed, defect)


def painted(ground: np.ndarray, seed: int, defect: str) -> tuple[np.ndarray, np.ndarray]:
    """A defect on a surface (H, W): image uint8 and mask."""
    mask = np.zeros(ground.shape, bool) if defect == "normal" else strokes(seed, defect)
    image = np.where(mask, ground + (70 if defect == "scratch" else -70), ground)
    return np.clip(np.rint(image), 0, 255).astype(np.uint8), mask


def real(root: Path, counts: dict[str, int] | None = None, *, masks: bool = True) -> Path:
    """A data folder of one product or more, with true masks beside it."""
    for category, count in (counts or {"A/normal": 20, "A/scratch": 12, "A/spot": 12}).items():
        for number in range(count):
            image, mask = part(zlib.crc32(category.encode()) % 10_000 + number, category.split("/")[1])
            save(root / category / f"{number:03d}.png", image)
            if masks and not category.endswith("normal"):
                save(root.with_name(root.name + ".masks") / category / f"{number:03d}.png", mask.astype(np.uint8) * 255)
    return root


def synthetic(out: Path, root: Path, defect: str = "scratch", count: int = 8, *, listed: bool = True) -> Path:
    """New defects on the normal images of a data folder, as synthesis would leave them, masks included."""
    lines = []
    for index, source in enumerate(sorted((root / "A/normal").glob("*.png"))[:count]):
        image, mask = painted(np.asarray(Image.open(source)).astype(float), 50_000 + index, defect)
        file = f"A/{defect}/new_{index:03d}.png"
        save(out / file, image)
        lines.append(line(file, source, index))
        if listed:
            save(out.with_name(out.name + ".masks") / file, mask.astype(np.uint8) * 255)
    if listed:
        write_manifest(out, lines)
    return out


def line(file: str, source: Path, index: int, **changes: object) -> dict[str, object]:
    """A line of a manifest."""
    product, defect, _ = file.split("/")
    known = {"file": file, "product": product, "defect": defect, "synthetic": True, "source": str(source)}
    return {**known, "reference": None, "guide": "latent", "seed": 0, "index": index, "model": "0" * 64, **changes}


def write_manifest(out: Path, lines: list[dict[str, object]]) -> None:
    (out / "manifest.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))
