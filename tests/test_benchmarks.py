"""The plain step against the fast one, and a quick run of the benchmark suite."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from benchmarks import children, system, timing
from benchmarks.__main__ import main
from benchmarks.plain import PlainMethod
from small_networks import CPU, small_config, small_method, training_batch


@pytest.mark.parametrize("recipe", ["paper", "ablation_a"])
def test_fast_step_equals_the_plain_one(recipe: str) -> None:
    config = small_config(recipe, {"run": {"r1_every": 2, "augment": recipe != "paper"}})
    fast, plain = small_method(config), PlainMethod(config, 3, 2, CPU.device, 0)
    for method in (fast, plain):
        for optimizer in method.optimizers.values():
            for group in optimizer.param_groups:
                group["eps"] = 1e-2  # else Adam makes whole steps of rounding errors, where a gradient is 0
    for step in range(2):  # with and without R1
        batch = training_batch(8, seed=step)
        assert plain.step(batch, step, 0.0) == pytest.approx(fast.step(batch, step, 0.0), rel=1e-4, abs=1e-6)
    weights = zip(fast.average.shadow.parameters(), plain.average.shadow.parameters(), strict=True)
    assert all(torch.allclose(weight, plain_weight, atol=5e-5) for weight, plain_weight in weights)


def test_works_are_timed_in_turns() -> None:
    calls: list[str] = []
    works = {name: lambda name=name: calls.append(name) for name in "ab"}
    times = timing.in_turns(works, torch.device("cpu"), repeats=3, warmups=1)
    assert "".join(calls) == "ab" + "ababab"
    assert all(0 <= taken.least <= taken.median <= taken.most for taken in times.values())


def test_operations_are_counted() -> None:
    a = torch.ones(4, 8, requires_grad=True)
    assert timing.flops(lambda: (a @ torch.ones(8, 2)).sum().backward()) == 2 * (2 * 4 * 8 * 2)  # there and back


def test_the_network_has_a_share_of_a_synthesis(tmp_path: Path) -> None:
    seconds = children.network(system.MODEL, system.DATA, "4", str(tmp_path / "out"))
    assert 0 < seconds["network"] < seconds["seconds"]


def test_the_suite_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "numbers.json"
    flags = ["--recipes", "ablation_a", "--device", "cpu", "--json", str(file)]
    results = main(["--quick", "--only", "training", "index", *flags])
    assert json.loads(file.read_text()) == results
    assert results["machine"]["quick"] and results["training ablation_a"]["utilisation"] > 0
    assert results["index 1"]["images"] == 200
    printed = capsys.readouterr().out.splitlines()
    assert printed[1].startswith("train ablation_a at 32, batch 4: ") and len(printed) == 4
