"""What ``train --dry-run`` prints: counts, problems, and the plan."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

import torch

from defectaug.data.index import DataIndex
from defectaug.data.sample import Category
from defectaug.data.survey import Survey
from defectaug.training.prepare import Prepared


def describe_data(index: DataIndex, found: Survey) -> Iterator[str]:
    """A table of counts, then the problems."""
    width = max(len(name) for name in (*index.products, "product"))
    table = [("product", *index.defects)]
    for product in index.products:
        table.append((product, *(str(found.counts.get(Category(product, defect), 0)) for defect in index.defects)))
    for name, *values in table:
        columns = zip(values, index.defects, strict=True)
        yield "  ".join([name.ljust(width), *(value.rjust(max(len(defect), 6)) for value, defect in columns)])
    for problem in found.problems:
        yield f"note: {problem}"


def describe_plan(ready: Prepared, minutes: float | None) -> Iterator[str]:
    """Device, precision, steps, and time and memory as measured on a few real steps."""
    run, net = ready.config.run, ready.config.network
    seconds = _seconds_a_step(ready)
    steps = run.steps if minutes is None else max(1, int(60 * minutes / seconds))
    size = f"{net.image_size} x {net.image_size}, {'grey' if net.channels == 1 else 'colour'}"
    yield f"recipe {ready.config.recipe}: method {ready.config.method}, {size}"
    yield f"device {ready.compute.describe()}"
    counted = f"{steps:,} step{'s' * (steps != 1)}"
    yield f"{counted} of {run.batch_size} images, {run.batch_size / seconds:.1f} images a second here"
    memory = _memory_mb(ready)
    used = "not known on this system" if memory is None else f"{memory:,.0f} MB"
    yield f"expected time {_clock(steps * seconds)}, memory {used}"


def _seconds_a_step(ready: Prepared, warmup: int = 4, tries: int = 7) -> float:
    """Mean of some steps in the middle of a run, after some of the warm-up and a first one, which is slow."""
    method, batches, run = ready.method(), ready.batches(), ready.config.run
    for number in range(min(warmup, run.warmup)):
        method.step(batches.batch(number), number, 0.0)
    method.begin_validation()
    times = []
    for number in range(tries):
        batch = batches.batch(number)
        start = time.perf_counter()
        method.step(batch, run.warmup + 1 + number, 0.5)
        times.append(time.perf_counter() - start)
    return sum(times[1:]) / (tries - 1)


def _memory_mb(ready: Prepared) -> float | None:
    if ready.compute.device.type == "cuda":
        return torch.cuda.max_memory_allocated(ready.compute.device) / 2**20
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def _clock(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{max(minutes, 1)} min"
