"""What ``--resume`` needs: weights and optimiser moments as safetensors, numbers as JSON. No pickle."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from defectaug.errors import BundleError, OutputError, TrainingError

TENSORS, NUMBERS = "state.safetensors", "state.json"


def save_state(
    folder: Path,
    modules: Mapping[str, nn.Module],
    optimizers: Mapping[str, Optimizer],
    numbers: Mapping[str, Any],
) -> None:
    """Writes ``folder`` whole or leaves the previous one.

    Raises:
        OutputError: no space or no permission.
        TrainingError: values that are not finite, which would replace the last good state.
    """
    tensors: dict[str, Tensor] = {}
    for name, module in modules.items():
        tensors |= {f"{name}/{key}": value for key, value in module.state_dict().items()}
    for name, optimizer in optimizers.items():
        tensors |= {f"{name}/{key}": value for key, value in _moments(optimizer).items()}
    bad = next((k for k, v in tensors.items() if v.is_floating_point() and not v.isfinite().all()), None)
    if bad is not None:
        raise TrainingError(
            f"{bad} is not finite; try a lower optimizer.rate in --config, or another --seed; "
            "the last good state is kept."
        )
    fresh = folder.with_name(folder.name + ".part")
    old = folder.with_name(folder.name + ".old")
    try:
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, fresh / TENSORS)
        (fresh / NUMBERS).write_text(json.dumps(dict(numbers)), encoding="utf-8")
        shutil.rmtree(old, ignore_errors=True)
        if folder.exists():
            os.replace(folder, old)
        os.replace(fresh, folder)
        shutil.rmtree(old, ignore_errors=True)
    except (OSError, SafetensorError) as error:
        raise OutputError(
            f"{folder}: the state cannot be saved ({error}); the last good one is kept."
        ) from error


def load_state(
    folder: Path, modules: Mapping[str, nn.Module], optimizers: Mapping[str, Optimizer]
) -> dict[str, Any]:
    """Reads what :func:`save_state` wrote into the given modules and optimisers; returns the numbers.

    Raises:
        BundleError: nothing to resume from, or a state of another model.
    """
    if not folder.exists() and folder.with_name(folder.name + ".old").exists():
        folder = folder.with_name(folder.name + ".old")  # stopped between the two renames of a save
    try:
        tensors = load_file(folder / TENSORS)
        numbers = json.loads((folder / NUMBERS).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BundleError(f"{folder}: no saved state to resume from; run without --resume.") from error
    except (OSError, SafetensorError, ValueError) as error:
        raise BundleError(
            f"{folder}: the saved state is damaged ({error}); delete it and start again."
        ) from error
    try:
        for name, module in modules.items():
            module.load_state_dict(_part(tensors, name))
        for name, optimizer in optimizers.items():
            _set_moments(optimizer, _part(tensors, name))
    except (RuntimeError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise BundleError(
            f"{folder}: the saved state is of a model with other settings ({reason})."
        ) from error
    return numbers


def _part(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    return {k.removeprefix(f"{name}/"): v for k, v in tensors.items() if k.startswith(f"{name}/")}


def _parameters(optimizer: Optimizer) -> list[Tensor]:
    return [p for group in optimizer.param_groups for p in group["params"]]


def _moments(optimizer: Optimizer) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for number, parameter in enumerate(_parameters(optimizer)):
        for key, value in optimizer.state.get(parameter, {}).items():
            found[f"{number}.{key}"] = value
    return found


def _set_moments(optimizer: Optimizer, moments: Mapping[str, Tensor]) -> None:
    parameters = _parameters(optimizer)
    for name, value in moments.items():
        number, key = name.split(".", 1)
        parameter = parameters[int(number)]
        at = torch.device("cpu") if key == "step" else parameter.device
        like = parameter if value.shape == parameter.shape else value
        stored = torch.empty_like(like, device=at, dtype=value.dtype)
        optimizer.state[parameter][key] = stored.copy_(value)
