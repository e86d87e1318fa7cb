"""What the GANs here share: a step of the discriminator and one of the generator on the same forward pass.

The terms and their weights are each method's own (:class:`Objective`).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from defectaug.config.schema import Config
from defectaug.data.batches import Batch
from defectaug.device import Compute
from defectaug.errors import TrainingError
from defectaug.methods.base import Method
from defectaug.nn.augment import differentiable_augment
from defectaug.nn.distributed import average_values, descend, local_guided, rank
from defectaug.nn.ema import Average
from defectaug.nn.kernel_distance import kernel_distance
from defectaug.nn.schedules import ema_decay, learning_rate_decay, step_seed

ADVICE = "try --precision fp32, a lower optimizer.rate in --config, or another --seed; the last good state is kept"
NORMAL = 0
"""Number of the normal class; class lists put it first."""

Terms = dict[str, Tensor]
"""Loss terms by their names in ``metrics.csv``. D's begin with ``d_``; a name without it is a weight of ``loss``. All
processes of a run have the same names in one step: a term without rows is 0."""
P = TypeVar("P")


@dataclass(frozen=True)
class TrainingBatch(Batch):
    """This process's rows of a step's batch, on the device; latents guide the first ``guided`` ones, references the
    others."""

    guided: int

    @staticmethod
    def on(device: torch.device, batch: Batch, guided: int = 0) -> TrainingBatch:
        """The batch on a device, its images ``channels_last``."""

        def ready(x: Tensor) -> Tensor:
            return x.to(device, memory_format=torch.channels_last) if x.ndim == 4 else x.to(device)

        return TrainingBatch(**{name: ready(x) for name, x in vars(batch).items()}, guided=guided)


class Networks(nn.Module):
    """The four networks of a method: M, E, G and D, modules of its own."""

    mapping: Any
    encoder: Any
    generator: Any
    discriminator: Any

    def sample(self, batch: TrainingBatch, rng: torch.Generator) -> Tensor:
        """The sources with defects of the target classes from latents, (N, C, S, S)."""
        raise NotImplementedError


N = TypeVar("N", bound=Networks)


class Objective(Protocol[P]):
    """The terms that D, and those that M, E and G minimise; ``P`` is what one forward pass leaves."""

    def warmup_terms(self, batch: TrainingBatch, rng: torch.Generator) -> tuple[Terms, Terms]:
        """Terms of D and of M, E, G before they play against each other."""
        ...

    def forward(self, batch: TrainingBatch, rng: torch.Generator) -> P:
        """One pass of M, E and G, its graph kept."""
        ...

    def discriminator_terms(self, batch: TrainingBatch, out: P, rng: torch.Generator) -> Terms: ...

    def r1(self, batch: TrainingBatch, rng: torch.Generator) -> Tensor: ...

    def generator_terms(self, batch: TrainingBatch, out: P, rng: torch.Generator) -> Terms: ...

    def measures(self, out: P) -> Terms:
        """What is logged beside the terms."""
        ...

    def weights_at(self, fraction: float) -> Mapping[str, float]:
        """Weights of the terms when a share ``fraction`` of the run is over."""
        ...


class OnImages:
    """What objectives share whose D sees images.

    Args:
        model: the networks.
        weights: of the terms.
        augment: whether D sees augmented images.
    """

    def __init__(self, model: Any, weights: Any, augment: bool) -> None:
        self.model, self.weights, self.augment = model, weights, augment

    def seen(self, x: Tensor, rng: torch.Generator) -> Tensor:
        """Images as D sees them."""
        return differentiable_augment(x, rng) if self.augment else x


def weighted_sum(terms: Terms, weights: Mapping[str, float]) -> Tensor:
    """Sum of the terms whose weight is not 0."""
    parts = [weight * value for name, value in terms.items() if (weight := weights[name.removeprefix("d_")])]
    return torch.stack(parts).sum() if parts else torch.zeros((), requires_grad=True)


def finite(values: dict[str, float], step: int) -> dict[str, float]:
    """The values of a step as they are.

    Raises:
        TrainingError: one is not finite.
    """
    bad = [name for name, value in values.items() if value != value or abs(value) == float("inf")]
    if bad:
        raise TrainingError(f"step {step}: {', '.join(bad)} not finite; {ADVICE}.")
    return values


class AdversarialMethod(Method, Generic[N, P]):
    """Implements :class:`defectaug.methods.base.Method`.

    Args:
        model: the networks, freshly initialised.
        objective: of these networks.
        config: all settings.
        compute: device and precision.
        seed: of every step's random numbers.
    """

    def __init__(self, model: N, objective: Objective[P], config: Config, compute: Compute, seed: int) -> None:
        self.model, self.objective, self.config, self.compute, self.seed = model, objective, config, compute, seed
        model.to(compute.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = Average(model)
        self.validation_features: nn.Module = copy.deepcopy(model.discriminator.trunk).requires_grad_(False)
        self.modules: dict[str, nn.Module] = {
            "model": model,
            "average": self.average.shadow,
            "validation_features": self.validation_features,
        }
        self.optimizers: dict[str, Optimizer] = self._optimizers()

    def _optimizers(self) -> dict[str, Optimizer]:
        o, model = self.config.optimizer, self.model
        shared: dict[str, Any] = {"betas": (o.beta1, o.beta2), "weight_decay": o.weight_decay}
        groups = [
            {"params": [*model.encoder.parameters(), *model.generator.parameters()], "lr": o.rate},
            {"params": list(model.mapping.parameters()), "lr": o.mapping_rate},
        ]
        return {
            "generator_optimizer": Adam(groups, **shared),
            "discriminator_optimizer": Adam(model.discriminator.parameters(), lr=o.discriminator_rate, **shared),
        }

    # --- one step --------------------------------------------------------------------------------------------

    def step(self, batch: Batch, step: int, fraction: float) -> dict[str, float]:
        """One step of D and one of M, E, G (in warm-up each on its own easy task)."""
        run = self.config.run
        rows = TrainingBatch.on(self.compute.device, batch, local_guided(len(batch), run.latent_share))
        rng = torch.Generator().manual_seed(step_seed(self.seed, step, rank()))
        if step < run.warmup:
            self._set_rates(1.0)
            terms = self._warmup_step(rows, rng)
        else:
            self._set_rates(learning_rate_decay(fraction, self.config.optimizer.cooldown))
            terms = self._adversarial_step(rows, rng, step, fraction)
        self.average.update(ema_decay(step, self.config.optimizer.ema))
        return finite(average_values(terms), step)

    def _set_rates(self, factor: float) -> None:
        o = self.config.optimizer
        players, mapping = self.optimizers["generator_optimizer"].param_groups
        (discriminator,) = self.optimizers["discriminator_optimizer"].param_groups
        players["lr"], mapping["lr"] = o.rate * factor, o.mapping_rate * factor
        discriminator["lr"] = o.discriminator_rate * factor

    def _warmup_step(self, batch: TrainingBatch, rng: torch.Generator) -> Terms:
        with self.compute.autocast():
            of_discriminator, of_generator = self.objective.warmup_terms(batch, rng)
        weights = self.objective.weights_at(0.0)
        descend(self.optimizers["discriminator_optimizer"], weighted_sum(of_discriminator, weights))
        descend(self.optimizers["generator_optimizer"], weighted_sum(of_generator, weights))
        return of_discriminator | of_generator

    def _adversarial_step(self, batch: TrainingBatch, rng: torch.Generator, step: int, fraction: float) -> Terms:
        objective, weights = self.objective, self.objective.weights_at(fraction)
        with self.compute.autocast():
            out = objective.forward(batch, rng)
            of_discriminator = objective.discriminator_terms(batch, out, rng)
        loss = weighted_sum(of_discriminator, weights)
        if step % self.config.run.r1_every == 0 and weights["r1"]:  # in full precision
            loss = loss + self.config.run.r1_every * weights["r1"] * objective.r1(batch, rng)
        descend(self.optimizers["discriminator_optimizer"], loss)
        with constant(self.model.discriminator):
            with self.compute.autocast():
                of_generator = objective.generator_terms(batch, out, rng)
            descend(self.optimizers["generator_optimizer"], weighted_sum(of_generator, weights))
        self._after_step(batch, out)
        return of_discriminator | of_generator | objective.measures(out)

    def _after_step(self, batch: TrainingBatch, out: P) -> None:
        """What a method takes from a pass once both players have learnt from it."""

    # --- what the loop saves and shows -----------------------------------------------------------------------

    def weights(self) -> dict[str, Tensor]:
        """Averaged weights of the four networks."""
        return self.average.shadow.state_dict()

    def begin_validation(self) -> None:
        """Keeps D's features as the warm-up left them: scores stay comparable through the run."""
        self.validation_features.load_state_dict(self.model.discriminator.trunk.state_dict())

    @torch.no_grad()
    def score(self, sources: Batch) -> dict[str, float]:
        """Kernel distance between real defective images and latent-guided ones, in the fixed D's features; the
        unbiased estimate needs no more than a handful of images (Binkowski et al. 2018)."""
        rows = TrainingBatch.on(self.compute.device, sources)
        with self.compute.autocast():
            fake = self.average.shadow.sample(rows, torch.Generator().manual_seed(self.seed))
            found, real = (self.validation_features(x).float() for x in (fake, rows.reference))
        distances = []
        for defect, count in zip(*(x.tolist() for x in sources.target.unique(return_counts=True)), strict=True):
            if defect != NORMAL and count > 1:
                shown = rows.target == defect
                distances.append(kernel_distance(found[shown], real[shown]))
        return {"score": float(torch.stack(distances).mean())} if distances else {}


@contextmanager
def constant(module: nn.Module) -> Iterator[None]:
    """Within, the module's weights take no gradients."""
    module.requires_grad_(False)
    try:
        yield
    finally:
        module.requires_grad_(True)
