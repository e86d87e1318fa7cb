"""Training steps: as the package takes them, written plainly, and against the machine's ceiling."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch

from defectaug.config.resolve import resolve
from defectaug.config.schema import Config
from defectaug.data.batches import Batch
from defectaug.device import Compute

from .plain import PlainMethod, trained
from .timing import Result, ceiling, flops, in_turns, peak_memory

DOMAINS, PRODUCTS = 3, 3


@dataclass(frozen=True)
class TrainingResult(Result):
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

    def __str__(self) -> str:
        return (
            f"train {self.recipe} at {self.image_size}, batch {self.batch_size}: {self.seconds:.3f} s a step, "
            f"{self.images_per_second:.1f} images/s, {self.speedup:.1f} times the plain step ({self.plain:.3f} s), "
            f"{self.utilisation:.0%} of {self.ceiling / 1e9:,.0f} GFLOP/s, {self.memory / 1e6:,.0f} MB"
        )


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
    images, every = random_batch(config), config.run.r1_every
    package = trained(config, DOMAINS, PRODUCTS, compute, seed=0)
    plain = PlainMethod(config, DOMAINS, PRODUCTS, compute.device, seed=0)
    kinds = {"with R1": every} | ({"without": every + 1} if every > 1 else {})
    steps = {kind: partial(package.step, images, number, 0.0) for kind, number in kinds.items()}
    plain_steps = {f"plain {kind}": partial(plain.step, images, number, 0.0) for kind, number in kinds.items()}
    times = {name: seconds.median for name, seconds in in_turns(steps | plain_steps, compute.device, repeats).items()}

    def mean(of: Mapping[str, float], prefix: str = "") -> float:
        return (of[f"{prefix}with R1"] + (every - 1) * of.get(f"{prefix}without", 0.0)) / every

    return TrainingResult(
        recipe,
        config.network.image_size,
        config.run.batch_size,
        seconds=mean(times),
        plain=mean(times, "plain "),
        flops=mean({kind: flops(step) for kind, step in steps.items()}),
        ceiling=ceiling(compute, small=small),
        memory=peak_memory(compute.device),
    )
