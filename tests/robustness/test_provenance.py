"""A line of the manifest is enough to make its image again, and to prove which weights made it."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from command_line import run_example
from fake_model import FakeModel, data, defective, info, lines, save, surface
from PIL import Image
from small_networks import small_config, small_method

from defectaug.bundle import TrainedOn, write_config, write_weights
from defectaug.data.framing import Framing
from defectaug.errors import BundleError, DataError
from defectaug.synthesis.api import synthesize

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
sys.path.append(str(EXAMPLES))

from again import again, difference  # noqa: E402


@pytest.mark.parametrize("window", [None, 32])
@pytest.mark.parametrize("guide", ["latent", "reference"])
def test_any_image_again_from_its_line(tmp_path: Path, window: int | None, guide: str) -> None:
    root, out = data(tmp_path / "data"), tmp_path / "out"
    framings = {"A": Framing(window), "B": Framing(32)}
    model = FakeModel(info(root, framings=framings), blind=lambda seed: seed % 3 == 0)  # some are drawn again
    for number in range(3):
        save(tmp_path / "scratch" / f"{number}.png", defective(number, top=4 * number))
    (tmp_path / "scratch.masks").mkdir()
    save(tmp_path / "scratch/0_mask.png", np.pad(np.full((12, 16), 255, np.uint8), ((0, 36), (16, 32))))
    reference = tmp_path / "scratch" if guide == "reference" else None
    synthesize(model=model, out=out, product="A", defect="scratch", n=9, seed=7, reference=reference, batch_size=4)
    made = lines(out)
    assert len(made) == 9 and {line["guide"] for line in made} == {guide}
    if guide == "latent":
        assert any(line.get("redraws") for line in made)
    for line in json.loads(json.dumps(made)):
        assert difference(line, out, again(line, model)) <= 1


def test_real_images_and_other_weights_are_refused(tmp_path: Path) -> None:
    root = data(tmp_path / "data")
    model = FakeModel(info(root))
    synthesize(model=model, out=tmp_path / "out", n=6)
    real, synthetic = (next(x for x in lines(tmp_path / "out") if x["synthetic"] is kind) for kind in (False, True))
    with pytest.raises(DataError, match="is a real image"):
        again(real, model)
    with pytest.raises(BundleError, match="was made by weights 0000"):
        again(synthetic, FakeModel(info(root, weights_sha256="1" * 64)))


def test_another_image_in_its_place_is_noticed(tmp_path: Path) -> None:
    root = data(tmp_path / "data")
    model = FakeModel(info(root))
    synthesize(model=model, out=tmp_path / "out", product="A", defect="spot", n=1)
    (line,) = lines(tmp_path / "out")
    save(tmp_path / "out" / line["file"], surface(99))
    assert difference(line, tmp_path / "out", again(line, model)) > 1


def test_the_command_with_a_bundle(tmp_path: Path) -> None:
    """The manifest names the sha256 of the bundle's file, which anyone can take."""
    root = data(tmp_path / "data")
    config = small_config()
    write_config(tmp_path / "m", config, TrainedOn(("A", "B"), ("normal", "scratch", "spot"), {}, "native"))
    write_weights(tmp_path / "m", small_method(config).weights())
    synthesize(model=tmp_path / "m", source=root, out=tmp_path / "out", product="A", n=3, device="cpu")
    digest = hashlib.sha256((tmp_path / "m/model.safetensors").read_bytes()).hexdigest()
    assert {line["model"] for line in lines(tmp_path / "out")} == {digest}
    arguments = [tmp_path / "out/manifest.jsonl", "--device", "cpu", "--source", root, "--model", tmp_path / "m"]
    done = run_example("again.py", *arguments, "--index", 0, 2, "--to", tmp_path / "new")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("2 of 2 images are the same") and digest in done.stdout
    assert len(list((tmp_path / "new").rglob("*.png"))) == 2


def test_the_same_seed_gives_the_same_plan_wherever_the_data_lie(tmp_path: Path) -> None:
    plans = []
    for place in ("here", "far/away"):
        root = data(tmp_path / place / "data")
        synthesize(model=FakeModel(info(root)), out=tmp_path / place / "out", n=6, seed=3)
        made = lines(tmp_path / place / "out")
        plans.append([(x["file"], x.get("item_seed"), Path(x["source"]).relative_to(root)) for x in made])
    assert plans[0] == plans[1]
    pixels = [
        [np.asarray(Image.open(tmp_path / place / "out" / file)) for file, *_ in plans[0]]
        for place in ("here", "far/away")
    ]
    assert all(np.array_equal(a, b) for a, b in zip(*pixels, strict=True))
