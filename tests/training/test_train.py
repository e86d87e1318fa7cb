"""`defectaug.train` and its command, from a folder to a bundle."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from command_line import Run
from data_helpers import COUNTS, native, save, save_many
from numpy.typing import NDArray
from small_networks import SMALL, images, train_small

import defectaug
from defectaug.bundle import read_config
from defectaug.data.class_map import ClassMap
from defectaug.data.index import DataIndex, index_folder
from defectaug.data.sample import Sample
from defectaug.device import choose
from defectaug.errors import BundleError, ConfigError, DataError, OutputError
from defectaug.io.images import Header
from defectaug.io.progress import silent, unheard
from defectaug.methods.features import find_weights
from defectaug.methods.instances import Instances
from defectaug.methods.prior import FeaturePrior
from defectaug.training.framing import _Count, _Found, _framing, choose_framing


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return native(tmp_path_factory.mktemp("data") / "parts", COUNTS)


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(SMALL | {"run": {"batch_size": 4, "warmup": 1}}))
    return path


def test_train_leaves_a_bundle(root: Path, settings: Path, tmp_path: Path) -> None:
    out, lines = tmp_path / "my model", []
    assert train_small(root, out, settings, log=lines.append) == out
    found = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    events = {name for name in found if name.startswith("events.out.tfevents")}
    assert len(events) == 1
    assert found - events == {
        "config.yaml",
        "metrics.csv",
        "model.safetensors",
        "samples/step_000002.png",
        "state/state.json",
        "state/state.safetensors",
    }
    assert lines[0] == "native layout: 2 products, 2 defects, 12 images"
    assert any(re.match(r"trained 2 steps in \d+ s", line) for line in lines)  # not "in 0.0 min"
    config, data = read_config(out)
    assert (config.recipe, config.run.steps, config.network.channels) == ("paper", 2, 1)
    assert (data.products, data.defects) == (("A", "B"), ("normal", "scratch", "spot"))
    assert data.counts["A/scratch"] == 3 and data.counts["B/scratch"] == 0
    model = defectaug.load_model(out, "cpu")
    assert model.info.name == "my model"
    painted = model.paint(images(2), model.latent_codes(torch.tensor([1, 2]), [0, 1]))
    assert painted.image.shape == (2, 1, 32, 32) and (painted.delta.abs().amax((1, 2, 3)) > 0).all()
    assert model.restore(images(2)).image.shape == (2, 1, 32, 32)
    assert model.name_defect(images(2)).shape == (2,)

    with pytest.raises(OutputError, match="holds a model already; use --resume to go on, or --out"):
        train_small(root, out, settings)
    train_small(root, out, settings, resume=True, steps=3)
    assert yaml.safe_load((out / "state" / "state.json").read_text())["step"] == 3
    with pytest.raises(BundleError, match="with other settings"):
        train_small(root, out, settings, resume=True, image_size=40)


def test_resuming_needs_the_same_run(
    root: Path, settings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "model"
    monkeypatch.setattr("defectaug.training.api.prepare", None)  # said before the data are read
    with pytest.raises(BundleError, match="nothing to resume there; run without --resume"):
        train_small(root, out, settings, resume=True)
    assert not out.exists()


def test_a_resumed_run_has_its_own_length_and_settings(root: Path, settings: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    train_small(root, out, settings, steps=2, seed=7)
    before = (out / "config.yaml").read_text()
    train_small(root, out, None, preset="auto", resume=True, steps=None)
    assert (out / "config.yaml").read_text() == before
    assert yaml.safe_load((out / "state" / "state.json").read_text())["step"] == 2
    train_small(root, out, None, resume=True, steps=3)
    assert yaml.safe_load((out / "state" / "state.json").read_text())["step"] == 3
    with pytest.raises(DataError, match="less than half of the model's 64 x 64"):  # another recipe is asked for
        train_small(root, out, None, preset="tiny", resume=True, steps=None)


def test_resuming_with_other_classes_or_settings_is_refused(root: Path, settings: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    train_small(root, out, settings, steps=1)
    other = native(tmp_path / "other", {"A/normal": 3, "A/dent": 3})
    with pytest.raises(BundleError, match="other classes"):
        train_small(other, out, settings, resume=True)
    content = settings.read_text()
    for change in ("loss: {cycle: 2}", "optimizer: {rate: 0.0007}", "optimizer: {ema: 0.5}"):
        settings.write_text(f"{content}\n{change}\n")
        with pytest.raises(BundleError, match="with other settings"):
            train_small(root, out, settings, resume=True)
    settings.write_text(content)
    written = out / "config.yaml"
    written.write_text(written.read_text().replace("window: null", "window: 16"))
    with pytest.raises(BundleError, match="framed otherwise"):
        train_small(root, out, settings, resume=True)


def test_images_may_be_added_before_resuming_and_older_runs_know_one_framing(
    root: Path, settings: Path, tmp_path: Path
) -> None:
    data, out = tmp_path / "data", tmp_path / "model"
    shutil.copytree(root, data)
    found_out = tmp_path / "auto.yaml"
    found_out.write_text(f"{settings.read_text()}\ndata: {{framing: auto}}\n")
    train_small(data, out, found_out, steps=1)
    for number in range(9):  # the median size of A's images is another now
        save(data / "A" / "normal" / f"larger{number}.png", np.full((90, 120), 90, np.uint8))
    train_small(data, out, found_out, resume=True, steps=2)
    written = out / "config.yaml"
    content = yaml.safe_load(written.read_text())
    del content["data"]["framings"]
    written.write_text(yaml.safe_dump(content))
    train_small(data, out, found_out, resume=True, steps=3)
    assert yaml.safe_load((out / "state" / "state.json").read_text())["step"] == 3


def test_a_second_run_into_the_folder_is_refused(root: Path, settings: Path, tmp_path: Path) -> None:
    fcntl = pytest.importorskip("fcntl")
    out = tmp_path / "model"
    out.mkdir()
    with (out / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(OutputError, match="another run is writing there"):
            train_small(root, out, settings)
    assert not (out / "config.yaml").exists()


def test_output_that_is_a_file_is_refused(root: Path, settings: Path, tmp_path: Path) -> None:
    for out in (settings, settings / "model"):
        with pytest.raises(OutputError, match="--out"):
            train_small(root, out, settings)
    assert yaml.safe_load(settings.read_text())["run"]["batch_size"] == 4


def test_a_category_of_one_image(settings: Path, tmp_path: Path) -> None:
    data = native(tmp_path / "data", {"A/normal": 3, "A/scratch": 3, "A/spot": 1})
    with pytest.raises(DataError, match=r"A/spot: 1 image, at least 2 .*min_images: 1") as error:
        train_small(data, tmp_path / "model", settings)
    assert "class map" in str(error.value)
    assert not (tmp_path / "model").exists()
    content = yaml.safe_load(settings.read_text()) | {"data": {"min_images": 1}}
    settings.write_text(yaml.safe_dump(content))
    assert train_small(data, tmp_path / "model", settings, steps=1)


def test_one_product_with_one_defect(settings: Path, tmp_path: Path) -> None:
    save_many(tmp_path / "plate" / "ok", 3)
    save_many(tmp_path / "plate" / "dent", 2)
    out = train_small(tmp_path / "plate", tmp_path / "model", settings)
    assert out is not None
    assert read_config(out)[1].products == ("plate",)
    assert defectaug.load_model(out, "cpu").info.normal == "ok"


def test_images_that_are_too_small(root: Path, settings: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"24 x 20 pixels, less than half .*128 x 128; use --image-size 32"):
        train_small(root, tmp_path / "model", settings, image_size=128)
    assert not (tmp_path / "model").exists()


def test_minutes_must_be_some(root: Path, settings: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--minutes -1"):
        train_small(root, tmp_path / "model", settings, minutes=-1)
    train_small(root, tmp_path / "model", settings, minutes=0.0001, steps=None)
    assert (tmp_path / "model" / "model.safetensors").is_file()


# The command line


FLAGS = ("--device", "cpu", "--precision", "fp32", "--preset", "paper")


def test_command_trains_and_refuses(root: Path, settings: Path, tmp_path: Path, run: Run) -> None:
    out = tmp_path / "model"
    common = (root, "--out", out, "--config", settings, "--steps", 2)
    code, stdout, stderr = run("train", *FLAGS, *common, "--resume")
    assert (code, stdout) == (2, "") and "nothing to resume" in stderr
    code, stdout, stderr = run("train", *FLAGS, *common)
    assert (code, stdout) == (0, f"{out}\n")
    assert "native layout" in stderr and "trained 2 steps" in stderr
    code, stdout, stderr = run("train", *FLAGS, *common)
    assert (code, stdout) == (2, "")
    assert stderr.splitlines()[-1].startswith(f"error: {out}: holds a model already")
    code, stdout, stderr = run("train", *FLAGS, root, "--out", tmp_path / "new", "--image-size", 50)
    assert code == 2 and "--image-size 50" in stderr


def test_dry_run_prints_counts_and_plan_and_writes_nothing(
    root: Path, settings: Path, tmp_path: Path, run: Run
) -> None:
    arguments = (root, "--out", tmp_path / "model", "--config", settings, "--dry-run", "--steps", 7)
    code, printed, _ = run("train", *FLAGS, *arguments)
    assert code == 0
    lines = [line.split() for line in printed.splitlines()]
    assert lines[:3] == [
        ["product", "normal", "scratch", "spot"],
        ["A", "4", "3", "0"],
        ["B", "3", "0", "2"],
    ]
    assert "note: A/spot has no images; the defect is learnt from the other products" in printed
    for wanted in ("method dtgan, 32 x 32, grey", "device cpu", "fp32", "7 steps of 4 images", "time", " MB"):
        assert wanted in printed
    assert not (tmp_path / "model").exists()


def test_small_defects_on_large_images_are_found_to_be_so(tmp_path: Path) -> None:
    """On noise, from labels alone: dark spots of a tenth of a per mille of their images, of half a per cent of larger
    ones, and of a quarter; each is a product of one folder, and seen in its own way."""
    if find_weights() is None:
        pytest.skip("the package with the ImageNet weights is not installed")
    rng = np.random.default_rng(0)
    for name, edge, side in (("small", 512, 6), ("middling", 1280, 80), ("large", 512, 250)):
        for number in range(4):
            pixels = rng.normal(128, 6, (edge, edge)).clip(0, 255)
            save(tmp_path / name / f"normal/{number}.png", pixels.astype(np.uint8))
            top, left = rng.integers(0, edge - side, 2)
            pixels[top : top + side, left : left + side] = rng.normal(30, 6, (side, side)).clip(0, 255)
            save(tmp_path / name / f"spot/{number}.png", pixels.astype(np.uint8))
    index = index_folder(tmp_path).training()
    counted: dict[str, list[tuple[int, int]]] = {}
    found = choose_framing(
        index, 128, 255, choose("cpu", "fp32"), unheard,
        lambda stage: lambda done, total: counted.setdefault(stage, []).append((done, total)),
    )  # fmt: skip
    assert list(counted) == [f"looking at {name}" for name in index.products]
    for shown in counted.values():
        assert [done for done, _ in shown] == [*range(1, len(shown) + 1)]
        assert shown[-1][1] >= len(shown)  # large ones are known before all are seen
    windows = {product: framing.window for product, framing in found.framings.items()}
    assert windows == {"small": 128, "middling": 256, "large": None}
    assert set(found.points) == {n for n, s in enumerate(index.samples) if s.defect == "spot" and s.product != "large"}


def test_what_stands_out_clearly_more_in_whole_images_is_not_cut_into_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """From near nothing parts the two but a small place each, from far all defective ones are clearer."""
    samples = [Sample(Path(f"{kind}{n}.png"), "A", kind) for kind in ("normal", "gap") for n in range(8)]
    index = DataIndex(Path(), "native", "normal", tuple(samples), ("A",), ("normal", "gap"), ClassMap())

    class Finder:
        def __init__(self, lead: float) -> None:
            self.lead = lead

        def find(self, sample: Sample, instances: Instances, label: int = 0) -> _Found:
            return _Found(0.001, self.lead * (sample.defect == "gap") + samples.index(sample) % 8)

        def normal(self, some: list[Sample]) -> tuple[Instances, list[_Found]]:
            instances = Instances(FeaturePrior(1))
            return instances, [self.find(sample, instances) for sample in some]

        def places(self, sample: Sample, instances: Instances, label: int) -> NDArray[np.float64]:
            return np.full((1, 2), 0.5)

    monkeypatch.setattr("defectaug.training.framing.probe", lambda path: Header((800, 600), "RGB", 8, 3))
    for far, window in ((8, None), (0, 128)):
        said: list[str] = []
        seen, numbers = (Finder(0), Finder(far)), ([*range(8)], [[*range(8, 16)]])
        found = _framing(index, *seen, said.append, *numbers, 128, _Count(silent))  # type: ignore[arg-type]
        assert found[0].window == window and bool(found[1]) == (window is not None)
        assert ["stand out more" in line for line in said[1:]] == [True] * (window is None)
