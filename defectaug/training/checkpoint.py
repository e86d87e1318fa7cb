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
from defectaug.io.atomic import sync

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
    try:
        _rotate(folder, {k: v.detach().cpu().contiguous() for k, v in tensors.items()}, dict(numbers))
    except (OSError, SafetensorError) as error:
        shutil.rmtree(_fresh(folder), ignore_errors=True)
        raise OutputError(
            f"{folder}: the state cannot be saved ({error}); the last good one is kept: when this is mended, "
            "go on with --resume."
        ) from error


def _rotate(folder: Path, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
    """The new state is on disk before the last one is touched; at every moment one of the two is whole."""
    fresh, old = _fresh(folder), _old(folder)
    shutil.rmtree(fresh, ignore_errors=True)
    folder.parent.mkdir(exist_ok=True)  # no more of the path: on a drive that is gone it would lead elsewhere
    fresh.mkdir()
    save_file(dict(tensors), fresh / TENSORS)
    (fresh / NUMBERS).write_text(json.dumps(numbers), encoding="utf-8")
    for path in (fresh / TENSORS, fresh / NUMBERS, fresh):
        sync(path)
    if folder.exists():  # else `old` is the last good one: the run was stopped between these renames
        shutil.rmtree(old, ignore_errors=True)
        os.replace(folder, old)
    os.replace(fresh, folder)
    sync(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def _fresh(folder: Path) -> Path:
    return folder.with_name(folder.name + ".part")


def _old(folder: Path) -> Path:
    return folder.with_name(folder.name + ".old")


def load_state(
    folder: Path, modules: Mapping[str, nn.Module], optimizers: Mapping[str, Optimizer]
) -> dict[str, Any]:
    """Reads what :func:`save_state` wrote into the given modules and optimisers; returns the numbers.

    Raises:
        BundleError: nothing to resume from, or a state of another model.
    """
    if not folder.exists() and _old(folder).exists():
        folder = _old(folder)  # stopped between the two renames of a save
    try:
        tensors = load_file(folder / TENSORS)
        numbers = json.loads((folder / NUMBERS).read_text(encoding="utf-8"))
        if not isinstance(numbers, dict):
            raise ValueError(f"{NUMBERS} holds no numbers by name")
    except FileNotFoundError as error:
        raise BundleError(f"{folder}: no saved state to resume from; run without --resume.") from error
    except (OSError, SafetensorError, ValueError, RecursionError) as error:
        raise BundleError(
            f"{folder}: the saved state is damaged ({error}); delete it and start again."
        ) from error
    try:
        for name, module in modules.items():
            module.load_state_dict(_part(tensors, name))
        for name, optimizer in optimizers.items():
            _set_moments(optimizer, _part(tensors, name))
    except (RuntimeError, KeyError, ValueError, IndexError) as error:
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
