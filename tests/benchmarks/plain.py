"""The training step written plainly, as reference implementations do: fp32, contiguous layout, fakes made anew for each
player and guide, and for every loss term the passes that it needs, none shared with another term.

It computes the same terms from the same random numbers as the step that the package takes, so that the two can be
compared (`tests/test_benchmarks.py`), and their speeds too. Their gradients are the same too, but for the leak of
:class:`defectaug.methods.layered.codes.SoftThreshold`, which is not linear: there it matters which terms share a pass.
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
from defectaug.methods.adversarial import NORMAL, AdversarialMethod, Networks, Terms, TrainingBatch, weighted_sum
from defectaug.methods.base import method_spec
from defectaug.methods.dtgan import losses
from defectaug.methods.dtgan.anchor import is_defective
from defectaug.methods.dtgan.codes import Codes
from defectaug.methods.dtgan.discriminator import Predictions
from defectaug.methods.dtgan.guides import LatentGuide, ReferenceGuide, mixtures
from defectaug.methods.dtgan.mapping import Latent
from defectaug.methods.dtgan.objective import class_terms
from defectaug.methods.layered import losses as layered
from defectaug.methods.layered.objective import Pass, focus_of, layer_terms, same_product
from defectaug.methods.layered.shape_bank import ShapeBank
from defectaug.nn.frozen import frozen
from defectaug.nn.schedules import ema_decay, step_seed


def trained(config: Config, domains: int, products: int, compute: Compute, seed: int) -> Any:
    """Fresh networks of the settings' method."""
    return method_spec(config.method).train(config, domains, products, compute, seed)


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
        kind = PlainLayeredStep if self.config.method == "layered" else PlainStep
        plain = kind(model, objective, rows, model.mapping.draw(rows.guided, rng, rows.image.device))
        read, weights = plain.codes(1).detach(), objective.weights_at(fraction)
        of_discriminator = plain.discriminator_terms(rng)
        loss = weighted_sum(of_discriminator, weights)
        if step % run.r1_every == 0 and weights["r1"]:
            loss = loss + run.r1_every * weights["r1"] * objective.r1(rows, rng)
        loss.backward()
        self._take("discriminator_optimizer")
        of_generator = plain.generator_terms(rng)
        weighted_sum(of_generator, weights).backward()
        self._take("generator_optimizer")
        if isinstance(model.mapping, ShapeBank):
            model.mapping.store(read, rows.reference_product[rows.guided :], rows.reference_index[rows.guided :])
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
    """Terms of one batch of DT-GAN; every method makes its own passes."""

    model: Networks
    objective: Any
    batch: TrainingBatch
    latent: Latent

    # --- passes ----------------------------------------------------------------------------------------------

    def halves(self) -> list[slice]:
        """Rows that latents guide, and those that references guide."""
        return [slice(0, self.batch.guided), slice(self.batch.guided, None)]

    def guides(self) -> tuple[int, ...]:
        """Which of the two there are."""
        return (0, 1) if self.batch.guided else (1,)

    def codes(self, half: int) -> Codes:
        rows, b = self.halves()[half], self.batch
        if half == 0:
            return LatentGuide(self.model.mapping, self.latent, b.product[rows]).codes(b.target[rows])
        return ReferenceGuide(self.model.encoder, b.reference[rows]).codes(b.target[rows])

    def painted(self, half: int) -> tuple[Codes, Tensor]:
        codes = self.codes(half)
        return codes, self.model.generator(self.batch.image[self.halves()[half]], codes)

    def restored(self) -> list[Tensor]:
        """Further fakes for D to see, and none."""
        return []

    def aims(self) -> tuple[Tensor, Tensor]:
        """Defects and products that the fakes are to show."""
        return self.batch.target, self.batch.product

    # --- D ---------------------------------------------------------------------------------------------------

    def discriminator_terms(self, rng: torch.Generator) -> Terms:
        b = self.batch
        with torch.no_grad():
            fakes = [self.painted(half)[1] for half in self.guides()] + self.restored()
        real_images, *seen = self.seen([b.image, *fakes], rng)
        real = self.model.discriminator(real_images)
        fake = self.predicted(seen)
        terms = {"d_adversarial": losses.adversarial_d(real.of(b.defect, b.product), fake.of(*self.aims()))}
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
        pairs = [self.painted(half) for half in self.guides()]
        outputs = self.predicted(self.seen([*(fake for _, fake in pairs), *self.restored()], rng))
        terms = {"adversarial": losses.adversarial_g(outputs.of(*self.aims()))}
        terms |= class_terms(outputs, *self.aims())
        for half, (codes, fake) in zip(self.guides(), pairs, strict=True):
            share = len(codes) / len(self.batch)
            for name, value in self.consistency(half, codes, fake):
                terms[name] = terms.get(name, 0) + share * value
        diverse = self.batch.guided and self.objective.weights.diversity
        return terms | (self.diversity(*pairs[0]) if diverse else {})

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
        guide = LatentGuide(self.model.mapping, self.latent[rows + count], self.batch.product[rows])
        renders = [fake[rows]] + [self.model.generator(x, codes) for codes in mixtures(first, guide)]
        return {"diversity": losses.diversity(renders, torch.ones_like(rows))}


class PlainLayeredStep(PlainStep):
    """Terms of one batch of the layered form."""

    def chosen(self) -> Tensor:
        """Sources whose defect is taken away for D to see."""
        return (~is_defective(self.batch.defect)).to(torch.uint8).argsort(stable=True)[: len(self.batch) // 2]

    def restored(self) -> list[Tensor]:
        return [self.model.generator.background(self.batch.image[self.chosen()]).clean]

    def aims(self) -> tuple[Tensor, Tensor]:
        b, chosen = self.batch, self.chosen()
        return torch.cat([b.target, torch.full_like(chosen, NORMAL)]), torch.cat([b.product, b.product[chosen]])

    def consistency(self, half: int, codes: Codes, fake: Tensor) -> Iterator[tuple[str, Tensor]]:
        rows, model = self.halves()[half], self.model
        batch, generator, encoder = self.of_half(rows), model.generator, model.encoder
        x = batch.image
        with torch.no_grad():
            focus = focus_of(x, self.as_pass(batch, codes, fake))

        def direct(clean: Tensor) -> Tensor:
            canvas = generator.background(x).canvas
            return generator.layers(canvas, encoder(x, batch.defect)).over(clean)

        found = frozen(encoder, fake, batch.target)
        styled = same_product(self.batch)[rows]
        yield "code", layered.code_reconstruction(codes.detach(), found, focus.code, styled)
        yield "cycle", layered.weighted_l1(x, direct(generator.background(fake.detach()).clean), focus.cycle)
        yield "direct", layered.weighted_l1(x, direct(generator.background(x).clean), focus.image)
        if self.objective.weights.split:
            own = encoder(x, batch.defect).c.detach()
            there = layered.weighted_l1(generator.background(x).code, own, focus.own_code)
            back = generator.background(fake.detach()).code
            yield "split", there + layered.weighted_l1(back, found.c.detach(), focus.code)
        yield from layer_terms(
            batch, self.as_pass(batch, codes, fake), generator.background(fake.detach())
        ).items()

    def of_half(self, rows: slice) -> TrainingBatch:
        tensors = {name: value[rows] for name, value in vars(self.batch).items() if name != "guided"}
        return TrainingBatch(**tensors, guided=0)

    def as_pass(self, batch: TrainingBatch, codes: Codes, fake: Tensor) -> Pass:
        """A pass of its own over one half of the batch, around what was painted there."""
        generator, own = self.model.generator, self.model.encoder(batch.image, batch.defect)
        background = generator.background(batch.image)
        layers = generator.layers(background.canvas, codes)
        direct = generator.layers(background.canvas, own)
        return Pass(background, codes, layers, fake, own, direct, self.latent, torch.zeros(0))
