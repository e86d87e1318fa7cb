"""The MTD example's split and settings, and the grids."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from command_line import run_example
from data_helpers import mask, picture, save
from PIL import Image

from defectaug.config.resolve import resolve
from defectaug.data.class_map import read_class_map
from defectaug.data.index import index_folder
from defectaug.io.masks import read_mask

EXAMPLES = Path(__file__).parents[2] / "examples"
sys.path.insert(0, str(EXAMPLES / "mtd"))

import make_split  # noqa: E402

CLASSES = {"MT_Free": "normal", "MT_Crack": "scratch", "MT_Blowhole": "spot"}


@pytest.fixture
def mtd(tmp_path: Path) -> Path:
    """Three exposures of four tiles a class, and tile 40, a spot that one exposure (a free image) misses."""
    root = tmp_path / "MTD"
    for block, kind in enumerate([*CLASSES, "MT_Break", "MT_Fray", "MT_Uneven"]):
        for tile in range(4):
            for exposure in (1, 2, 3):
                number = 100_000 * block + 10_000 * tile + 10 * exposure
                expose(root / kind, exposure, number, 10 * block + tile)
    for exposure, kind in ((1, "MT_Blowhole"), (2, "MT_Blowhole"), (3, "MT_Free")):
        expose(root / kind, exposure, 900_000 + 10 * exposure, 40)
    return root


def expose(folder: Path, exposure: int, number: int, tile: int) -> None:
    stem = folder / "Imgs" / f"exp{exposure}_num_{number}"
    save(stem.with_suffix(".jpg"), (picture(tile) * (0.5 + 0.15 * exposure)).astype(np.uint8))
    blurred = np.where(mask() > 0, 200, 3).astype(np.uint8)  # the published masks are not black and white
    save(stem.with_suffix(".png"), blurred if folder.name != "MT_Free" else np.zeros((20, 24), np.uint8))


def test_the_split_shares_no_tile_and_has_every_class_on_both_sides(mtd: Path, tmp_path: Path) -> None:
    done = run_example("mtd/make_split.py", mtd, tmp_path / "out")
    assert done.returncode == 0, done.stderr
    tiles: dict[str, set[int]] = {}
    for side in ("train", "test"):
        index = index_folder(tmp_path / "out" / side)
        assert index.layout == "native" and index.products == ("tile",)
        assert index.defects == ("normal", "scratch", "spot") and 0 not in index.counts().values()
        tiles[side] = {int(sample.path.stem.split("_")[2]) // 10_000 for sample in index.samples}
        for sample in index.samples:
            assert (sample.mask is None) == (sample.defect == "normal")
            if sample.mask is not None:
                assert set(np.unique(np.asarray(Image.open(sample.mask)))) == {0, 255}
                assert np.array_equal(read_mask(sample.mask), mask() > 0)
        assert f"{side} tiles" in done.stdout
    assert not tiles["train"] & tiles["test"]
    assert len(tiles["train"]) > len(tiles["test"])
    assert len(list((tmp_path / "out").rglob("*.jpg"))) == 39


def test_exposures_of_a_tile_stay_together_whatever_their_labels(mtd: Path) -> None:
    index = index_folder(mtd, class_map=make_split.CLASS_MAP)
    tiles = make_split.tiles(index)
    two_labels = [
        tile for sample, tile in zip(index.samples, tiles, strict=True) if "num_9" in sample.path.stem
    ]
    assert len(set(two_labels)) == 1 and tiles.count(two_labels[0]) == 3
    first, again, other = (make_split.split_tiles(index, tiles, seed) for seed in (0, 0, 5))
    assert first == again != other
    for halves in (first, other):
        sides = {(tile, sample.split) for sample, tile in zip(halves.samples, tiles, strict=True)}
        assert len(sides) == len(set(tiles))


def test_the_split_refuses_what_it_cannot_do(mtd: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    for source, out, reason in (
        (tmp_path / "nowhere", tmp_path / "out", "no such folder"),
        (mtd, tmp_path / "full", "not an empty folder"),
    ):
        done = run_example("mtd/make_split.py", source, out)
        assert done.returncode == 2 and reason in done.stderr and len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine.txt"]


def test_class_map_and_settings_are_understood(mtd: Path) -> None:
    classes = read_class_map(EXAMPLES / "mtd" / "mtd.yaml")
    assert {old: classes.defect(old) for old in CLASSES} == CLASSES
    assert index_folder(mtd, class_map=classes).defects == ("normal", "scratch", "spot")
    for name in ("whole", "crop"):
        file = EXAMPLES / "mtd" / f"{name}.yaml"
        assert resolve("small", file).data.framing == name
        assert set(yaml.safe_load(file.read_text())) == {"network", "data"}


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """A real folder of grey 80 and a synthetic one of grey 160 with a copied real image, defects white."""
    real, out = tmp_path / "real", tmp_path / "out"
    marked = mask(60, 90, top=50, left=2, edge=6)
    common, manifest = {"product": "A", "defect": "scratch", "synthetic": True}, []
    for number in range(3):
        for root, grey in ((real, 80), (out, 160)):
            name = f"A/scratch/{number}.png"
            save(root / name, np.where(marked > 0, 255, grey).astype(np.uint8))
            save(root.with_name(f"{root.name}.masks") / name, marked)
        manifest.append(common | {"file": f"A/scratch/{number}.png", "index": number})
    save(real / "A" / "normal" / "0.png", np.full((60, 90), 80, np.uint8))
    save(out / "A" / "scratch" / "real.png", np.zeros((60, 90), np.uint8))
    manifest.append(common | {"file": "A/scratch/real.png", "index": 3, "synthetic": False})
    (out / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in manifest))
    return real, out


def test_grids_show_real_above_synthetic(folders: tuple[Path, Path], tmp_path: Path) -> None:
    grid = drawn(folders, tmp_path / "new" / "grid.png", "--crop-defect", "--zoom", 1)
    right = grid[:, -50:-2]  # the last square of 48 pixels and its gap
    assert grid.shape[0] == 2 * 48 + 2
    assert set(np.unique(right[:48])) == {80, 255} and set(np.unique(right[50:])) == {160, 255}
    assert (right[:48] == 255).sum() == (right[50:] == 255).sum() == 36  # all of the defect, at native scale
    larger = drawn(folders, tmp_path / "larger.png", "--crop-defect", "--zoom", 3)
    assert larger.shape[0] == 2 * 144 + 2
    assert (larger[:144, -146:-2] == 255).sum() == 9 * 36


def test_grids_of_whole_images_keep_their_aspect(folders: tuple[Path, Path], tmp_path: Path) -> None:
    grid = drawn(folders, tmp_path / "grid.png", "--columns", 2, "--zoom", 2)
    square = grid[:128, -130:-2]
    rows = np.flatnonzero((square > 60).all(axis=1))
    assert grid.shape[0] == 2 * 128 + 2 and len(rows) == 85  # 90 x 60 in a square of 128
    assert 2 * 130 < grid.shape[1] < 3 * 130
    assert (
        3 * 130 < drawn(folders, tmp_path / "all.png").shape[1] < 4 * 130
    )  # the copied real one is left out


def test_grids_name_what_is_missing(folders: tuple[Path, Path], tmp_path: Path) -> None:
    real, _ = folders
    empty = tmp_path / "empty"
    empty.mkdir()
    unmasked = tmp_path / "unmasked"
    save(unmasked / "A" / "scratch" / "0.png")
    other = tmp_path / "other"
    save(other / "B" / "spot" / "0.png")
    for synthetic, options, reason in (
        (empty, [], "no images"),
        (unmasked, ["--crop-defect"], "no mask"),
        (other, [], "in common"),
    ):
        target = tmp_path / "x.png"
        done = run_example("grids.py", "--real", real, "--synthetic", synthetic, "--out", target, *options)
        assert done.returncode == 2 and reason in done.stderr and not target.exists()


def drawn(folders: tuple[Path, Path], target: Path, *options: object) -> np.ndarray:
    """The grid as grey values, (H, W)."""
    done = run_example("grids.py", "--real", folders[0], "--synthetic", folders[1], "--out", target, *options)
    assert done.returncode == 0, done.stderr
    return np.asarray(Image.open(target).convert("L"))
