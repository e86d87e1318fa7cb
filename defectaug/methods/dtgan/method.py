"""DT-GAN as the training loop drives it: one step of D, one of M, E and G, on the same pass."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from defectaug.config.schema import Config
from defectaug.data.batches import Batch
from defectaug.device import Compute
from defectaug.errors import TrainingError
from defectaug.methods.collapse_monitor import Watch
from defectaug.methods.dtgan.anchor import NORMAL
from defectaug.methods.dtgan.codes import Codes
from defectaug.methods.dtgan.model import DTGAN
from defectaug.methods.dtgan.objective import Objective, Pass, Terms, TrainingBatch
from defectaug.methods.dtgan.sample_grid import sample_sheet
from defectaug.methods.dtgan.validation import kernel_distance
from defectaug.methods.layered.shape_bank import ShapeMemory
from defectaug.nn.distributed import ALONE, Team, current_team
from defectaug.nn.ema import Average
from defectaug.nn.schedules import cooling, ema_decay, step_seed

ADVICE = "try --precision fp32, a lower optimizer.rate in --config, or another --seed; the last good state is kept"


class DTGANMethod:
    """Implements :class:`defectaug.methods.base.Method`.

    Args:
        config: all settings.
        domains: number of defect classes, the normal one included.
        products: number of products.
        compute: device and precision.
        seed: of the initial weights and of every step's random numbers.
        team: the processes that train together.
    """

    def __init__(
        self, config: Config, domains: int, products: int, compute: Compute, seed: int, team: Team | None = None
    ) -> None:
        torch.manual_seed(seed)
        team = team or current_team()
        self.config, self.compute, self.seed, self.team = config, compute, seed, team
        self.model = DTGAN(config.network, domains, products)
        self.model.to(compute.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = Average(self.model)
        self.judge = copy.deepcopy(self.model.discriminator).requires_grad_(False)
        self.objective = Objective(config.loss, config.run.augment)
        self.watch = Watch().to(compute.device)  # as all that processes hand to each other
        self.modules: Mapping[str, nn.Module] = {
            "model": self.model,
            "average": self.average.shadow,
            "judge": self.judge,
            "watch": self.watch,
        }
        self.optimizers: Mapping[str, Optimizer] = self._optimizers()

    def _optimizers(self) -> dict[str, Optimizer]:
        o, model = self.config.optimizer, self.model
        shared = {"betas": (o.beta1, o.beta2), "weight_decay": o.weight_decay}
        players = [*model.encoder.parameters(), *model.generator.parameters()]
        groups = [
            {"params": players, "lr": o.rate},
            {"params": list(model.mapping.parameters()), "lr": o.mapping_rate},
        ]
        return {
            "generator_optimizer": Adam(groups, **shared),  # type: ignore[arg-type]
            "discriminator_optimizer": Adam(
                model.discriminator.parameters(), lr=o.discriminator_rate, **shared  # type: ignore[arg-type]
            ),
        }

    # --- one step --------------------------------------------------------------------------------------------

    def step(self, batch: Batch, step: int, fraction: float) -> dict[str, float]:
        """One step of D and one of M, E, G (in warm-up each on its own easy task)."""
        rows = self._ready(batch, self.team)
        generator = torch.Generator().manual_seed(step_seed(self.seed, step))
        if step < self.config.run.warmup:
            self._set_rates(1.0)
            terms = self._warmup(rows, generator)
        else:
            self._set_rates(cooling(fraction, self.config.optimizer.cooldown))
            terms = self._play(rows, generator, step, fraction)
        self.average.update(ema_decay(step, self.config.optimizer.ema))
        values = self.team.sum_values(terms)
        bad = [name for name, value in values.items() if value != value or abs(value) == float("inf")]
        if bad:
            raise TrainingError(f"step {step}: {', '.join(bad)} not finite; {ADVICE}.")
        if "painted" in values:
            self.watch.notice(values["painted"], step)
        return values

    def _set_rates(self, factor: float) -> None:
        o = self.config.optimizer
        for group, rate in zip(
            self.optimizers["generator_optimizer"].param_groups, (o.rate, o.mapping_rate), strict=True
        ):
            group["lr"] = rate * factor
        for group in self.optimizers["discriminator_optimizer"].param_groups:
            group["lr"] = o.discriminator_rate * factor

    def _ready(self, batch: Batch, team: Team = ALONE) -> TrainingBatch:
        """A batch on the device; of a team's batch, the rows that this process holds."""

        def image(x: Tensor) -> Tensor:
            return x.to(self.compute.device, memory_format=torch.channels_last)

        device = self.compute.device
        run = self.config.run
        count = run.batch_size if team.size > 1 else len(batch)
        guided, referred = team.parts(count, run.latent_share)
        defects, targets = (guided + referred).gather(torch.stack([batch.defect, batch.target], dim=1)).unbind(1)
        return TrainingBatch(
            image(batch.image),
            batch.defect.to(device),
            batch.product.to(device),
            batch.target.to(device),
            image(batch.reference),
            batch.reference_product.to(device),
            batch.reference_index.to(device),
            guided,
            referred,
            defects,
            targets,
        )

    def _warmup(self, rows: TrainingBatch, generator: torch.Generator) -> Terms:
        with self.compute.autocast():
            theirs, ours = self.objective.warmup_terms(self.model, rows, generator)
        if theirs:
            self._descend("discriminator_optimizer", self.objective.total(theirs))
        if ours:
            self._descend("generator_optimizer", self.objective.total(ours))
        return theirs | ours

    def _play(self, rows: TrainingBatch, generator: torch.Generator, step: int, done: float) -> Terms:
        with self.compute.autocast():
            made = self.objective.run(self.model, rows, generator)
            theirs = self.objective.discriminator_terms(self.model, rows, made, generator)
        loss = self.objective.total(theirs)
        if step % self.config.run.r1_every == 0 and self.config.loss.r1:
            penalty = self.objective.r1_term(self.model, rows, generator)
            loss = loss + self.config.run.r1_every * self.config.loss.r1 * penalty
        self._descend("discriminator_optimizer", loss)
        for parameter in self.model.discriminator.parameters():
            parameter.requires_grad_(False)
        with self.compute.autocast():
            ours = self.objective.generator_terms(self.model, rows, made, generator)
        self._descend("generator_optimizer", self.objective.total(ours, done))
        self._remember(rows, made)
        for parameter in self.model.discriminator.parameters():
            parameter.requires_grad_(True)
        return theirs | ours | self._opacities(rows, made)

    def _remember(self, batch: TrainingBatch, made: Pass) -> None:
        """What E has read of the references; every process keeps that of all."""
        if isinstance(self.model.mapping, ShapeMemory):
            first, rows = len(batch.guided.mine), batch.referred
            read = made.codes[first:].detach()
            codes = Codes(*(rows.gather(part) for part in (read.c, read.s, read.defect)))
            products, keys = (rows.gather(n[first:]) for n in (batch.reference_product, batch.reference_index))
            self.model.mapping.remember(codes, products, keys)

    def _descend(self, name: str, loss: Tensor) -> None:
        if loss.requires_grad:  # not where all rows of the only terms lie on other processes
            loss.backward()
        self._step(self.optimizers[name])

    def _step(self, optimizer: Optimizer) -> None:
        self.team.sum_gradients([p for group in optimizer.param_groups for p in group["params"]])
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    @staticmethod
    @torch.no_grad()
    def _opacities(batch: TrainingBatch, made: Pass) -> Terms:
        """Opacities, where there are any."""
        opacity, removed = made.fake.opacity, made.background.removed
        if opacity is None or removed is None:
            return {}
        taken = removed[made.rows].mean((1, 2, 3)).sum() / made.restoring.count
        return {"painted": batch.rows.share * opacity.mean(), "removed": taken}

    # --- what the loop saves and shows -----------------------------------------------------------------------

    def weights(self) -> dict[str, Tensor]:
        """Averaged weights of the four networks."""
        return self.average.shadow.state_dict()

    def begin_validation(self) -> None:
        """Keeps D as the warm-up left it: scores stay comparable through the run."""
        self.judge.load_state_dict(self.model.discriminator.state_dict())

    @torch.no_grad()
    def score(self, sources: Batch) -> dict[str, float]:
        """Kernel distance between real defective images and latent-guided ones, in the fixed D's features; the
        unbiased estimate needs no more than a handful of images (Binkowski et al. 2018)."""
        rows = self._ready(sources)
        shadow = self.average.shadow
        generator = torch.Generator().manual_seed(self.seed)
        latent = shadow.mapping.draw(len(rows.image), generator, self.compute.device)
        with self.compute.autocast():
            made = shadow.generator(rows.image, shadow.mapping(latent, rows.target, rows.product)).image
            ours, theirs = (self.judge.trunk(x).float() for x in (made, rows.reference))
        distances = []
        for defect in rows.target.unique().tolist():
            if defect != NORMAL and int((rows.target == defect).sum()) > 1:
                mine = rows.target == defect
                distances.append(kernel_distance(ours[mine], theirs[mine]))
        return {"score": float(torch.stack(distances).mean())} if distances else {}

    @torch.no_grad()
    def grid(self, examples: Batch) -> Tensor:
        """Rows: source, latent-guided, reference, reference-guided, reference reconstructed, its defect removed."""
        rows = self._ready(examples)
        return sample_sheet(self.average.shadow, rows, self.seed)
