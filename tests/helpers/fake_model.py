"""A stand-in for a trained model: paints bright squares by seed, and copies what is bright in a reference."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from data_helpers import save
from torch import Tensor

from defectaug.methods.base import BundleInfo, Painted, SourceFeatures
from defectaug.methods.dtgan.codes import Codes

BRIGHT = 0.6  # of [-1, 1]; the surfaces below lie under it, the defects above


def info(root: Path | None = None, **changes: object) -> BundleInfo:
    whole = BundleInfo(
        path=Path("models/fake"),
        name="fake",
        products=("A", "B"),
        defects=("normal", "scratch", "spot"),
        image_size=32,
        channels=1,
        white=255,
        framings={},
        data_root=None if root is None else str(root),
        class_map=None,
        normal_name=None,
        weights_sha256="0" * 64,
    )
    return replace(whole, **changes)  # type: ignore[arg-type]


class FakeModel:
    """Behaves as a bundle does. `blind` says for which seeds nothing is painted, `doubts` which images, in the order in
    which they are shown to it, it takes for another defect."""

    def __init__(
        self,
        info: BundleInfo,
        blind: Callable[[int], bool] = lambda seed: False,
        doubts: Callable[[int], bool] = lambda number: False,
    ) -> None:
        self.info = info
        self.device = torch.device("cpu")
        self.blind, self.doubts, self.asked = blind, doubts, 0
        self.batches: list[int] = []
        self.read_sources = 0
        self.said_normal: list[bool] = []

    def latent_codes(self, defect: Tensor, seeds: Sequence[int], product: Tensor | None = None) -> Codes:
        c = torch.zeros(len(seeds), 1, 8, 8)
        for row, seed in enumerate(seeds):
            rng = random.Random(seed)
            if not self.blind(seed):
                c[row, 0, rng.randrange(1, 7), rng.randrange(1, 7)] = 1.0
        return self.with_style(Codes(c, torch.zeros(len(seeds), 1), defect), seeds)

    def reference_codes(self, image: Tensor, defect: Tensor, photographs: object = None, alike: object = None) -> Codes:
        c = F.adaptive_avg_pool2d((image.amax(1, keepdim=True) > BRIGHT).float(), 8)
        return Codes(c, torch.ones(len(image), 1), defect)

    def with_style(self, codes: Codes, seeds: Sequence[int]) -> Codes:
        s = torch.tensor([[0.5 + random.Random(seed).random() / 2] for seed in seeds])
        return Codes(codes.c, s, codes.defect)

    def source_features(self, source: Tensor, normal: bool = False) -> list[SourceFeatures]:
        self.read_sources += len(source)
        self.said_normal += [normal] * len(source)
        return [SourceFeatures((row,)) for row in source.split(1)]

    def paint_on(self, sources: Sequence[SourceFeatures], codes: Codes) -> Painted:
        return self.paint(torch.cat([reading.parts[0] for reading in sources]), codes)

    def paint(self, source: Tensor, codes: Codes) -> Painted:
        assert source.shape[1:] == (self.info.channels, self.info.image_size, self.info.image_size)
        assert source.dtype == torch.float32
        self.batches.append(len(source))
        opacity = F.interpolate(codes.c, size=source.shape[-2:])
        delta = (opacity * codes.s[:, :, None, None]).expand_as(source)
        return Painted(source + delta, delta, opacity)

    def restore(self, source: Tensor) -> Painted:
        bad = source > BRIGHT
        delta = torch.where(bad, -0.2 - source, torch.zeros_like(source))
        return Painted(source + delta, delta, torch.zeros_like(source[:, :1]))

    def shows(self, image: Tensor, defect: Tensor) -> Tensor:
        self.asked += len(defect)
        return torch.tensor([not self.doubts(number) for number in range(self.asked - len(defect), self.asked)])

    def name_defect(self, image: Tensor) -> Tensor:
        return torch.where((image > BRIGHT).flatten(1).any(1), 2, 0)


def surface(seed: int, size: tuple[int, int] = (48, 64), channels: int = 1) -> np.ndarray:
    """A noisy dark surface, uint8."""
    shape = size if channels == 1 else (*size, channels)
    return np.random.default_rng(seed).integers(80, 110, shape, dtype=np.uint8)


def defective(seed: int, top: int = 12, left: int = 16, size: tuple[int, int] = (48, 64)) -> np.ndarray:
    """A surface with a bright square of a quarter of its edges."""
    pixels = surface(seed, size)
    pixels[top : top + size[0] // 4, left : left + size[1] // 4] = 240
    return pixels


def data(root: Path, counts: dict[str, int] | None = None) -> Path:
    """A native data folder, by default with two products and unequal categories."""
    counts = counts or {"A/normal": 5, "A/scratch": 2, "B/normal": 4, "B/scratch": 1, "B/spot": 3}
    for place, (category, count) in enumerate(counts.items()):
        for number in range(count):
            make = surface if category.endswith("/normal") else defective
            save(root / category / f"{number:03d}.png", make(100 * place + number))
    return root


def lines(out: Path) -> list[dict]:
    """The manifest of an output folder."""
    return [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}
