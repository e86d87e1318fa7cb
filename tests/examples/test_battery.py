"""The battery from a folder of sets to its table, and again."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import forked
import numpy as np
import pytest
from command_line import run_example
from data_helpers import save

sys.path[:0] = [str(Path(__file__).parents[2] / "examples" / name) for name in ("demo", "battery")]

import alarms  # noqa: E402
import make  # noqa: E402
import make_data  # noqa: E402
import measures  # noqa: E402
import overlaps  # noqa: E402
import pages  # noqa: E402

from defectaug.cli.main import main  # noqa: E402

CATEGORY = "A/spot"


def small_set(root: Path, count: int = 5) -> Path:
    """A colour set of one product and defect, 64 pixels, with masks."""
    for stream, part in ((make_data.TRAIN, "train"), (make_data.TEST, "test")):
        for kind in ("normal", "spot"):
            for index in range(count):
                sample = make_data.make_sample("A", kind, index, stream=stream, size=64, colour=True)
                save(root / part / "A" / kind / f"{index}.png", sample.image)
                if kind != "normal":
                    save(root / f"{part}.masks" / "A" / kind / f"{index}.png", sample.mask)
    return root


def states(root: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}


def test_from_folders_to_a_table_and_nothing_new_when_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(command: list[str]) -> tuple[int, float]:
        assert command[:3] == [sys.executable, "-m", "defectaug"]
        child = forked.start(tmp_path, main, command[3:])
        return (child.communicate(), child.returncode)[1], 1.0

    monkeypatch.setattr(make, "run", run)
    small_set(tmp_path / "sets" / "tiny")
    out = tmp_path / "out"
    arguments = [tmp_path / "sets", "--out", out, "--quick", "--steps", 2, "--n", 4]
    done = run_example("battery/run.py", *arguments)
    assert done.returncode == 0, done.stderr
    assert done.stdout == (out / "table.md").read_text() and f"| tiny | {CATEGORY} |" in done.stdout
    row = json.loads((out / "table.json").read_text())["sets"]["tiny"][CATEGORY]
    assert {"painted", "restoration", "transfer IoU", "training (min)", "images/s"} <= row.keys() <= pages.AIMS.keys()
    assert (out / "tiny" / "A-spot.png").is_file() and "tiny/A-spot.png" in (out / "index.html").read_text()

    before = states(out / "tiny")
    again = run_example("battery/run.py", *arguments)
    assert again.returncode == 0 and again.stdout == done.stdout and "tiny ..." not in again.stderr
    assert states(out / "tiny") == before

    other = run_example("battery/run.py", *arguments[:-1], 5)
    assert other.returncode == 2 and "other settings" in other.stderr


def test_a_training_tells_how_it_has_ended_and_its_memory() -> None:
    code, peak = make.run([sys.executable, "-c", "raise SystemExit(3)"])
    assert code == 3 and peak > 1e6


def test_a_set_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    done = run_example("battery/run.py", tmp_path, "--sets", "none", "--out", tmp_path / "out")
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1 and "none: no such set" in done.stderr


def test_a_turned_copy_is_near_and_a_classifier_from_imagenet_tells_colours() -> None:
    frozen = pytest.importorskip("frozen")
    maps = np.zeros((1, 64, 64), np.float32)
    maps[0, 20:30, 32:34] = 1
    around = measures.turned(maps.reshape(1, -1))
    assert around.shape == (8, 4096) and (around == np.rot90(maps[0]).reshape(1, -1)).all(1).any()
    classify, what = frozen.imagenet_classifier()
    rng = np.random.default_rng(0)
    crops = rng.integers(0, 99, (24, 64, 64, 3), dtype=np.uint8)
    labels = np.arange(24) % 2
    crops[labels == 1, ..., 0] += 100
    assert what and (classify(crops[:16], labels[:16], crops[16:], 0) == labels[16:]).mean() >= 0.75


def test_the_shipped_model_s_masks_lose_their_rim_step_by_step() -> None:
    """Of two images a category of its own training data: outlined masks hold less that is no defect."""
    root = Path(__file__).parents[2]
    done = run_example("battery/masks.py", root / "models/demo", root / "examples/demo/data", "--n", 2)
    assert done.returncode == 0, done.stderr
    rows = {cells[1].strip(): cells[2:5] for cells in (line.split("|") for line in done.stdout.splitlines()[2:])}
    assert sorted(rows) == [f"{product}/{defect}" for product in "ABC" for defect in ("scratch", "spot")]
    for name, steps in rows.items():
        _, on, outlined = ([float(value) for value in step.split("/")] for step in steps)
        assert outlined[2] >= on[2] and outlined[0] > 0.4, name


def test_parts_that_come_near_no_defect_are_stray() -> None:
    true, found = np.zeros((2, 64, 64), bool)
    true[10:20, 10:20] = True
    found[12:22, 12:22] = found[:2, 20:50] = True  # beside the defect, and a bar at the edge
    found[50:53, 50:53] = True  # a crumb
    assert alarms.stray(found, true) == pytest.approx(60 / (100 + 60 + 9))
    assert alarms.stray(true, true) == 0


def test_the_shipped_model_finds_next_to_nothing_on_normal_images() -> None:
    root = Path(__file__).parents[2]
    table = alarms.table(root / "models/demo", root / "examples/demo/data", 2)
    rows = [[float(value) for value in line.split("|")[2:-1]] for line in table.splitlines()[2:]]
    assert len(rows) == 6 and np.mean(rows, axis=0).max() < 0.1


def test_the_overlap_of_transfers_masks_with_true_ones(tmp_path: Path) -> None:
    model = Path(__file__).parents[2] / "models/more/colour"
    table = overlaps.table(model, small_set(tmp_path / "set", 2), 2)
    (row,) = (line.split(" | ") for line in table.splitlines() if CATEGORY in line)
    assert 0.3 < float(row[1]) <= 1 and float(row[2]) > 0 and row[3] == "2 |"
