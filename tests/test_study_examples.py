"""The studies of examples/studies as commands."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from data_helpers import mask, native, save, sdi
from study_helpers import folder

import defectaug
from defectaug.data.index import index_folder

STUDIES = Path(__file__).parents[1] / "examples" / "studies"
sys.path.insert(0, str(STUDIES))

import common  # noqa: E402
import table5  # noqa: E402

REAL = {"A/normal": 12, "A/scratch": 8, "A/spot": 6, "B/normal": 12, "B/scratch": 8, "B/spot": 6}


def run(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(STUDIES / script), *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(Path(defectaug.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def options(data: Path, out: Path, *more: str) -> object:
    return common.parser(None).parse_args([str(data), "--out", str(out), *more])


def test_table_2_from_folders_to_files(tmp_path: Path) -> None:
    real, made = folder(tmp_path / "real", REAL), folder(tmp_path / "made", {"A/spot": 4, "B/scratch": 4}, stream=2)
    out = tmp_path / "out"
    arguments = [real, "--synthetic", f"other={made}", "--out", out, "--slim", "--steps", 2, "--seeds", 2]
    done = run("table2.py", *arguments, "--image-size", 32, "--sweep", "0.1,0.2", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert done.stdout == (out / "table2.md").read_text()
    assert "| traditional + other |" in done.stdout and " ± " in done.stdout and "table2.py" in done.stdout
    found = json.loads((out / "table2.json").read_text())
    assert [arm["amount"] for arm in found["arms"]] == [None, None, None, 0.1, 0.2]
    assert found["settings"]["steps"] == 2 and found["machine"] and "table2.py" in found["command"]
    assert len(list((out / "cache").iterdir())) == 10
    assert len(list((out / "real").rglob("*.png"))) + len(list((out / "test").rglob("*.png"))) == sum(REAL.values())


def test_errors_are_one_line(tmp_path: Path) -> None:
    done = run("table2.py", native(tmp_path / "data"), "--out", tmp_path / "out")
    assert done.returncode == 2 and done.stderr.startswith("error: --model DIR or --synthetic")
    assert len(done.stderr.splitlines()) == 1 and not done.stdout


def test_parted_once_near_duplicates_and_own_splits_kept(tmp_path: Path) -> None:
    real, test = common.real_images(options(sdi(tmp_path / "sdi"), tmp_path / "out"))  # type: ignore[arg-type]
    assert set(real.products) == {"A", "B"} and len(real) + len(test) == 30
    assert all("_test_" in sample.path.name for sample in test.samples if sample.defect != "normal")
    assert all("_test_" not in sample.path.name for sample in real.samples)
    again = common.real_images(options(tmp_path / "sdi", tmp_path / "out"))  # type: ignore[arg-type]
    assert (real, test) == again
    with pytest.raises(common.OutputError, match="other data"):
        common.real_images(options(native(tmp_path / "other"), tmp_path / "out"))  # type: ignore[arg-type]


def test_links_keep_masks(tmp_path: Path) -> None:
    root = native(tmp_path / "data")
    save(root / "A/scratch/000_mask.png", mask())
    linked = index_folder(common.link(index_folder(root), tmp_path / "linked"))
    assert linked.counts() == index_folder(root).counts()
    assert [sample.mask is not None for sample in linked.cell("A", "scratch")].count(True) == 1


def test_few_defects_of_one_product(tmp_path: Path) -> None:
    index = index_folder(folder(tmp_path / "real", REAL))
    counts = common.few(index, "A", 3, seed=0).counts()
    assert counts == index.counts() | {("A", "scratch"): 3, ("A", "spot"): 3}
    assert common.few(index, "A", 3, seed=0) == common.few(index, "A", 3, seed=0) != common.few(index, "A", 3, seed=1)


def test_every_product_gets_every_other_ones_defects_once() -> None:
    plans = table5.plans(("A", "B", "C"))
    assert plans["v-Same"] == {"A": ("A",), "B": ("B",), "C": ("C",)}
    assert plans["v-Others 1"] == {"A": ("B",), "B": ("C",), "C": ("A",)}
    assert plans["v-Others 2"] == {"A": ("C",), "B": ("A",), "C": ("B",)}
    assert plans["v-All"]["A"] == ("A", "B", "C") and list(plans)[-1] == "v-All"
