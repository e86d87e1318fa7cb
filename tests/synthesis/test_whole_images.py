"""Models that make whole images from noise: no sources, no masks, no references, and sizes of the training images."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import Run
from fake_model import contents, data, info, lines
from torch import Tensor

import defectaug
from defectaug.data.sample import Category
from defectaug.errors import ConfigError
from defectaug.io.images import read_image
from defectaug.methods.base import BundleInfo, GenerativeModel
from defectaug.metrics.naming import NamingSettings
from defectaug.synthesis.api import refill, synthesize
from defectaug.synthesis.render import as_native
from defectaug.synthesis.transfer import transfer

SEEN = (Category("A", "normal"), Category("A", "scratch"), Category("B", "normal"), Category("B", "spot"))
SIZE = 32


class FakeNoise:
    """Makes images of one grey level, by seed."""

    def __init__(self, info: BundleInfo) -> None:
        self.info, self.device = info, torch.device("cpu")

    def images(self, product: Tensor, defect: Tensor, seeds: Sequence[int]) -> Tensor:
        assert len(product) == len(defect) == len(seeds)
        tones = torch.tensor([random.Random(seed).random() for seed in seeds])
        return tones[:, None, None, None].expand(-1, self.info.channels, SIZE, SIZE)


def facts(root: Path, **changes: object) -> BundleInfo:
    whole = {"references": False, "sources": False, "categories": SEEN, "native_size": (48, 24)}
    return info(root, **(whole | changes))


@pytest.fixture
def noise(root: Path) -> FakeNoise:
    return FakeNoise(facts(root))


def test_images_have_no_source_and_the_training_images_size(noise: FakeNoise, tmp_path: Path) -> None:
    assert isinstance(noise, GenerativeModel)
    out = tmp_path / "out"
    summary = synthesize(model=noise, product="A", defect="scratch", n=3, out=out, batch_size=2)
    assert (summary.synthetic, summary.faint, summary.masks) == (3, 0, None)
    made = lines(out)
    assert [(line["source"], line["guide"], line["reference"], line["boxes"]) for line in made] == [
        (None, "latent", None, None)
    ] * 3
    shown = [read_image(out / line["file"]) for line in made]
    assert all(image.pixels.shape == (24, 48) and image.pixels.dtype == np.uint8 for image in shown)
    assert len({image.pixels[0, 0] for image in shown}) == 3


def test_what_the_model_has_not_seen_is_not_made(noise: FakeNoise, root: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--product A --defect spot: model fake has seen no image of it.*A/scratch"):
        synthesize(model=noise, product="A", defect="spot", n=1, out=tmp_path / "out")
    synthesize(model=noise, product="B", n=1, out=tmp_path / "b")
    assert [line["defect"] for line in lines(tmp_path / "b")] == ["spot"]
    told: list[str] = []
    synthesize(model=noise, balance=True, n=5, out=tmp_path / "all", log=told.append)
    files = Counter(line["file"].rpartition("/")[0] for line in lines(tmp_path / "all"))
    assert files == {"A/normal": 5, "A/scratch": 5, "B/normal": 4, "B/scratch": 1, "B/spot": 5}
    assert "A/spot stays as it is: the model has seen no image of it" in told
    real = [line for line in lines(tmp_path / "all") if not line["synthetic"]]
    assert len(real) == 15 and all(Path(line["source"]).is_file() for line in real)


def test_sources_are_not_needed_and_not_used(tmp_path: Path) -> None:
    alone, told = FakeNoise(facts(tmp_path / "gone")), list[str]()
    synthesize(model=alone, defect="scratch", n=1, source=tmp_path / "no", out=tmp_path / "out", log=told.append)
    assert told == [f"--source {tmp_path / 'no'}: not used, model fake makes whole images"]


def test_options_of_painted_defects_are_refused_in_one_line(
    noise: FakeNoise, root: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("defectaug.synthesis.api.as_model", lambda model, device: noise)
    asked = ("synthesize", "--model", "fake", "--defect", "scratch", "--n", 1, "--out", tmp_path / "out")
    for option, value, shown in (
        ("--strength", "0.5:2", "0.5:2"), ("--size", 2, "2:2"), ("--max-defects", 3, "3"), ("--region", "none", "none"),
        ("--region", root, root),
    ):  # fmt: skip
        code, out, error = run(*asked, option, value)
        assert (code, out, len(error.splitlines())) == (2, "", 1), error
        assert f"{option} {shown}: model fake makes whole images and places no defects on them; leave it out" in error
    assert run(*asked, "--region", "auto", "--strength", 1, "--size", 1, "--max-defects", 1)[0] == 0


def test_masks_references_and_transfer_are_refused(noise: FakeNoise, root: Path, tmp_path: Path) -> None:
    for option, why in (
        ({"masks": True}, r"--masks: model fake makes whole images and knows no masks of them; leave it out"),
        ({"export": "coco"}, r"--export coco: model fake makes whole images and knows no masks"),
        ({"reference": root}, r"--reference .*: model fake draws defects from latents alone"),
    ):
        with pytest.raises(ConfigError, match=why):
            synthesize(model=noise, defect="scratch", n=1, out=tmp_path / "out", **option)  # type: ignore[arg-type]
    for defect in ("spot", "normal"):
        with pytest.raises(ConfigError, match=r"^SRC .*: model fake makes whole images from noise and changes none"):
            transfer(root / "A/normal/000.png", root / "B/spot/000.png", model=noise, defect=defect, out=tmp_path / "o")
    assert [path.name for path in tmp_path.iterdir()] == [root.name]


def test_an_interrupted_run_is_finished(noise: FakeNoise, tmp_path: Path) -> None:
    asked = {"model": noise, "defect": "scratch", "n": 6, "batch_size": 2}
    synthesize(**asked, out=tmp_path / "whole")

    def stop(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        synthesize(**asked, out=tmp_path / "parts", progress=stop)
    assert synthesize(**asked, out=tmp_path / "parts").kept > 0
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")


def test_rejected_images_are_replaced(noise: FakeNoise, tmp_path: Path) -> None:
    out, listed = tmp_path / "out", tmp_path / "rejected.txt"
    synthesize(model=noise, defect="scratch", n=3, out=out)
    before = {line["file"] for line in lines(out)}
    listed.write_text(min(before) + "\n")
    refill(listed, out, model=noise)
    after = {line["file"] for line in lines(out)}
    assert len(after) == 3 and after & before == before - {min(before)}
    assert all(line["source"] is None for line in lines(out))


def test_colour_and_depth_are_those_of_the_training_images(tmp_path: Path) -> None:
    colour = as_native(np.full((3, 8, 8), 1.0, np.float32), facts(tmp_path, channels=3))
    assert colour.pixels.shape == (24, 48, 3) and colour.pixels.dtype == np.uint8 and (colour.pixels == 255).all()
    deep = as_native(np.full((1, 8, 8), 1.0, np.float32), facts(tmp_path, white=4095))
    assert deep.pixels.shape == (24, 48) and deep.pixels.dtype == np.uint16 and (deep.pixels == 4095).all()
    assert as_native(np.zeros((1, 8, 8), np.float32), facts(tmp_path, native_size=None)).size == (SIZE, SIZE)


def test_evaluation_copes_without_sources(noise: FakeNoise, tmp_path: Path, run: Run, no_network: None) -> None:
    root = data(tmp_path / "more", {"A/normal": 6, "A/scratch": 4, "B/normal": 6, "B/spot": 4})
    synthesize(model=noise, product="A", n=4, out=tmp_path / "out")
    told: list[str] = []
    only, quick = ("counts", "memorisation", "correctness"), NamingSettings(2, 1, 4, 32)
    result = defectaug.evaluate(root, tmp_path / "out", model=noise, only=only, naming=quick, log=told.append)
    assert "model fake makes whole images and restores none: no part on restoration" in told
    titles = [section.title for section in result.sections]
    assert any("background" in title.lower() for title in titles), titles
