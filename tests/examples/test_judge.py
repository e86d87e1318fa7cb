"""The table of measures on a tiny folder: four squares, and defects painted where they lie."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from command_line import run_example
from data_helpers import save

SCRIPT = Path(__file__).parents[2] / "examples" / "judge.py"


def square(top: int, left: int, side: int = 12) -> np.ndarray:
    mask = np.zeros((128, 128), bool)
    mask[top : top + side, left : left + side] = True
    return mask


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """real/ and out/ of one category: flat images with squares; out/ moved one background by 3 grey levels."""
    manifest = []
    for index, (top, left) in enumerate([(10, 10), (40, 80), (90, 30), (60, 60)]):
        mask, name = square(top, left), f"P/spot/{index}.png"
        save(tmp_path / "real" / name, np.where(mask, 40 + 20 * index, 128).astype(np.uint8))
        save(tmp_path / "real" / "P" / "normal" / f"{index}.png", np.full((128, 128), 120, np.uint8))
        save(tmp_path / "out" / name, np.where(mask, 200, 123 if index == 0 else 120).astype(np.uint8))
        for folder in ("real.masks", "out.masks"):
            save(tmp_path / folder / name, mask.astype(np.uint8) * 255)
        manifest.append({
            "file": name, "product": "P", "defect": "spot", "synthetic": True, "guide": "reference", "seed": 0,
            "index": index, "model": "0", "source": str(tmp_path / "real" / "P" / "normal" / f"{index}.png"),
            "reference": str(tmp_path / "real" / name),
        })  # fmt: skip
    (tmp_path / "out" / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in manifest))
    return tmp_path



def test_measures_of_a_tiny_folder(tiny: Path) -> None:
    result = run_example(
        "judge/measure.py", tiny / "out", "--real", tiny / "real", "--held-out", tiny / "real", "--seeds", 1,
        "--steps", 2, "--json", tiny / "numbers.json",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[0] == "|  | P/spot |"
    found = json.loads((tiny / "numbers.json").read_text())["P/spot"]
    assert found["images"] == 4 and "told from real ones (%)" in found
    assert found["change outside the mask (grey levels)"] == pytest.approx(3 / 4)
    assert found["IoU with the reference's mask"] == 1
    assert found["spread of places, over real"] == pytest.approx(1)
    assert found["spread of looks, over real"] < 0.2  # every synthetic square is as bright as the next
    assert (found["dark (%)"], found["dark of real ones (%)"], found["near-copies"]) == (0, 100, 0)
    assert found["nearest training defect of real ones"] == pytest.approx(0)


def test_a_folder_without_masks_ends_in_one_line(tiny: Path) -> None:
    (tiny / "out.masks").rename(tiny / "elsewhere")
    result = run_example("judge/measure.py", tiny / "out", "--real", tiny / "real", "--held-out", tiny / "real")
    assert result.returncode == 2
    assert result.stderr.splitlines()[-1].endswith("no defective image with a mask")


@pytest.mark.parametrize("crop", [(), ("--crop", 64)])
def test_naming_of_a_tiny_folder(tiny: Path, crop: tuple) -> None:
    steps = ("--seeds", 1, "--steps", 25, "--json", tiny / "numbers.json")
    result = run_example("judge/name.py", tiny / "out", tiny / "real", "--learn", tiny / "real", *steps, *crop)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[0] == "|  | P/spot | P/normal |"
    found = json.loads((tiny / "numbers.json").read_text())
    assert found["P/spot"][f"{tiny / 'real'}: defect (%)"] == 100
    assert found["P/normal"][f"{tiny / 'real'}: defect (%)"] == 100
    assert found["P/spot"][f"{tiny / 'out'}: product (%)"] == 100
