"""The training step written plainly, as reference implementations do: fp32, contiguous layout, fakes made anew for each
player and guide, and for every loss term the passes that it needs, none shared with another term.

It computes the same terms from the same random numbers as the step that the package takes, so that the two can be
compared (`tests/test_benchmarks.py`), and their speeds too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from defectaug.config.schema import Config
from defectaug.data.batches import Batch
from defectaug.device import Compute
from defectaug.methods.adversarial import AdversarialMethod, Networks, Terms, TrainingBatch, weighted_sum
from defectaug.methods.base import trainer
from defectaug.methods.dtgan import losses
from defectaug.methods.dtgan.anchor import is_defective
from defectaug.methods.dtgan.codes import Codes
from defectaug.methods.dtgan.discriminator import Predictions
from defectaug.methods.dtgan.mapping import Latent
from defectaug.methods.dtgan.objective import class_terms
from defectaug.nn.schedules import ema_decay, step_seed


def trained(config: Config, domains: int, products: int, compute: Compute, seed: int) -> Any:
    """Fresh networks of the settings' method."""
    return trainer(config.method)(config, domains, products, compute, seed)


class PlainMethod:
    """The networks and optimisers of a method under a plain step."""

    def __init__(self, config: Config, domains: int, products: int, device: torch.device, seed: int) -> None:
        compute = Compute(device, bf16=False)
        self.method: AdversarialMethod[Any, Any] = trained(config, domains, products, compute, seed)
        self.config, self.optimizers, self.average = config, self.method.optimizers, self.method.average
        for networks in (self.method.model, self.average.shadow):
            networks.to(memory_format=torch.contiguous_format)
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group["foreach"] = False

    def step(self, batch: Batch, step: int, fraction: float) -> dict[str, float]:
        """One full step of D and of M, E, G (no warm-up); its terms."""
        model, objective, run = self.method.model, self.method.objective, self.config.run
        rows = TrainingBatch.on(self.method.compute.device, batch, int(len(batch) * run.latent_share))
        rows = replace(rows, image=rows.image.contiguous(), reference=rows.reference.contiguous())
        rng = torch.Generator().manual_seed(step_seed(self.method.seed, step))
        plain = PlainStep(model, objective, rows, model.mapping.draw(rows.guided, rng, rows.image.device))
        weights = objective.weights_at(fraction)
        of_discriminator = plain.discriminator_terms(rng)
        loss = weighted_sum(of_discriminator, weights)
        if step % run.r1_every == 0 and weights["r1"]:
            loss = loss + run.r1_every * weights["r1"] * objective.r1(rows, rng)
        loss.backward()
        self._take("discriminator_optimizer")
        of_generator = plain.generator_terms(rng)
        weighted_sum(of_generator, weights).backward()
        self._take("generator_optimizer")
        self._average(step)
        return {name: float(value.detach()) for name, value in (of_discriminator | of_generator).items()}

    def _take(self, name: str) -> None:
        self.optimizers[name].step()
        for optimizer in self.optimizers.values():  # D has gathered gradients in G's step too
            optimizer.zero_grad(set_to_none=True)

    @torch.no_grad()
    def _average(self, step: int) -> None:
        decay = ema_decay(step, self.config.optimizer.ema)
        for kept, live in zip(self.average.shadow.parameters(), self.method.model.parameters(), strict=True):
            kept.copy_(torch.lerp(live, kept, decay))


@dataclass(frozen=True)
class PlainStep:
    """Terms of one batch; every term makes its own passes."""

    model: Networks
    objective: Any
    batch: TrainingBatch
    latent: Latent

    # --- passes ----------------------------------------------------------------------------------------------

    def halves(self) -> list[slice]:
        """Rows that latents guide, and those that references guide."""
        return [slice(0, self.batch.guided), slice(self.batch.guided, None)]

    def codes(self, half: int) -> Codes:
        rows, b = self.halves()[half], self.batch
        if half == 0:
            return self.model.mapping(self.latent, b.target[rows])
        return self.model.encoder(b.reference[rows], b.target[rows]).detach()

    def painted(self, half: int) -> tuple[Codes, Tensor]:
        codes = self.codes(half)
        return codes, self.model.generator(self.batch.image[self.halves()[half]], codes)

    # --- D ---------------------------------------------------------------------------------------------------

    def discriminator_terms(self, rng: torch.Generator) -> Terms:
        b = self.batch
        with torch.no_grad():
            fakes = [self.painted(half)[1] for half in (0, 1)]
        real_images, *seen = self.seen([b.image, *fakes], rng)
        real = self.model.discriminator(real_images)
        fake = self.predicted(seen)
        terms = {"d_adversarial": losses.adversarial_d(real.of(b.defect, b.product), fake.of(b.target, b.product))}
        return terms | class_terms(real, b.defect, b.product, "d_")

    def seen(self, sets: list[Tensor], rng: torch.Generator) -> list[Tensor]:
        """Sets of images as D sees them."""
        return list(self.objective.seen(torch.cat(sets), rng).split([len(images) for images in sets]))

    def predicted(self, sets: list[Tensor]) -> Predictions:
        """D's predictions for some sets, a pass each."""
        parts = [self.model.discriminator(images) for images in sets]
        real, defect, product = (
            None if getattr(parts[0], name) is None else torch.cat([getattr(p, name) for p in parts])
            for name in ("real", "defect", "product")
        )
        assert real is not None
        return Predictions(real, defect, product)

    # --- M, E, G ---------------------------------------------------------------------------------------------

    def generator_terms(self, rng: torch.Generator) -> Terms:
        pairs, aims = [self.painted(half) for half in (0, 1)], (self.batch.target, self.batch.product)
        outputs = self.predicted(self.seen([fake for _, fake in pairs], rng))
        terms = {"adversarial": losses.adversarial_g(outputs.of(*aims))} | class_terms(outputs, *aims)
        for half, (codes, fake) in enumerate(pairs):
            share = len(codes) / len(self.batch)
            for name, value in self.consistency(half, codes, fake):
                terms[name] = terms.get(name, 0) + share * value
        return terms | (self.diversity(*pairs[0]) if self.objective.weights.diversity else {})

    def consistency(self, half: int, codes: Codes, fake: Tensor) -> Iterator[tuple[str, Tensor]]:
        rows, model, weights = self.halves()[half], self.model, self.objective.weights
        x, defect, target = self.batch.image[rows], self.batch.defect[rows], self.batch.target[rows]
        generator, encoder = model.generator, model.encoder
        yield "code", losses.code_reconstruction(codes.detach(), encoder(fake, target))
        yield "cycle", losses.reconstruction(x, generator(fake, encoder(x, defect)))
        if weights.split:
            there = losses.split_consistency(generator.background(x).code, encoder(x, defect).c)
            back = losses.split_consistency(generator.background(fake).code, encoder(fake, target).c.detach())
            yield "split", there + back
        if weights.direct:
            yield "direct", losses.reconstruction(x, generator(x, encoder(x, defect)))

    def diversity(self, codes: Codes, fake: Tensor) -> Terms:
        count = self.batch.guided // 2
        rows = is_defective(self.batch.target[:count]).nonzero().flatten()
        first, x = codes[rows], self.batch.image[rows]
        other = self.model.mapping(self.latent[rows + count], self.batch.target[rows])
        renders = [fake[rows]] + [self.model.generator(x, codes) for codes in first.mixtures(other)]
        return {"diversity": losses.diversity(renders, torch.ones_like(rows))}
