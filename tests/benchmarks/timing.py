"""Timing in turns, peak memory, and the ceiling that a machine sets."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from defectaug.device import Compute

HERE = Path(__file__).resolve().parents[2]  # the repository
Work = Callable[[], object]


@dataclass(frozen=True)
class Result:
    """Numbers of a part of the benchmarks; ``str`` gives its line for people."""

    def numbers(self) -> dict[str, Any]:
        """Fields and properties by name, for JSON."""
        properties = [name for name, value in vars(type(self)).items() if isinstance(value, property)]
        return asdict(self) | {name: getattr(self, name) for name in properties}


@dataclass(frozen=True)
class Seconds:
    """Median, shortest and longest of several runs."""

    median: float
    least: float
    most: float

    @staticmethod
    def of(times: Sequence[float]) -> Seconds:
        return Seconds(statistics.median(times), min(times), max(times))

    def __str__(self) -> str:
        return f"{self.median:.3g} s ({self.least:.3g} to {self.most:.3g})"


def wait(device: torch.device) -> None:
    """Waits until the device is idle."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def timed(work: Work, device: torch.device) -> float:
    """Seconds of one call."""
    wait(device)
    start = time.perf_counter()
    work()
    wait(device)
    return time.perf_counter() - start


def in_turns(works: Mapping[str, Work], device: torch.device, repeats: int, warmups: int = 2) -> dict[str, Seconds]:
    """Times several pieces of work in turn, so that a machine that slows down slows all of them."""
    for work in works.values():
        for _ in range(warmups):
            work()
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(repeats):
        for name, work in works.items():
            times[name].append(timed(work, device))
    return {name: Seconds.of(taken) for name, taken in times.items()}


def flops(work: Work) -> int:
    """Floating-point operations of the convolutions and matrix products of one call, backward passes included."""
    counter = FlopCounterMode(display=False)
    counter.mod_tracker = _NoModules()  # its own fails under torch.autograd.grad, which R1 needs
    with counter:
        work()
    return counter.get_total_flops()


class _NoModules:
    """Takes the place of the counter's bookkeeping by module."""

    parents = frozenset({"Global"})

    def __enter__(self) -> None:
        pass

    def __exit__(self, *error: object) -> None:
        pass


def ceiling(compute: Compute, repeats: int = 5, small: bool = False) -> float:
    """FLOP/s that a large square matrix product reaches on the device in the given precision; a small one is a try."""
    size = 256 if small else 8192 if compute.device.type == "cuda" else 2048
    kind = torch.bfloat16 if compute.bf16 else torch.float32
    a, b = (torch.randn(size, size, device=compute.device).to(kind) for _ in range(2))
    best = in_turns({"product": lambda: a @ b}, compute.device, repeats)["product"].least
    return 2 * size**3 / best


def peak_memory(device: torch.device) -> int:
    """Most bytes that were in use at once: of this process, or on a GPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resident(os.getpid(), "VmHWM")


def resident(pid: int, field: str = "VmRSS") -> int:
    """Bytes that a process holds in memory (``VmHWM``: at the peak); 0 where the system has no such file."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith(f"{field}:")), 0)


@dataclass(frozen=True)
class Finished:
    """A command that has ended: seconds until its end and until ``seen`` held, bytes at the peak, and its output."""

    seconds: float
    first: float | None
    memory: int
    out: str


def run(arguments: Sequence[str], seen: Callable[[], bool] | None = None) -> Finished:
    """Runs `python ARGUMENTS` from the repository.

    Raises:
        RuntimeError: it failed.
    """
    start = time.perf_counter()
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])}
    child = subprocess.Popen(
        [sys.executable, *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    )
    first, memory = None, 0
    while seen is not None and child.poll() is None:
        memory = max(memory, resident(child.pid, "VmHWM"))
        if first is None and seen():
            first = time.perf_counter() - start
        time.sleep(0.02)
    out, _ = child.communicate()
    if child.returncode:
        raise RuntimeError(f"python {' '.join(arguments)} ended with {child.returncode}")
    return Finished(time.perf_counter() - start, first, memory, out)
