"""The training loop, its schedules and its state."""

from __future__ import annotations

import csv
import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from data_helpers import COUNTS, native
from safetensors.torch import load_file
from small_networks import small_config, small_method, stopped_at
from torch import Tensor

from defectaug.bundle import read_weights
from defectaug.config.schema import Config
from defectaug.data.batches import BalancedBatches, Batch
from defectaug.data.index import index_folder
from defectaug.data.stores import CropStore, ImageStore
from defectaug.errors import BundleError, TrainingError
from defectaug.nn.ema import Average
from defectaug.nn.schedules import ema_decay, learning_rate_decay, step_seed
from defectaug.training.checkpoint import load_state, save_state
from defectaug.training.fixed_batches import example_batch, validation_batch
from defectaug.training.log import MetricLog
from defectaug.training.loop import Loop

RHYTHM = {"steps": 4, "save_every": 1, "sample_every": 2, "validate_every": 2, "log_every": 1}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return native(tmp_path_factory.mktemp("data") / "parts", COUNTS)


def make_loop(root: Path, folder: Path, config: Config | None = None, **options: object) -> Loop:
    """A loop with fresh networks and data, as a new process would have them."""
    config = config or small_config("paper", {"run": RHYTHM | {"warmup": 1}})
    index = index_folder(root)
    store = ImageStore(index.samples, config.network.image_size, 1)
    return Loop(
        small_method(config),
        BalancedBatches(index, store, config.run.batch_size, config.run.seed, normal_target=0.0),
        example_batch(index, store, 4),
        validation_batch(index, store, 8),
        folder,
        config.run,
        log=lambda line: None,
        **options,  # type: ignore[arg-type]
    )


def state(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "state" / "state.safetensors")


def metrics(folder: Path) -> list[dict[str, str]]:
    """The rows of a run's CSV, without the speed."""
    with (folder / "metrics.csv").open(newline="") as file:
        return [{k: v for k, v in row.items() if k != "images_per_second"} for row in csv.DictReader(file)]


def assert_same(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert a.keys() == b.keys()
    assert [name for name in a if not torch.equal(a[name], b[name])] == []


# Schedules, averages, logs


def test_schedules() -> None:
    assert [learning_rate_decay(fraction, 0.5) for fraction in (0.0, 0.5, 0.75, 1.0)] == [1, 1, 0.5, 0]
    assert [ema_decay(step, 0.5) for step in (0, 2, 1000)] == [0.1, 0.25, 0.5]
    assert len({step_seed(seed, step) for seed in range(20) for step in range(50)}) == 1000


def test_moving_average() -> None:
    live = torch.nn.Linear(3, 2)
    average = Average(live)
    start = live.weight.detach().clone()
    with torch.no_grad():
        live.weight += 1
    average.update(0.75)
    assert torch.allclose(average.shadow.weight, start + 0.25)
    assert not average.shadow.weight.requires_grad


def test_metrics_of_a_resumed_run_are_written_once(tmp_path: Path) -> None:
    log = MetricLog(tmp_path)
    for step in (1, 2, 3):
        log.write(step, {"a": step / 2})
    log.close()
    log = MetricLog(tmp_path, step=2)
    log.write(3, {"a": 7.0, "score": 1.0})
    log.close()
    values = [(row["step"], row["a"], row["score"]) for row in metrics(tmp_path)]
    assert values == [("1", "0.5", ""), ("2", "1", ""), ("3", "7", "1")]


# Fixed batches


def test_columns_of_a_sample_grid(tmp_path: Path) -> None:
    index = index_folder(native(tmp_path / "data", {"A/normal": 2, "A/scratch": 1, "B/scratch": 2, "C/spot": 3}))
    batch = example_batch(index, ImageStore(index.samples, 32, 1), 7)
    pairs = zip(batch.reference_product, batch.target, strict=True)
    classes = [(index.products[product], index.defects[defect]) for product, defect in pairs]
    in_turn = [("A", "scratch"), ("B", "scratch"), ("C", "spot")]
    assert classes == [*in_turn, *in_turn, in_turn[0]]
    files = [index.samples[number].path.stem for number in batch.reference_index]
    assert files == ["000", "000", "000", "000", "001", "001", "000"]
    assert batch.index.tolist() == [0, 0, 0, 1, 1, 1, 0]  # B and C have no normal images: A's
    assert batch.defect.eq(0).all() and batch.product.eq(0).all()


# State


def test_resumed_run_equals_an_unbroken_one_bit_for_bit(root: Path, tmp_path: Path) -> None:
    config = small_config("paper", {"run": RHYTHM | {"warmup": 1}, "loss": {"direct": 1}})
    make_loop(root, tmp_path / "whole", config).go()
    with pytest.raises(KeyboardInterrupt):
        make_loop(root, tmp_path / "parts", config, progress=stopped_at(2)).go()
    loop = make_loop(root, tmp_path / "parts", config)
    loop.resume()
    assert loop.at.step == 2
    loop.go()
    whole = state(tmp_path / "whole")
    assert {name.split("/")[0] for name in whole} == {
        "model",
        "average",
        "validation_features",
        "generator_optimizer",
        "discriminator_optimizer",
    }
    assert_same(whole, state(tmp_path / "parts"))
    assert_same(*(read_weights(tmp_path / name)[0] for name in ("whole", "parts")))
    assert metrics(tmp_path / "whole") == metrics(tmp_path / "parts")
    grids = [(tmp_path / name / "samples/step_000004.png").read_bytes() for name in ("whole", "parts")]
    assert grids[0] == grids[1]


def windowed(root: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, **options: object) -> Loop:
    """A loop over windows whose method finds all defects in a corner."""
    loop = make_loop(root, folder, **options)
    index = index_folder(root)
    points = {n: np.array([[0.5, 0.5]]) for n, one in enumerate(index.samples) if one.defect != index.normal}
    size = loop.batches.store.size
    loop.batches.store = CropStore(index.samples, size, 1, normal=index.normal, windows={}, points=points)
    monkeypatch.setattr(type(loop.method), "places", lambda self, photograph, defect: np.array([[0.1 * defect, 0.0]]))
    return loop


def test_windows_are_aimed_where_the_method_finds_defects_and_a_resumed_run_goes_on_with_them(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(KeyboardInterrupt):
        windowed(root, tmp_path, monkeypatch, progress=stopped_at(1)).go()
    early = windowed(root, tmp_path, monkeypatch)
    early.resume()
    assert early.at.looks == 0 and all((places == 0.5).all() for places in early.batches.store.points.values())
    with pytest.raises(KeyboardInterrupt):
        windowed(root, tmp_path / "later", monkeypatch, progress=stopped_at(3)).go()
    late = windowed(root, tmp_path / "later", monkeypatch)
    late.resume()
    assert late.at.looks == 1 and {places[0, 0] for places in late.batches.store.points.values()} == {0.1, 0.2}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_saves(root: Path, tmp_path: Path, number: int) -> None:
    config = small_config("paper", {"run": RHYTHM | {"save_every": 100}})
    handlers = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(KeyboardInterrupt):
        make_loop(root, tmp_path, config, progress=stopped_at(1, number)).go()
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == handlers
    loop = make_loop(root, tmp_path, config)
    loop.resume()
    assert loop.at.step == 1
    assert (tmp_path / "model.safetensors").is_file()


def test_state_of_other_networks_is_refused(root: Path, tmp_path: Path) -> None:
    method = small_method(small_config())
    save_state(tmp_path / "state", method.modules, method.optimizers, {"step": 3})
    other = small_method(small_config("paper", {"network": {"style_dim": 12}}))
    with pytest.raises(BundleError, match="other settings"):
        load_state(tmp_path / "state", other.modules, other.optimizers)


def test_damaged_or_missing_state_is_refused(tmp_path: Path) -> None:
    method = small_method(small_config())
    with pytest.raises(BundleError, match="no saved state"):
        load_state(tmp_path / "state", method.modules, method.optimizers)
    save_state(tmp_path / "state", method.modules, method.optimizers, {"step": 3})
    file = tmp_path / "state" / "state.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(BundleError, match="damaged"):
        load_state(tmp_path / "state", method.modules, method.optimizers)


def test_a_save_that_was_cut_between_its_renames(tmp_path: Path) -> None:
    method = small_method(small_config())
    save_state(tmp_path / "state", method.modules, method.optimizers, {"step": 3})
    (tmp_path / "state").rename(tmp_path / "state.old")
    assert load_state(tmp_path / "state", method.modules, method.optimizers) == {"step": 3}


# Runs that stop by themselves


class Poisoned(BalancedBatches):
    """Batches that are not finite from a step on."""

    def batch(self, step: int) -> Batch:
        batch = super().batch(step)
        return replace(batch, image=batch.image * float("nan")) if step >= 2 else batch


@pytest.mark.parametrize("warmup", [0, 9])
def test_values_that_are_not_finite_stop_the_run(root: Path, tmp_path: Path, warmup: int) -> None:
    loop = make_loop(root, tmp_path, small_config("paper", {"run": RHYTHM | {"warmup": warmup}}))
    loop.batches.__class__ = Poisoned
    with pytest.raises(TrainingError, match=r"step 2: .*not finite; try --precision fp32") as error:
        loop.go()
    assert "\n" not in str(error.value)
    fresh = make_loop(root, tmp_path)
    fresh.resume()
    assert fresh.at.step == 2
    assert all(value.isfinite().all() for value in state(tmp_path).values())
    assert all(value.isfinite().all() for value in read_weights(tmp_path)[0].values())


def test_weights_that_are_not_finite_never_replace_the_good_state(root: Path, tmp_path: Path) -> None:
    loop = make_loop(root, tmp_path)

    def spoil(done: int, total: int) -> None:
        if done == 2:
            with torch.no_grad():
                next(loop.method.modules["model"].encoder.parameters()).fill_(float("inf"))  # type: ignore[union-attr, operator]
            os.kill(os.getpid(), signal.SIGTERM)

    loop.progress = spoil
    with pytest.raises(TrainingError, match="not finite"):
        loop.go()
    assert all(value.isfinite().all() for value in state(tmp_path).values())


def test_without_scores_the_last_weights_are_kept(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No class has two validation images to compare: then no checkpoint is better than another."""
    loop = make_loop(root, tmp_path)
    monkeypatch.setattr(loop.method, "score", lambda sources: {})
    loop.go()
    kept = read_weights(tmp_path)[0]
    assert loop.at.best_step == 0
    assert all(torch.equal(kept[name], value) for name, value in loop.method.weights().items())
