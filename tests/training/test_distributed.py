"""Training and synthesis on several processes against one."""

from __future__ import annotations

import csv
import json
import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fake_model
import pytest
import torch
import yaml
from data_helpers import native
from distributed_worker import CASES, take_steps
from safetensors.torch import load_file
from small_networks import SMALL

import defectaug
from defectaug.errors import ConfigError
from defectaug.nn.augment import differentiable_augment
from defectaug.nn.distributed import ALONE, Team
from defectaug.nn.rows import Rows

HERE = Path(__file__).parents[1] / "helpers"
pytestmark = pytest.mark.skipif(not torch.distributed.is_available(), reason="PyTorch without torch.distributed")


def environment(**more: str) -> dict[str, str]:
    root = os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")])
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": root} | more


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def launch(script: list[str], processes: int = 2) -> list[subprocess.Popen[str]]:
    """Starts `python SCRIPT` so many times, as a launcher does."""
    shared = {"WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    return [
        subprocess.Popen(
            [sys.executable, *script],
            env=environment(RANK=str(rank), LOCAL_RANK=str(rank), **shared),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(processes)
    ]


# One step


@pytest.fixture(scope="module")
def of_two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes have computed together, a file a case."""
    out = tmp_path_factory.mktemp("two")
    workers = launch([str(HERE / "distributed_worker.py"), str(out), *CASES])
    said = [worker.communicate(timeout=15000)[1] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], said
    return out


@pytest.mark.parametrize("case", CASES)
def test_two_processes_take_the_steps_of_one(of_two: Path, case: str) -> None:
    one, two = take_steps(case, ALONE), torch.load(of_two / f"{case}.pt", weights_only=True)
    for ours, theirs in zip(one["values"], two["values"], strict=True):
        assert theirs == pytest.approx(ours, rel=1e-5, abs=1e-7)
    assert one["gradients"].keys() == two["gradients"].keys()  # what has no gradient in one has none in many
    for name, ours in one["gradients"].items():
        assert (two["gradients"][name] - ours).norm() <= 1e-3 * ours.norm() + 1e-5, name
    for name, ours in one["weights"].items():
        assert torch.allclose(two["weights"][name], ours, rtol=1e-5, atol=1e-6), name


def test_rows() -> None:
    parts = [Rows.split(5, process, 2) for process in range(2)]
    assert [part.mine.tolist() for part in parts] == [[0, 2, 4], [1, 3]]
    assert [part.share for part in parts] == [0.6, 0.4]
    both = [part + part.alike(2) for part in parts]  # numbers 5 and 6 follow
    assert [part.mine.tolist() for part in both] == [[0, 2, 4, 5], [1, 3, 6]]
    chosen = torch.tensor([6, 2, 5])
    picked = [part.pick(chosen) for part in both]
    assert [(rows.mine.tolist(), places.tolist()) for rows, places in picked] == [([1, 2], [1, 3]), ([0], [2])]
    x = torch.arange(7.0)
    assert both[1].take(x).tolist() == [1, 3, 6]
    assert [len(rows.mine) for rows in (Rows.split(1, process, 3) for process in range(3))] == [1, 0, 0]
    assert Rows.split(7).gather(x) is x


def test_augmentation_of_a_part_is_that_of_the_whole() -> None:
    def draw() -> torch.Generator:
        return torch.Generator().manual_seed(3)

    x = torch.rand(5, 1, 16, 16)
    whole = differentiable_augment(x, draw())
    for process in range(2):
        rows = Rows.split(5, process, 2)
        assert torch.allclose(differentiable_augment(x[rows.mine], draw(), rows=rows), whole[rows.mine])


def test_too_few_images_for_the_processes() -> None:
    with pytest.raises(ConfigError, match=r"run\.batch_size is 6; 4 processes need at least one row each"):
        Team(0, 4).parts(6)


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


# Whole runs, as `torchrun` starts them


def torchrun(arguments: list[str]) -> subprocess.Popen[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*launcher, "-m", "defectaug", *arguments]
    return subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def rows_of(folder: Path) -> list[dict[str, float]]:
    with (folder / "metrics.csv").open(newline="") as file:
        kept = [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]
    return [{k: v for k, v in row.items() if k != "images_per_second"} for row in kept]


def wait_for_steps(folder: Path, count: int, run: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 1500
    while not (folder / "metrics.csv").is_file() or len(rows_of(folder)) < count:
        assert run.poll() is None and time.monotonic() < end, run.communicate()
        time.sleep(0.02)


def test_interrupted_on_two_processes_and_finished_by_one(tmp_path: Path) -> None:
    data = native(tmp_path / "parts", {"A/normal": 4, "A/scratch": 3, "B/normal": 3, "B/spot": 2})
    settings, steps = tmp_path / "small.yaml", 40
    run = {"batch_size": 6, "latent_share": 0.5, "warmup": 2, "log_every": 1}
    settings.write_text(yaml.safe_dump(SMALL | {"run": run}))
    common = {"preset": "tiny", "config": settings, "steps": steps, "device": "cpu", "precision": "fp32"}
    flags = [part for name, value in common.items() for part in (f"--{name}", str(value))]
    running = torchrun(["train", str(data), "--out", str(tmp_path / "two"), *flags])
    wait_for_steps(tmp_path / "two", 2, running)
    running.send_signal(signal.SIGINT)  # torchrun hands it on
    out, said = running.communicate(timeout=1500)
    assert "in 2 processes" in said and said.count("interrupted at step") == 1, said
    assert out == ""
    numbers = json.loads((tmp_path / "two" / "state" / "state.json").read_text())
    assert 2 <= numbers["step"] < steps

    defectaug.train(data, out=tmp_path / "two", resume=True, **common)
    defectaug.train(data, out=tmp_path / "one", **common)
    ours, theirs = (rows_of(tmp_path / name) for name in ("one", "two"))
    assert [row["step"] for row in theirs] == [row["step"] for row in ours]
    for one, two in zip(ours[:4], theirs[:4], strict=True):  # later, Adam has made steps of rounding errors
        assert two == pytest.approx(one, rel=3e-2, abs=1e-3)
    kept = load_file(tmp_path / "two" / "state" / "state.safetensors")
    assert kept.keys() == load_file(tmp_path / "one" / "state" / "state.safetensors").keys()


def test_a_mistake_ends_all_processes_with_one_message(tmp_path: Path) -> None:
    run = torchrun(["train", str(tmp_path / "nowhere"), "--out", str(tmp_path / "model")])
    out, said = run.communicate(timeout=1500)
    assert run.returncode != 0 and out == ""
    assert said.count("nowhere: no such folder") == 1
    assert said.count("error: stopped because") <= 1 and "defect of defectaug" not in said
    assert not (tmp_path / "model").exists()
