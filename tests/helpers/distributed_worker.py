"""What one process does of several that take training steps together, in a launcher's environment, or alone."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from small_networks import small_config, small_method, training_batch

from defectaug.data.batches import Batch
from defectaug.nn.distributed import joined, local_rows, rank

STEPS = 3
IMAGES = 8
EXACT: dict[str, tuple[str, dict[str, Any]]] = {
    "seeded": ("paper", {"loss": {"diversity": 0, "direct": 1}}),
    "warmup": ("paper", {"run": {"warmup": 9}}),
    "references": ("mokady", {}),
}
"""Cases in which K processes take the steps of one; in the others each draws its own random numbers."""
CASES = EXACT | {
    "decoded": ("paper", {"run": {"augment": True}, "loss": {"direct": 1}}),
    "stargan": ("ablation_a", {}),
    "pairs": ("mokady", {}),
}


def batch_of(step: int) -> Batch:
    """Batches whose two parts hold equally many defective sources; at step 1 one part has no normal one."""
    batch = training_batch(IMAGES, seed=step)
    batch.defect[:] = torch.tensor([0, 0, 1, 1, 2, 2, 0, 0]) if step != 1 else torch.tensor([0, 1] * 4)
    return batch


def part_of(batch: Batch, rows: list[int]) -> Batch:
    return Batch(**{field.name: getattr(batch, field.name)[rows] for field in fields(Batch)})


def take_steps(case: str, steps: int = STEPS) -> dict[str, Any]:
    """Values of every step, and all weights and averaged gradients in the end."""
    recipe, changes = CASES[case]
    run = {"batch_size": IMAGES, "r1_every": 2} | changes.get("run", {})
    # Without a rate D stays as it is, so that the gradients of the first step of M, E and G are of one D.
    optimizer = {"discriminator_rate": 1e-3 if case in EXACT else 0.0, "weight_decay": 0.0}
    method = small_method(small_config(recipe, changes | {"run": run, "optimizer": optimizer}))
    for adam in method.optimizers.values():
        for group in adam.param_groups:
            group["eps"] = 1e-2  # else Adam makes whole steps of rounding errors, where a gradient is 0
    rows = local_rows(IMAGES, method.config.run.latent_share)
    if case == "seeded":  # the latent of a row is the same in whichever process it is
        latents = method.model.mapping.draw_seeded(rows)
        method.model.mapping.draw = lambda count, rng, device: latents[:count]
    numbers = [step for step in range(steps) if step != 1 or case not in EXACT]
    values = [method.step(part_of(batch_of(step), rows), step, 0.2) for step in numbers]
    weights = {f"{n}.{k}": v for n, m in method.modules.items() for k, v in m.state_dict().items()}
    return {"values": values, "weights": weights, "gradients": gradients_of(method)}


def gradients_of(method: Any) -> dict[str, torch.Tensor]:
    """Averages of the gradients, by optimiser and parameter; those that had none are left out."""
    found = {}
    for name, optimizer in method.optimizers.items():
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        for number, parameter in enumerate(parameters):
            if "exp_avg" in optimizer.state[parameter]:
                found[f"{name}.{number}"] = optimizer.state[parameter]["exp_avg"]
    return found


def work(out: Path, *cases: str) -> None:
    """Writes what comes of each case to OUT/CASE.RANK.pt."""
    with joined(torch.device("cpu")):
        for case in cases:
            torch.save({"first": take_steps(case, 1), "all": take_steps(case)}, out / f"{case}.{rank()}.pt")
