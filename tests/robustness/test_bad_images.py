"""Images of every kind, damaged, hostile and odd: read, or refused in one line that names the file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from corpus import BAD, GOOD, encoded, photo
from data_helpers import native, save
from fake_model import FakeModel, info, lines

from defectaug.data.index import index_folder
from defectaug.data.stores import ImageStore
from defectaug.data.survey import drop_unreadable, survey, white_level
from defectaug.errors import DataError
from defectaug.io.images import probe, read_image
from defectaug.synthesis.api import synthesize

HERE = Path(__file__).parent
SHAPES = {"one-pixel.png": (1, 1), "line.png": (1, 20_000), "column.tif": (20_000, 1)}


@pytest.mark.parametrize("name", GOOD)
def test_odd_images_are_read(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(GOOD[name]())
    turned = name in {f"turned-{k}.jpg" for k in (5, 6, 7, 8)}
    shape = (40, 30) if turned else SHAPES.get(name, (30, 40))
    image = read_image(path)
    assert image.pixels.shape[:2] == shape
    assert probe(path).size == shape[::-1]
    assert image.pixels.dtype == (np.uint16 if "16" in name or name == "float.tif" else np.uint8)


@pytest.mark.parametrize("name", BAD)
def test_bad_images_are_refused_in_one_line(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(BAD[name]())
    with pytest.raises(DataError) as error:
        read_image(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["bomb.png", "claims.png", "claims-most.png", "claims-little-too-much.png"])
def test_what_is_too_large_is_known_from_the_header(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(BAD[name]())
    with pytest.raises(DataError, match="too large to decode; 134 megapixels are the limit"):
        probe(tmp_path / name)


def test_no_other_program_is_run_for_an_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow hands PostScript to Ghostscript, whatever the file's suffix."""
    path = tmp_path / "x.png"
    path.write_bytes(BAD["postscript.png"]())

    def forbidden(*arguments: object, **options: object) -> None:
        raise AssertionError("a program was started")

    monkeypatch.setattr(subprocess, "Popen", forbidden)
    with pytest.raises(DataError, match="no known image format"):
        read_image(path)


def test_pipes_and_devices_are_no_images(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")

    def read() -> None:
        for name in ("pipe.png", "zero.png"):
            with pytest.raises(DataError, match="not a file"):
                read_image(tmp_path / name)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    reader.join(60)
    assert not reader.is_alive()


def mutate(count: int, seed: int) -> dict:
    """What `decode.py` says of mutated files; it must live to say it."""
    done = subprocess.run(
        [sys.executable, str(HERE / "decode.py"), str(count), str(seed)], capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, (done.returncode, done.stderr[-2000:])
    return json.loads(done.stdout)


def check_mutants(count: int, seed: int) -> None:
    found = mutate(count, seed)
    assert found["faults"] == []
    assert found["read"] + found["refused"] == count
    assert min(found["read"], found["refused"]) > count / 20  # else the mutants were too tame or too wild


def test_mutated_files() -> None:
    check_mutants(1_000, seed=0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 6))
def test_many_mutated_files(seed: int) -> None:
    check_mutants(10_000, seed)


# What one bad file means for a whole run


def damaged_in_the_middle(path: Path) -> None:
    """A header that is whole, and pixels that are not."""
    path.write_bytes(encoded(photo("L", (200, 200)), "PNG")[:300])


def test_damaged_pixels_are_named_counted_and_dropped(tmp_path: Path) -> None:
    root = native(tmp_path / "data", {"A/normal": 4, "A/scratch": 3})
    damaged_in_the_middle(root / "A/normal/001.png")
    index = index_folder(root)
    found = survey(index, decode=True)
    assert [path.name for path, _ in found.unreadable] == ["001.png"]
    assert any(problem.startswith("1 file is skipped") for problem in found.problems)
    assert len(drop_unreadable(index, found)) == 6
    with pytest.raises(DataError, match=r"001\.png"):
        drop_unreadable(index, found, strict=True)


def test_an_image_that_turns_out_damaged_is_replaced_by_one_of_its_category(tmp_path: Path) -> None:
    root = native(tmp_path / "data", {"A/normal": 4, "A/scratch": 3})
    damaged_in_the_middle(root / "A/normal/001.png")
    index = index_folder(root)
    said: list[str] = []
    store = ImageStore(index.samples, 16, 1, log=said.append)
    rng = np.random.default_rng(0)
    images = [store.get(number, rng) for number in (0, 1, 2, 1)]
    assert images[1].equal(images[2]) and not images[1].equal(images[0])
    assert len(said) == 1 and said[0].startswith("skipped: ") and "001.png" in said[0]
    assert white_level(index.samples) == 255


def test_a_data_set_that_goes_away_stops_the_run(tmp_path: Path) -> None:
    root = native(tmp_path / "data", {"A/normal": 4, "A/scratch": 3})
    index = index_folder(root)
    store = ImageStore(index.samples, 16, 1)
    for path in root.rglob("*.png"):
        path.unlink()
    with pytest.raises(DataError, match=r"normal/003\.png.*no such file.*4 of 7 images: is the drive still there"):
        for number in range(len(index)):
            store.get(number, np.random.default_rng(0))


def test_synthesis_goes_on_without_damaged_and_vanished_sources(tmp_path: Path) -> None:
    root = native(tmp_path / "data", {"A/normal": 6, "A/scratch": 3})
    for path in (root / "A/normal").iterdir():
        save(path, np.asarray(photo("L", (64, 48))) // (1 + int(path.stem) % 2))
    damaged_in_the_middle(root / "A/normal/001.png")
    said: list[str] = []

    def vanish(done: int, total: int) -> None:
        (root / "A/normal/002.png").unlink(missing_ok=True)

    model = FakeModel(info(root, products=("A",)))
    synthesize(model=model, product="A", defect="scratch", n=12, out=tmp_path / "out", progress=vanish, log=said.append)
    assert len(lines(tmp_path / "out")) == 12
    assert sum(line.startswith("skipped: ") and "001.png" in line for line in said) == 1
