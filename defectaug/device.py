"""Device and precision of the computation, found out where they are not named."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch

from defectaug.errors import ConfigError

DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("auto", "fp32", "bf16")


@dataclass(frozen=True)
class Compute:
    """A device and the precision of the convolutions on it; statistics and losses are always fp32."""

    device: torch.device
    bf16: bool

    def autocast(self) -> AbstractContextManager[object]:
        """Context in which networks run."""
        return torch.autocast(self.device.type, torch.bfloat16) if self.bf16 else nullcontext()

    def describe(self) -> str:
        """For example "cpu (2 threads), fp32"."""
        if self.device.type == "cuda":
            name = torch.cuda.get_device_name(self.device)
        elif self.device.type == "cpu":
            threads = torch.get_num_threads()
            name = f"cpu ({threads} thread{'s' * (threads > 1)})"
        else:
            name = self.device.type
        return f"{name}, {'bf16' if self.bf16 else 'fp32'}"


def choose(device: str = "auto", precision: str = "auto") -> Compute:
    """Resolves ``--device`` and ``--precision``.

    Raises:
        ConfigError: an unknown name, or a device that is not there.
    """
    if precision not in PRECISIONS:
        raise ConfigError(f"--precision {precision}: must be one of {', '.join(PRECISIONS)}.")
    chosen = _device(device)
    if precision == "auto":
        return Compute(chosen, _bf16_pays(chosen))
    return Compute(chosen, precision == "bf16")


def _device(name: str) -> torch.device:
    if name in ("auto", "cuda") and torch.cuda.is_available():
        # Of several processes on a machine each has a GPU of its own; they share one only where there are too few.
        local = os.environ.get("LOCAL_RANK")
        return torch.device("cuda" if local is None else f"cuda:{int(local) % torch.cuda.device_count()}")
    if name == "auto":
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in DEVICES:
        raise ConfigError(f"--device {name}: must be one of {', '.join(DEVICES)}, or cuda:N.")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"--device {name}: no CUDA GPU is usable here; use --device cpu.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(f"--device {name}: there are {torch.cuda.device_count()} GPUs, numbered from 0.")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ConfigError(f"--device {name}: not available here; use --device cpu.")
    return device


def _bf16_pays(device: torch.device) -> bool:
    """On a GPU: whether it supports bf16. On a CPU: whether it has AMX or AVX512-BF16 and shows them to this machine;
    without, bf16 products are several times slower than fp32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    if device.type != "cpu":
        return False
    probes = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(getattr(torch.cpu, probe, bool)() for probe in probes)
