"""Training and synthesis on several processes against one."""

from __future__ import annotations

import csv
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import fake_model
import forked
import pytest
import torch
import yaml
from data_helpers import native
from distributed_worker import CASES, EXACT, take_steps, work
from safetensors.torch import load_file
from small_networks import SMALL

import defectaug
from defectaug.cli.main import main
from defectaug.errors import ConfigError
from defectaug.methods import adversarial
from defectaug.methods.mokady import method
from defectaug.nn import distributed

pytestmark = [
    pytest.mark.skipif(not torch.distributed.is_available(), reason="PyTorch without torch.distributed"),
    pytest.mark.xdist_group("distributed"),
]


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


@dataclass
class Together:
    """Processes of one run."""

    members: Sequence[forked.Child | subprocess.Popen[str]]

    def ended(self) -> bool:
        return all(member.poll() is not None for member in self.members)

    def interrupt(self) -> None:
        for member in self.members:
            member.send_signal(signal.SIGINT)

    def end(self) -> tuple[list[int | None], str, str]:
        """Waits for it: exit codes, and what all have printed and said."""
        printed, said = zip(*(member.communicate() for member in self.members), strict=True)
        return [member.returncode for member in self.members], "".join(printed), "".join(said)


def launch(place: Path, function: Callable[..., object], *arguments: object) -> Together:
    """Calls a function in two processes, in the environment that a launcher gives them."""
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    ranks = [{"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(2)]
    return Together([forked.start(place, function, *arguments, **shared, **rank) for rank in ranks])


# One step


@pytest.fixture(scope="module")
def of_two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes have computed together, a file a case and process."""
    out = tmp_path_factory.mktemp("two")
    codes, _, said = launch(out, work, out, *CASES).end()
    assert codes == [0, 0], said
    return out


def loaded(folder: Path, case: str, process: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = torch.load(folder / f"{case}.{process}.pt", weights_only=True)
    return found


@pytest.mark.parametrize("case", CASES)
def test_all_processes_hold_the_same_model(of_two: Path, case: str) -> None:
    first, second = (loaded(of_two, case, process)["all"] for process in range(2))
    assert first["values"] == second["values"]
    for part in ("weights", "gradients"):
        assert first[part].keys() == second[part].keys()
        assert all(torch.equal(value, second[part][name]) for name, value in first[part].items())


@pytest.mark.parametrize("case", EXACT)
def test_two_processes_take_the_steps_of_one(of_two: Path, case: str) -> None:
    one, two = take_steps(case), loaded(of_two, case)["all"]
    for alone, together in zip(one["values"], two["values"], strict=True):
        assert together == pytest.approx(alone, rel=1e-5, abs=1e-7)
    assert one["gradients"].keys() == two["gradients"].keys()  # what has no gradient in one has none in many
    for name, gradient in one["gradients"].items():
        assert (two["gradients"][name] - gradient).norm() <= 1e-3 * gradient.norm() + 1e-5, name
    for name, weight in one["weights"].items():
        assert torch.allclose(two["weights"][name], weight, rtol=1e-5, atol=1e-6), name


@pytest.mark.parametrize("case", [case for case in CASES if case not in EXACT])
def test_gradients_and_values_are_the_means_of_the_parts(
    of_two: Path, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = []
    monkeypatch.setattr(distributed, "processes", lambda: 2)
    monkeypatch.setattr(distributed, "average_gradients", lambda parameters: None)
    monkeypatch.setattr(adversarial, "average_values", lambda terms: {k: float(v) for k, v in terms.items()})
    monkeypatch.setattr(method, "gather_rows", lambda x: x)
    for process in range(2):
        monkeypatch.setattr(distributed, "rank", lambda process=process: process)
        monkeypatch.setattr(adversarial, "rank", lambda process=process: process)
        parts.append(take_steps(case, 1))
    two = loaded(of_two, case)["first"]
    (values,) = two["values"]
    assert values == pytest.approx({k: mean(part["values"][0][k] for part in parts) for k in values}, rel=1e-5)
    assert two["gradients"].keys() == parts[0]["gradients"].keys() | parts[1]["gradients"].keys()
    for name, gradient in two["gradients"].items():
        apart = [part["gradients"].get(name, torch.zeros_like(gradient)) for part in parts]
        assert torch.allclose(gradient, sum(apart) / 2, rtol=1e-4, atol=1e-6), name


def test_rows_of_the_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert distributed.local_rows(7, 0.5) == list(range(7))
    assert distributed.local_guided(7, 0.5) == 3
    monkeypatch.setattr(distributed, "processes", lambda: 2)
    rows, guided = [], []
    for process in range(2):
        monkeypatch.setattr(distributed, "rank", lambda process=process: process)
        rows.append(distributed.local_rows(12, 0.25))
        guided.append(distributed.local_guided(6, 0.25))
    assert rows == [list(range(0, 12, 2)), list(range(1, 12, 2))]
    assert guided == [2, 1]  # of the first three


@pytest.mark.parametrize(("size", "share", "count"), [(6, 0.5, 4), (9, 0.5, 2), (12, 0.25, 4), (12, 0.0, 24)])
def test_batches_that_do_not_suit_the_processes(
    size: int, share: float, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distributed, "processes", lambda: count)
    with pytest.raises(ConfigError, match=rf"run\.batch_size is {size}; {count} processes need equal parts of it"):
        distributed.local_rows(size, share)


# Synthesis


@pytest.mark.parametrize("launcher", [True, False])
def test_two_shards_are_one_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, launcher: bool) -> None:
    root = fake_model.data(tmp_path / "data")
    options = {"source": root, "n": 6, "balance": True, "masks": True}
    model = fake_model.FakeModel(fake_model.info(root))
    defectaug.synthesize(model=model, out=tmp_path / "one", **options)  # type: ignore[arg-type]
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    complete = []
    for rank in (1, 0):
        if launcher:
            monkeypatch.setenv("RANK", str(rank))
        shard = None if launcher else f"{rank + 1}/2"
        made = defectaug.synthesize(model=model, out=tmp_path / "two", shard=shard, **options)  # type: ignore[arg-type]
        complete.append(made.complete)
    assert complete == [False, True]
    for suffix in ("", ".masks"):
        one, two = (fake_model.contents(tmp_path / f"{name}{suffix}") for name in ("one", "two"))
        assert one.keys() == two.keys() and len(one) > 5
        assert all(one[name] == two[name] for name in one if not name.endswith("manifest.jsonl"))
    assert fake_model.lines(tmp_path / "two") == fake_model.lines(tmp_path / "one")


def test_shards_that_open_a_folder_together(tmp_path: Path) -> None:
    """Started at one moment, with --overwrite, none clears what another has written."""
    root = fake_model.data(tmp_path / "data")
    model = fake_model.FakeModel(fake_model.info(root))

    def run(number: int) -> bool:
        made = defectaug.synthesize(
            model=model, source=root, out=tmp_path / "out", product="A", n=12, shard=f"{number}/4", overwrite=True
        )
        return made.complete

    with ThreadPoolExecutor(4) as pool:
        complete = list(pool.map(run, range(1, 5)))
    assert any(complete)
    listed = fake_model.lines(tmp_path / "out")
    assert len(listed) == 24 and all((tmp_path / "out" / line["file"]).is_file() for line in listed)


# Whole runs


def children(place: Path, arguments: list[str]) -> Together:
    return launch(place, main, arguments)


def torchrun(place: Path, arguments: list[str]) -> Together:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*launcher, "-m", "defectaug", *arguments]
    return Together([subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)])


launchers = pytest.mark.parametrize("launcher", [children, pytest.param(torchrun, marks=pytest.mark.slow)])
Launcher = Callable[[Path, list[str]], Together]


def rows_of(folder: Path) -> list[dict[str, float]]:
    with (folder / "metrics.csv").open(newline="") as file:
        kept = [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]
    return [{k: v for k, v in row.items() if k != "images_per_second"} for row in kept]


def wait_for_steps(folder: Path, count: int, run: Together) -> None:
    end = time.monotonic() + 1500
    while not (folder / "metrics.csv").is_file() or len(rows_of(folder)) < count:
        assert not run.ended() and time.monotonic() < end, run.end()
        time.sleep(0.02)


@launchers
def test_interrupted_on_two_processes_and_finished_by_one(tmp_path: Path, launcher: Launcher) -> None:
    data = native(tmp_path / "parts", {"A/normal": 4, "A/scratch": 3, "B/normal": 3, "B/spot": 2})
    settings = tmp_path / "small.yaml"
    run = {"batch_size": 6, "latent_share": 0.5, "warmup": 2, "log_every": 1, "augment": False}
    settings.write_text(yaml.safe_dump(SMALL | {"run": run}))
    common = {"preset": "paper", "config": settings, "device": "cpu", "precision": "fp32"}
    flags = ["--steps", "10000"] + [part for name, value in common.items() for part in (f"--{name}", str(value))]
    running = launcher(tmp_path, ["train", str(data), "--out", str(tmp_path / "two"), *flags])
    wait_for_steps(tmp_path / "two", 2, running)
    running.interrupt()  # torchrun hands it on
    _, out, said = running.end()
    assert "in 2 processes" in said and said.count("interrupted at step") == 1, said
    assert out == ""
    numbers = json.loads((tmp_path / "two" / "state" / "state.json").read_text())
    assert 2 <= numbers["step"] < 10_000

    steps = numbers["step"] + 2
    defectaug.train(data, out=tmp_path / "two", resume=True, steps=steps, **common)
    defectaug.train(data, out=tmp_path / "one", steps=steps, **common)
    one, two = (rows_of(tmp_path / name) for name in ("one", "two"))
    assert [row["step"] for row in two] == [row["step"] for row in one]
    assert [row.keys() for row in two] == [row.keys() for row in one]
    for name in ("d_defect_class", "d_product_class"):  # of a first step without random numbers
        assert two[0][name] == pytest.approx(one[0][name], rel=1e-4)
    kept = load_file(tmp_path / "two" / "state" / "state.safetensors")
    assert kept.keys() == load_file(tmp_path / "one" / "state" / "state.safetensors").keys()


@launchers
def test_a_mistake_ends_all_processes_with_one_message(tmp_path: Path, launcher: Launcher) -> None:
    codes, out, said = launcher(tmp_path, ["train", str(tmp_path / "nowhere"), "--out", str(tmp_path / "model")]).end()
    assert all(codes) and out == ""
    assert said.count("nowhere: no such folder") == 1
    assert said.count("error: stopped because") <= 1 and "defect of defectaug" not in said
    assert not (tmp_path / "model").exists()
