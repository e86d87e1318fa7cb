"""Training steps: as the package takes them, written plainly, and against the machine's ceiling."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from defectaug.cli.process import prepare_training
from defectaug.config.resolve import resolve
from defectaug.config.schema import Config
from defectaug.data.batches import Batch
from defectaug.device import Compute

from .plain import PlainMethod, trained
from .timing import Seconds, ceiling, flops, in_turns, peak_memory

DOMAINS, PRODUCTS = 3, 3


@dataclass(frozen=True)
class TrainingResult:
    """Speed of one recipe.

    Args:
        recipe, image_size, batch_size: what was trained.
        seconds: of a step, its share of R1 included.
        plain: the same of the plain step.
        flops: floating-point operations of a step.
        ceiling: FLOP/s of a large matrix product in the same precision, in the same run.
        memory: bytes at the peak; of the whole process on a CPU.
    """

    recipe: str
    image_size: int
    batch_size: int
    seconds: float
    plain: float
    flops: float
    ceiling: float
    memory: int

    @property
    def images_per_second(self) -> float:
        return self.batch_size / self.seconds

    @property
    def speedup(self) -> float:
        """Times as fast as the plain step."""
        return self.plain / self.seconds

    @property
    def utilisation(self) -> float:
        """Share of the ceiling."""
        return self.flops / self.seconds / self.ceiling


def random_batch(config: Config, seed: int = 0) -> Batch:
    """Random images; every defect is a target, every class a source."""
    count, net = config.run.batch_size, config.network
    generator = torch.Generator().manual_seed(seed)
    image, reference = (
        torch.rand(count, net.channels, net.image_size, net.image_size, generator=generator) * 2 - 1 for _ in range(2)
    )
    rows = torch.arange(count)
    target = 1 + rows % (DOMAINS - 1)
    return Batch(image, rows % DOMAINS, rows % PRODUCTS, rows, target, reference, rows % PRODUCTS, rows)


def benchmark(
    recipe: str, compute: Compute, repeats: int, size: int | None = None, batch: int | None = None, small: bool = False
) -> TrainingResult:
    """Times a recipe's step; every ``r1_every``-th has R1, and is timed apart.

    Args:
        recipe: name of a recipe.
        compute: device and precision of the package's own step.
        repeats: timings of each kind of step.
        size, batch: other than the recipe's.
        small: widths shrunk to almost nothing, to try the benchmark itself.
    """
    tiny = {"encoder_widths": [8, 16], "generator_widths": [8, 16], "discriminator_widths": [8, 16]} if small else {}
    flags = {"network": {"image_size": size, "channels": 3, **tiny}, "run": {"batch_size": batch, "warmup": 0}}
    config = resolve(recipe, flags=flags)
    prepare_training()  # for both
    rows, every = random_batch(config), config.run.r1_every
    ours = trained(config, DOMAINS, PRODUCTS, compute, seed=0)
    theirs = PlainMethod(config, DOMAINS, PRODUCTS, compute.device, seed=0)
    works = {
        "with R1": lambda: ours.step(rows, every, 0.0),
        "plain with R1": lambda: theirs.play(rows, every, 0.0),
        "without": lambda: ours.step(rows, every + 1, 0.0),
        "plain without": lambda: theirs.play(rows, every + 1, 0.0),
    }
    if every == 1:
        works = {name: works[name] for name in ("with R1", "plain with R1")}
    times = in_turns(works, compute.device, repeats)
    counted = {name: flops(works[name]) for name in works if "plain" not in name}

    def mean(kind: str, of: dict[str, float]) -> float:
        with_r1 = of[f"{kind}with R1"]
        return with_r1 if every == 1 else (with_r1 + (every - 1) * of[f"{kind}without"]) / every

    medians = {name: seconds.median for name, seconds in times.items()}
    return TrainingResult(
        recipe,
        config.network.image_size,
        config.run.batch_size,
        mean("", medians),
        mean("plain ", medians),
        mean("", {name: float(count) for name, count in counted.items()}),
        ceiling(compute),
        peak_memory(compute.device),
    )


def spread(seconds: Seconds) -> str:
    """For people: "0.123 s (0.120 to 0.131)"."""
    return f"{seconds.median:.3g} s ({seconds.least:.3g} to {seconds.most:.3g})"
