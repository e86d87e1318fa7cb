"""Sets that are odd as a whole: kinds of images mixed, products and defects of one image. A few steps of training, then
synthesis: a result or one line, and nothing lost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import defectaug
from defectaug.data.sample import Category
from defectaug.errors import DataError
from defectaug.synthesis.api import LOOK_FIRST, NOTHING_LEARNT, SynthesisSummary, _Tally

SIDE = 80
KINDS = {"grey": "L", "colour": "RGB", "alpha": "RGBA", "grey_alpha": "LA"}


def write(path: Path, seed: int, mode: str, defect: bool) -> None:
    """A noisy surface, with a dark line for a defect; the upper rows of an alpha channel are 0."""
    rng = np.random.default_rng(seed)
    grey = rng.integers(110, 140, (SIDE, SIDE))
    if defect:
        grey[30 + seed % 9 : 35 + seed % 9, 15:60] = 30
    planes = [grey * share // 10 for share in ((10,) if mode in ("L", "LA", "I;16") else (10, 9, 8))]
    if mode.endswith("A"):
        planes.append(np.where(np.arange(SIDE)[:, None] < 6, 0, 255).repeat(SIDE, 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.dstack(planes).squeeze()
    Image.fromarray(pixels.astype(np.uint16) * 16 if mode == "I;16" else pixels.astype(np.uint8)).save(path)


def learnt(root: Path, folder: Path, lines: list[str]) -> Path:
    path = root.with_suffix(".yaml")
    path.write_text("data: {min_images: 1}\nrun: {warmup: 1}\n", encoding="utf-8")
    found = defectaug.train(root, out=folder, preset="tiny", steps=2, config=path, log=lines.append, device="cpu")
    assert found == folder
    return folder


def test_grey_colour_and_alpha_in_one_set_keep_their_kinds(tmp_path: Path) -> None:
    lines: list[str] = []
    for place, (product, mode) in enumerate(KINDS.items()):
        for number in range(3):
            write(tmp_path / f"data/{product}/normal/{number}.png", 10 * place + number, mode, False)
            write(tmp_path / f"data/{product}/cut/{number}.png", 10 * place + number + 5, mode, True)
    model = learnt(tmp_path / "data", tmp_path / "model", lines)
    assert any("the model works in colour" in line for line in lines)
    defectaug.synthesize(model=model, defect="cut", n=1, out=tmp_path / "out", device="cpu", log=lines.append)
    for product, mode in KINDS.items():
        (file,) = (tmp_path / f"out/{product}/cut").glob("*.png")
        with Image.open(file) as image:
            assert (image.size, image.mode) == ((SIDE, SIDE), mode)
            if mode.endswith("A"):
                alpha = np.asarray(image)[..., -1]
                assert (alpha[:6] == 0).all() and (alpha[6:] == 255).all()


def test_one_defect_image_and_one_normal_image_are_enough_where_that_is_allowed(tmp_path: Path) -> None:
    root = tmp_path / "data"
    write(root / "A/normal/0.png", 0, "I;16", False)
    write(root / "A/cut/0.png", 1, "I;16", True)
    with pytest.raises(DataError, match=r"A/cut: 1 image, at least 2 are needed.*min_images: 1"):
        defectaug.train(root, out=tmp_path / "model", preset="tiny", steps=2, device="cpu", log=lambda line: None)
    assert not (tmp_path / "model").exists()
    lines: list[str] = []
    model = learnt(root, tmp_path / "model", lines)
    assert "note: A/normal has 1 image (at least 8 advised)" in lines
    made = defectaug.synthesize(model=model, product="A", n=2, out=tmp_path / "out", device="cpu", log=lines.append)
    assert made.synthetic == 2
    with Image.open(next((tmp_path / "out/A/cut").glob("*.png"))) as image:
        assert image.mode.startswith("I")


@pytest.mark.parametrize(("chips", "said"), [(9, True), (5, False)])
def test_a_category_that_the_acceptance_test_hardly_accepts_is_named(chips: int, said: bool) -> None:
    tally = _Tally()
    for number in range(10):
        tally.add(Category("pill", "dirt"), True, 0, None)
        tally.add(Category("pill", "chip"), True, 1, "unlike real ones" if number < chips else None)
    of = SynthesisSummary(Path("out"), None, 0, 20, 0, tally.faint, True, 1.0, 10, tally.doubtful, tally.poor())
    assert (f"among them most of pill/chip (9 of 10): {LOOK_FIRST}" in of.describe()) is said
    assert "pill/dirt" not in of.describe()


@pytest.mark.parametrize(("faint", "said"), [(9, True), (4, False)])
def test_a_model_that_paints_next_to_nothing_is_told_of_with_what_to_do(faint: int, said: bool) -> None:
    summary = SynthesisSummary(Path("out"), None, 0, 10, 0, faint, True, 1.0)
    assert (NOTHING_LEARNT in summary.describe()) is said
