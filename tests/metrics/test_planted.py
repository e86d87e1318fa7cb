"""Planted faults, each named in the verdict's first sentence; unseen real images in their place raise no alarm."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from data_helpers import save
from evaluation_data import line, write_manifest
from scipy.ndimage import affine_transform, gaussian_filter, map_coordinates, shift

from defectaug.reporting.api import EvaluationResult
from defectaug.reporting.api import evaluate as run

SIDE, COUNT = 72, 16
pytestmark = pytest.mark.usefixtures("no_network")


def ground(seed: int) -> np.ndarray:
    """A rough grey surface, (SIDE, SIDE)."""
    rng = np.random.default_rng([seed, 1])
    return 120 + 14 * gaussian_filter(rng.normal(0, 3, (SIDE, SIDE)), 2) + rng.normal(0, 3, (SIDE, SIDE))


def stain(seed: int) -> np.ndarray:
    """A ragged stain in the middle, as a change of grey levels, (SIDE, SIDE); 0 outside."""
    rng = np.random.default_rng([seed, 2])
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE / 2
    ragged = gaussian_filter(rng.normal(0, 1, (SIDE, SIDE)), 3)
    size, slim = rng.uniform(9, 14), rng.uniform(0.5, 1)
    inside = np.hypot(x, y / slim) / size + 0.5 * ragged / ragged.std() < 1
    inside &= np.hypot(x, y) < 20
    pattern = gaussian_filter(rng.normal(0, 1, (SIDE, SIDE)), 1.5)
    return np.where(inside, -rng.uniform(50, 70) + 22 * pattern / pattern.std(), 0)


def moved(change: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A change elsewhere."""
    return shift(change, rng.uniform(-12, 12, 2), order=1)


def bent(change: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A change turned, mirrored, scaled, a little bent, in another tone, elsewhere."""
    turn, scale = rng.uniform(0, 2 * np.pi), rng.uniform(0.8, 1.2)
    matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) / scale
    matrix = matrix @ np.diag([1, rng.choice([-1, 1])])
    middle = np.full(2, SIDE / 2)
    change = affine_transform(change, matrix, middle - matrix @ middle, order=1)
    fields = [gaussian_filter(rng.normal(0, 1, change.shape), 7) for _ in range(2)]
    places = np.mgrid[:SIDE, :SIDE] + np.stack([1.2 * field / field.std() for field in fields])
    return moved(rng.uniform(0.8, 1.2) * map_coordinates(change, places, order=1), rng)


def image(surface: np.ndarray, change: np.ndarray) -> np.ndarray:
    grey = np.clip(np.rint(surface + change), 0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, 2)


def write(root: Path, file: str, pixels: np.ndarray, change: np.ndarray) -> None:
    save(root / file, pixels)
    save(root.with_name(f"{root.name}.masks") / file, ((np.abs(change) > 5) * 255).astype(np.uint8))


def real(root: Path, start: int) -> Path:
    rng = np.random.default_rng(start)
    for number in range(start, start + COUNT):
        save(root / f"A/normal/{number:04d}.png", image(ground(number), np.zeros((SIDE, SIDE))))
        change = moved(stain(number), rng)
        write(root, f"A/stain/{number:04d}.png", image(ground(10_000 + number), change), change)
    return root


def planted(out: Path, data: Path, make: Callable[[np.random.Generator, int], np.ndarray], seed: int = 0) -> Path:
    """Changes painted on normal images of the data, listed as synthesis does."""
    rng, lines = np.random.default_rng(seed), []
    for index, source in enumerate(sorted((data / "A/normal").glob("*.png"))):
        change = make(rng, index)
        pixels = change.astype(np.uint8) if change.ndim == 3 else image(ground(int(source.stem)), change)
        flat = change.mean(2) - 120 if change.ndim == 3 else change
        write(out, f"A/stain/{index}.png", pixels, flat)
        lines.append(line(f"A/stain/{index}.png", source, index))
    write_manifest(out, lines)
    return out


def green(rng: np.random.Generator, index: int) -> np.ndarray:
    change = moved(stain(40_000 + index), rng)
    pixels = image(ground(index), np.zeros_like(change)).astype(float)
    pixels[np.abs(change) > 5] = (30, 220, 40)
    return pixels


def verdict(result: EvaluationResult, number: int = 0) -> str:
    return [section.lines[0] for section in result.sections if section.is_verdict][number]


def test_each_fault_is_named_first_and_what_is_new_is_not_accused(tmp_path: Path) -> None:
    data, test = real(tmp_path / "data", 0), real(tmp_path / "test", 500)
    cases: dict[str, tuple[Callable[[np.random.Generator, int], np.ndarray], str]] = {
        "new": (lambda rng, index: moved(stain(20_000 + index), rng), "NOT DECIDED: "),
        "bent": (lambda rng, index: bent(stain(index), rng), "LOOK BEFORE USE (REPEATED"),
        "same": (lambda rng, index: bent(stain(30_000), rng), "ALL ALIKE"),
        "unchanged": (lambda rng, index: np.zeros((SIDE, SIDE)), "LOOK BEFORE USE (WRONG DEFECT"),
        "noise": (lambda rng, index: rng.integers(0, 256, (SIDE, SIDE, 3)).astype(float), "UNLIKE REAL ONES"),
        "green": (green, "UNLIKE REAL ONES"),
    }
    sets = [planted(tmp_path / name, data, make) for name, (make, _) in cases.items()]
    result = run(data, sets, test=test, only=["counts", "memorisation"])
    found = {name: verdict(result, number) for number, name in enumerate(cases)}
    assert {name: said for name, said in found.items() if cases[name][1] not in said} == {}
    assert "have a colour that no real one has" in result.describe()


def check_unseen(tmp_path: Path, seed: int) -> None:
    data, test, more = (real(tmp_path / name, 2000 * seed + at) for name, at in (("d", 0), ("t", 500), ("m", 1000)))
    (more / "A/normal").rename(tmp_path / "unused")
    for options in ({"test": test}, {}):
        said = verdict(run(data, more, only=["counts", "memorisation"], **options))
        assert said.startswith("NOT DECIDED: "), said


def test_unseen_real_images_raise_no_alarm(tmp_path: Path) -> None:
    check_unseen(tmp_path, 0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 11))
def test_nor_with_ten_seeds(tmp_path: Path, seed: int) -> None:
    check_unseen(tmp_path, seed)
