"""Errors that no other test meets: each is raised where it should be, and says what was wrong."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from fake_model import FakeModel, data, defective, info, save, surface
from small_networks import small_config, small_method

from defectaug import device as devices
from defectaug.benchmark.api import run_study
from defectaug.benchmark.settings import StudySettings
from defectaug.data.batches import BalancedBatches
from defectaug.data.class_map import ClassMap
from defectaug.data.index import index_folder
from defectaug.data.stores import ImageStore
from defectaug.errors import BundleError, ConfigError, DataError, OutputError
from defectaug.io.files import entries
from defectaug.io.images import NativeImage, write_png
from defectaug.io.manifest import read_lines
from defectaug.metrics.distances import share_interval
from defectaug.metrics.features import find_inception, find_lpips
from defectaug.metrics.localisation import PixelCounts
from defectaug.nn.backbones import build_backbone, find_weights
from defectaug.reporting.api import evaluate
from defectaug.synthesis.api import synthesize
from defectaug.synthesis.transfer import transfer
from defectaug.synthesis.write import copy_file
from defectaug.training.checkpoint import load_state, save_state
from defectaug.training.fixed_batches import example_batch, validation_batch
from defectaug.training.interrupts import termination_as_interrupt
from defectaug.training.log import MetricLog
from defectaug.training.loop import Loop, write_grid

Act = Callable[[Path], object]
CPU = torch.device("cpu")
QUICK = StudySettings(image_size=32, steps=1, batch_size=4, checks=1, seeds=(0,), device="cpu")


def damaged(root: Path) -> Path:
    """A data folder of which no image can be read."""
    for path in data(root).rglob("*.png"):
        path.write_bytes(b"no image")
    return root


def flat(root: Path, *numbers: int) -> Path:
    """A folder of normal images."""
    for number in numbers:
        save(root / f"{number}.png", surface(number))
    return root


def paint(place: Path, **options: object) -> object:
    """A synthesis from a data folder at `place`."""
    root = data(place / "data")
    return synthesize(**{"model": FakeModel(info(root)), "n": 1, "out": place / "out", **options})  # type: ignore[arg-type]


def transferred(place: Path, **options: object) -> object:
    """A transfer from one image to another."""
    src, ref = save(place / "s.png", surface(1)), save(place / "r.png", defective(2))
    wanted = {"model": FakeModel(info()), "defect": "scratch", "out": place / "out.png", **options}
    return transfer(wanted.pop("src", src), ref, **wanted)  # type: ignore[arg-type]


def file_in_the_way(path: Path) -> Path:
    path.write_text("mine")
    return path


def weights_with(path: Path, name: str) -> Path:
    """A file of weights that has one tensor, under the name by which its kind is known."""
    torch.save({name: torch.zeros(2)}, path)
    return path


def folder_called(path: Path) -> Path:
    path.mkdir()
    return path


def linked(place: Path) -> Path:
    """A folder that holds nothing but a link to a real image."""
    path = place / "links/A/scratch/0.png"
    path.parent.mkdir(parents=True)
    path.symlink_to(place / "data/A/scratch/000.png")
    return place / "links"


SYNTHESIS: dict[str, tuple[Act, type[Exception]]] = {
    "--n 0: must be 1 or more": (lambda p: paint(p, n=0), ConfigError),
    "--source .*: no such folder": (lambda p: paint(p, source=p / "none"), DataError),
    "--reference .*: no such folder": (lambda p: paint(p, reference=p / "none"), DataError),
    "no image of spot; name one --defect": (
        lambda p: paint(p, reference=data(p / "refs", {"A/normal": 1, "A/scratch": 1}), product="A"),
        DataError,
    ),
    "name with --product what they show": (lambda p: paint(p, source=flat(p / "flat", 1)), ConfigError),
    "it becomes the name of a folder": (
        lambda p: paint(p, source=flat(p / "flat", 1), product="../A"),
        ConfigError,
    ),
    "no images of product B": (
        lambda p: paint(p, source=data(p / "other", {"A/normal": 2, "A/scratch": 1}), product="B"),
        DataError,
    ),
    "--seed -1: must be 0 or more": (lambda p: paint(p, seed=-1), ConfigError),
    "--out .*: is a file, not a folder": (lambda p: paint(p, out=file_in_the_way(p / "out")), OutputError),
    "masks is not empty": (
        lambda p: (flat(p / "out.masks", 1), paint(p, product="A", defect="spot", masks=True)),
        OutputError,
    ),
    "none.png: cannot be read": (lambda p: copy_file(p / "none.png", p / "copy.png"), DataError),
    "manifest.jsonl: cannot be read": (lambda p: read_lines(folder_called(p / "manifest.jsonl")), DataError),
}

TRANSFER: dict[str, tuple[Act, type[Exception]]] = {
    "--seed -1: must be 0 or more": (lambda p: transferred(p, seed=-1), ConfigError),
    "--n-styles 0: must be from 1": (lambda p: transferred(p, n_styles=0), ConfigError),
    "restores the image, and paints nothing": (lambda p: transferred(p, defect="normal", n_styles=2), ConfigError),
    "no images in this folder": (lambda p: transferred(p, src=folder_called(p / "empty")), DataError),
    "images are written as PNG": (lambda p: transferred(p, out=p / "out.jpg"), ConfigError),
    "--out and --mask name the same file": (lambda p: transferred(p, mask=p / "out.png"), ConfigError),
    "8x8 pixels are less than half": (
        lambda p: transferred(p, src=save(p / "small.png", surface(1, (8, 8)))),
        DataError,
    ),
}

EVALUATION: dict[str, tuple[Act, type[Exception]]] = {
    "--seeds 0: must be 1 or more": (lambda p: evaluate(p, seeds=0), ConfigError),
    "its folder cannot be made": (
        lambda p: evaluate(data(p / "data"), json=file_in_the_way(p / "x") / "numbers.json"),
        OutputError,
    ),
    "nor can any other of the 15 images": (lambda p: evaluate(damaged(p / "data"), only=["counts"]), DataError),
    "nothing but links to the images of": (lambda p: evaluate(data(p / "data"), linked(p), only=["counts"]), DataError),
    "at least two classes are needed": (
        lambda p: run_study(index_folder(data(p / "d", {"A/normal": 9}), require_defects=False), (), QUICK),
        DataError,
    ),
    "the same for all 15 images": (lambda p: run_study(damaged(p / "data"), (), QUICK), DataError),
    "no product and defect of .* in it": (
        lambda p: run_study(data(p / "data"), (), QUICK, test=data(p / "t", {"C/normal": 2, "C/dent": 2})),
        DataError,
    ),
    "too few images to hold any out": (
        lambda p: evaluate(
            data(p / "data", {"A/normal": 1, "A/spot": 1}),
            data(p / "made", {"A/spot": 2}),
            only=["study"],
            study=QUICK,
            device="cpu",
        ),
        DataError,
    ),
    "it has no last linear layer alone": (lambda p: build_backbone("squeezenet1_1"), ConfigError),
    "no weights of a network": (
        lambda p: (torch.save({"a": 1}, p / "w.pt"), find_weights("resnet18", str(p / "w.pt"), print)),
        ConfigError,
    ),
    "are not Inception-v3's": (
        lambda p: find_inception(weights_with(p / "w.pt", "Mixed_7c.branch_pool.conv.weight"), CPU, print),
        ConfigError,
    ),
    "are not AlexNet's": (
        lambda p: find_lpips(weights_with(p / "w.pt", "features.10.weight"), CPU, print),
        ConfigError,
    ),
    "a share of no images": (lambda p: share_interval(0, 0), ValueError),
    "the mask": (lambda p: PixelCounts().add(np.zeros((2, 2)), np.zeros((2, 3), bool)), ValueError),
}

DATA: dict[str, tuple[Act, type[Exception]]] = {
    "cannot be listed": (lambda p: entries(p / "none"), DataError),
    "no image of the normal class 'normal' is left": (
        lambda p: index_folder(
            data(p / "data", {"A/normal": 2, "A/spot": 1, "B/spot": 1}), class_map=ClassMap(products={"A": None})
        ),
        DataError,
    ),
    "grey without opacity only": (
        lambda p: write_png(p / "x.png", NativeImage(np.zeros((2, 2, 3), np.uint16))),
        ValueError,
    ),
}


@pytest.mark.parametrize(
    ("act", "kind", "said"),
    [
        pytest.param(act, kind, said, id=said)
        for table in (SYNTHESIS, TRANSFER, EVALUATION, DATA)
        for said, (act, kind) in table.items()
    ],
)
def test_errors_that_are_said(tmp_path: Path, act: Act, kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match=said) as error:
        act(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="the device is there")
def test_a_device_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match="--device mps: not available here"):
        devices.choose("mps")


def test_a_synthesis_that_is_stopped_or_loses_its_folder(tmp_path: Path) -> None:
    said: list[str] = []

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        paint(tmp_path, product="A", defect="spot", n=2, progress=stop, log=said.append)
    assert said[-1].endswith("not complete yet; the same command finishes it")

    def lose(done: int, total: int) -> None:
        if done == total:
            (tmp_path / "out").rename(tmp_path / "elsewhere")

    with pytest.raises(OutputError, match="images of this run are gone"):
        paint(tmp_path, product="A", defect="spot", n=2, progress=lose)


# Training


def test_metrics_that_cannot_be_read_or_written(tmp_path: Path) -> None:
    folder_called(tmp_path / "metrics.csv")
    with pytest.raises(OutputError, match="cannot be read"):
        MetricLog(tmp_path)
    (tmp_path / "metrics.csv").rmdir()
    log = MetricLog(tmp_path)
    try:
        log.write(1, {"score": 1.0})
        (tmp_path / "metrics.csv").unlink()
        folder_called(tmp_path / "metrics.csv")
        with pytest.raises(OutputError, match="cannot be written"):
            log.write(2, {"score": 1.0})
        with pytest.raises(OutputError, match="cannot be written"):
            log.write(3, {"other": 1.0})
    finally:
        log.close()


def test_a_sample_grid_that_cannot_be_written(tmp_path: Path) -> None:
    file_in_the_way(tmp_path / "samples")
    with pytest.raises(OutputError, match="cannot be written"):
        write_grid(tmp_path / "samples/step_000001.png", torch.zeros(1, 4, 4))


def test_a_state_whose_numbers_are_none(tmp_path: Path) -> None:
    method = small_method(small_config())
    save_state(tmp_path / "state", method.modules, method.optimizers, {"step": 1})
    (tmp_path / "state/state.json").write_text("[1]")
    with pytest.raises(BundleError, match="holds no numbers by name"):
        load_state(tmp_path / "state", method.modules, method.optimizers)


def test_data_that_go_away_in_the_middle_leave_a_state(tmp_path: Path) -> None:
    """All images of a category are gone: the training stops with what it has."""
    config = small_config("paper", {"run": {"steps": 6, "batch_size": 4, "warmup": 1, "save_every": 9}})
    index = index_folder(data(tmp_path / "data"))
    store = ImageStore(index.samples, config.network.image_size, 1)
    batches = BalancedBatches(index, store, 4, 0, normal_target=0.0)
    samples = example_batch(index, store, 4), validation_batch(index, store, 8)
    loop = Loop(small_method(config), batches, *samples, tmp_path / "out", config.run, log=lambda line: None)
    real, asked = batches.batch, []

    def batch(step: int) -> object:
        asked.append(step)
        if step == 2:
            raise DataError("x.png: cannot be read")
        return real(step)

    batches.batch = batch  # type: ignore[method-assign, assignment]
    with pytest.raises(DataError, match="the state of step 2 is saved, go on with --resume"):
        loop.go()
    assert (tmp_path / "out/state/state.json").exists() and asked == [0, 1, 2]


def test_a_category_of_which_no_image_can_be_read(tmp_path: Path) -> None:
    index = index_folder(data(tmp_path / "data"))
    store = ImageStore(index.samples, 32, 1)
    shutil.rmtree(tmp_path / "data/B/scratch")
    (number,) = (k for k, sample in enumerate(index.samples) if (sample.product, sample.defect) == ("B", "scratch"))
    with pytest.raises(DataError, match="nor can any other image of B/scratch"):
        store.get(number)


def test_a_second_interrupt_gives_up_at_once() -> None:
    with termination_as_interrupt() as interrupted:
        signal.raise_signal(signal.SIGINT)
        assert interrupted.is_set()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


# The machine


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_messages_that_find_no_space_leave_the_exit_code(tmp_path: Path) -> None:
    both = ["--steps", "1", "--minutes", "1"]  # said before torch is imported
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "defectaug.cli.main", "train", str(tmp_path / "none"), *both]
        assert subprocess.run(command, stdout=full, stderr=full).returncode == 2


def test_a_drive_that_fails_while_a_source_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flat(tmp_path / "src", 1)

    def fail(*arguments: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(shutil, "copyfileobj", fail)
    with pytest.raises(OutputError, match="cannot be written"):
        copy_file(tmp_path / "src/1.png", tmp_path / "copy.png")
    assert not (tmp_path / "copy.png").exists()
