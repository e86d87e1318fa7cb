"""What strength, size, number and region do to the files that the model which ships leaves on disk."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from data_helpers import save
from scipy.ndimage import binary_dilation, binary_erosion

EXAMPLES = Path(__file__).parents[2] / "examples"
sys.path[:0] = [str(EXAMPLES)]

import product_masks  # noqa: E402
import wishes  # noqa: E402

from defectaug.io.masks import read_mask  # noqa: E402

MODEL, DATA = EXAMPLES.parent / "models" / "demo", EXAMPLES / "demo" / "data"


def rows(capsys: pytest.CaptureFixture[str]) -> list[list[str]]:
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_wishes_come_to_about_what_was_wished_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wishes.main([str(MODEL), str(DATA), "--out", str(tmp_path / "out"), "--n", "2"])
    found = rows(capsys)
    assert [row[0] for row in found] == ["A/scratch", "A/spot", "B/scratch", "B/spot", "C/scratch", "C/spot"]
    medians = np.median([[float(cell.split()[0]) for cell in row[2:7]] for row in found], axis=0)
    weak, strong, with_room, small, large = medians
    assert 0.45 < weak < 0.62 and 1.5 < strong <= 2.05 and 1.7 < with_room < 2.1
    assert small == pytest.approx(0.25, abs=0.08) and large == pytest.approx(4, rel=0.25)
    assert all(float(row[8]) == 0 for row in found)  # further defects leave the first ones alone
    one, several = np.mean([[float(part) for part in row[7].split(",")] for row in found], axis=0)
    assert several > one + 0.5  # two on average, where there is room


def test_defects_stay_on_the_product(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    masks = tmp_path / "masks"
    product_masks.main([str(DATA), str(masks), "--product", "C", "--by", "bright"])
    for mask in (masks / "C" / "normal").iterdir():
        assert 0.8 < read_mask(mask).mean() < 0.99
    wishes.main([str(MODEL), str(DATA), "--out", str(tmp_path / "out"), "--n", "8", "--products", str(masks)])
    assert [row[:2] for row in rows(capsys)] == [["C/scratch", "0 of 8"], ["C/spot", "0 of 8"]]


def test_what_lies_beyond_the_product_is_seen(tmp_path: Path) -> None:
    rng, there = np.random.default_rng(0), np.hypot(*(np.mgrid[:80, :80] - 39.5)) < 30
    line = {"product": "A", "defect": "spot", "file": "A/spot/0.png", "source": str(tmp_path / "0.png")}
    for ground, by in ((40, "bright"), (240, "dark")):
        pixels = np.where(there, 140, ground) + rng.normal(0, 6, there.shape)
        pixels[36:40, 36:40] = ground  # a hole
        found = product_masks.product_of(np.repeat(pixels[..., None], 3, axis=2).astype(np.float32), [by])
        assert not (found & ~binary_dilation(there, iterations=2)).any()
        assert found[binary_erosion(there, iterations=2)].all()
    save(tmp_path / "0.png", pixels.clip(0, 255).astype(np.uint8))
    save(tmp_path / "out/A/spot/0.png", pixels.clip(0, 255).astype(np.uint8))
    save(tmp_path / "product.png", np.where(there, 255, 0).astype(np.uint8))
    for column, beyond in ((60, False), (76, True)):
        mask = np.zeros(there.shape, np.uint8)
        mask[38:42, column : column + 4] = 255
        save(tmp_path / "out.masks/A/spot/0.png", mask)
        assert wishes.reaches_out(wishes.Made(tmp_path / "out", line), tmp_path / "product.png") == beyond
