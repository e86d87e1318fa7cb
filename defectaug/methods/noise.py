"""What the methods share that make whole images from noise, a class for each product and defect (the normal one, too).

A step learns from the sources and the references of its batch alike: to these methods both are real images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from defectaug.config.schema import Config
from defectaug.data.batches import Batch
from defectaug.device import Compute
from defectaug.methods.adversarial import Terms, finite
from defectaug.methods.base import Method
from defectaug.methods.inference import TrainedModel
from defectaug.methods.sample_grid import tile
from defectaug.nn.distributed import average_values, rank
from defectaug.nn.ema import Average
from defectaug.nn.schedules import ema_decay, learning_rate_decay, step_seed

LINES = 4  # of a sample grid


class NoiseNetworks(nn.Module):
    """G and D of a method, conditional on a label: ``product * defects + defect``.

    Args:
        defects: number of classes, the normal one included.
        truncation: of images, as the method means it.
    """

    generator: Any
    discriminator: Any

    def __init__(self, defects: int, truncation: float) -> None:
        super().__init__()
        self.defects, self.truncation = defects, truncation

    def label(self, product: Tensor, defect: Tensor) -> Tensor:
        """Numbers (N,) of products and defects to labels (N,)."""
        return product * self.defects + defect

    def images(self, label: Tensor, seeds: Sequence[int], truncation: float) -> Tensor:
        """Images (N, C, S, S) of labels (N,), each from its own seed alone; at truncation 0 all of a label are one."""
        raise NotImplementedError


N = TypeVar("N", bound=NoiseNetworks)


@dataclass(frozen=True)
class Real:
    """Real images (N, C, S, S) and their labels (N,)."""

    image: Tensor
    label: Tensor

    def __len__(self) -> int:
        return len(self.label)

    def parts(self, count: int) -> list[Real]:
        """The batch in ``count`` parts whose sizes differ by one at most."""
        images, labels = self.image.tensor_split(count), self.label.tensor_split(count)
        return [Real(image, label) for image, label in zip(images, labels, strict=True)]


class NoiseMethod(Method, Generic[N]):
    """Implements :class:`defectaug.methods.base.Method`; a method of its own adds :meth:`play` and the optimisers.

    Args:
        model: the networks, freshly initialised.
        config: all settings.
        compute: device and precision.
        seed: of every step's random numbers.
    """

    def __init__(self, model: N, config: Config, compute: Compute, seed: int) -> None:
        self.model, self.config, self.compute, self.seed = model, config, compute, seed
        model.to(compute.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = Average(model)
        self.modules: dict[str, nn.Module] = {"model": model, "average": self.average.shadow}
        self.optimizers: dict[str, Optimizer] = {}

    def play(self, real: Real, rng: torch.Generator, step: int) -> Terms:
        """A step of D and one of G on real images; returns the terms that are logged."""
        raise NotImplementedError

    def adjust(self, values: Mapping[str, float]) -> None:
        """What follows from the values of a step, which all processes agree on."""

    def step(self, batch: Batch, step: int, fraction: float) -> dict[str, float]:
        """One step of both players."""
        rng = torch.Generator().manual_seed(step_seed(self.seed, step, rank()))
        factor = learning_rate_decay(fraction, self.config.optimizer.cooldown)
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = factor * group["initial_lr"]
        values = finite(average_values(self.play(self._real(batch), rng, step)), step)
        self.adjust(values)
        self.average.update(ema_decay(step, self.config.optimizer.ema))
        return values

    def _real(self, batch: Batch) -> Real:
        model, device = self.model, self.compute.device
        labels = (model.label(batch.product, batch.defect), model.label(batch.reference_product, batch.target))
        image = torch.cat([batch.image, batch.reference]).to(device, memory_format=torch.channels_last)
        return Real(image, torch.cat(labels).to(device))

    def weights(self) -> dict[str, Tensor]:
        """Averaged weights of G and D."""
        return self.average.shadow.state_dict()

    @torch.no_grad()
    def grid(self, examples: Batch) -> Tensor:
        """From top to bottom: real images, new ones of the same product and defect, and the mean of these."""
        real, model, columns = self._real(examples), self.average.shadow, len(examples)
        label = real.label[columns:]
        lines = [real.image[columns:]]
        with self.compute.autocast():
            for line in range(LINES):
                seeds = [step_seed(self.seed, column, 1 + line) for column in range(columns)]
                lines.append(model.images(label, seeds, model.truncation))
            lines.append(model.images(label, [self.seed] * columns, 0.0))
        return tile(lines)


def adam(parameters: Sequence[nn.Parameter], rate: float, betas: tuple[float, float], every: int | None = None) -> Adam:
    """Adam of a constant rate that :func:`learning_rate_decay` is applied to. With a penalty in each ``every``-th step
    alone, which is weighed by that number, rate and moments are those of StyleGAN2's appendix B."""
    part = 1.0 if every is None else every / (every + 1)
    beta1, beta2 = betas
    optimizer = Adam(parameters, lr=rate * part, betas=(beta1**part, beta2**part))
    for group in optimizer.param_groups:
        group["initial_lr"] = group["lr"]
    return optimizer


class NoiseModel(TrainedModel[NoiseNetworks]):
    """Implements :class:`defectaug.methods.base.GenerativeModel`."""

    @torch.inference_mode()
    def images(self, product: Tensor, defect: Tensor, seeds: Sequence[int]) -> Tensor:
        """Images (N, C, S, S) in [-1, 1] of products and defects (N,), each from its own seed alone."""
        label = self.networks.label(product, defect).to(self.device)
        with self.compute.autocast():
            return self.networks.images(label, seeds, self.networks.truncation).float().clamp(-1, 1)


