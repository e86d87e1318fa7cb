"""One process of several that take training steps together: `python distributed_worker.py OUT CASE...`, started with a
launcher's environment, or alone. The first writes what came of each case to OUT/CASE.pt."""

from __future__ import annotations

import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from small_networks import CPU, small_config, training_batch

from defectaug.data.batches import Batch
from defectaug.methods.dtgan.method import DTGANMethod
from defectaug.nn.distributed import Team, team_of

STEPS = 3
IMAGES = 10  # halves of 5: two processes hold unlike numbers of rows
CASES: dict[str, tuple[str, dict[str, Any], float]] = {
    "layered": ("tiny", {}, 0.2),
    "layered_warmup": ("tiny", {"run": {"warmup": 9}}, 0.0),
    "drawn": ("tiny", {"network": {"mapping": "network"}, "run": {"latent_share": 0.5}, "loss": {"diversity": 1}}, 0.2),
    "decoded": ("paper", {"run": {"augment": True}, "loss": {"direct": 1}}, 0.2),
    "decoded_warmup": ("paper", {"run": {"warmup": 9}}, 0.0),
    "stargan": ("ablation_a", {}, 0.0),
}


def batch_of(step: int) -> Batch:
    """Batches whose defective targets (at step 1) and normal sources (at step 2) lie on one process alone."""
    batch = training_batch(IMAGES, seed=step)
    batch.target[0] = 0 if step == 1 else 1  # else the diversity term has a row on each process
    if step == 2:
        batch.defect[:] = 1
        batch.defect[[0, 2]] = 0
    return batch


def part_of(batch: Batch, team: Team, share: float) -> Batch:
    guided, referred = team.parts(IMAGES, share)
    mine = (guided + referred).mine
    return Batch(**{field.name: getattr(batch, field.name)[mine] for field in fields(Batch)})


def take_steps(case: str, team: Team) -> dict[str, Any]:
    """Values of every step, and all weights and averaged gradients in the end."""
    recipe, changes, done = CASES[case]
    run = {"batch_size": IMAGES, "r1_every": 2} | changes.get("run", {})
    method = DTGANMethod(small_config(recipe, changes | {"run": run}), 3, 2, CPU, 0, team)
    for optimizer in method.optimizers.values():
        for group in optimizer.param_groups:
            group["eps"] = 1e-2  # else Adam makes whole steps of rounding errors, where a gradient is 0
    share = method.config.run.latent_share
    values = [method.step(part_of(batch_of(step), team, share), step, done) for step in range(STEPS)]
    weights = {f"{n}.{k}": v for n, m in method.modules.items() for k, v in m.state_dict().items()}
    return {"values": values, "weights": weights, "gradients": gradients_of(method)}


def gradients_of(method: DTGANMethod) -> dict[str, torch.Tensor]:
    """Averages of the gradients, by optimiser and parameter; those that had none are left out."""
    found = {}
    for name, optimizer in method.optimizers.items():
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        for number, parameter in enumerate(parameters):
            if "exp_avg" in optimizer.state[parameter]:
                found[f"{name}.{number}"] = optimizer.state[parameter]["exp_avg"]
    return found


def main() -> None:
    out, *cases = sys.argv[1:]
    with team_of(torch.device("cpu")) as team:
        for case in cases:
            result = take_steps(case, team)
            if team.first:
                torch.save(result, Path(out) / f"{case}.pt")


if __name__ == "__main__":
    main()
