"""The training step written plainly, as reference implementations do: fp32, contiguous layout, fakes made anew for each
player and guide, and for every loss term the passes that it needs, none shared with another term.

It computes the same terms from the same random numbers as the step that the package takes, so that the two can be held
together (`tests/test_benchmarks.py`) and their speeds compared. Their gradients are the same too, but for the leak of
:class:`defectaug.methods.dtgan.codes.SoftThreshold`, which is not linear: there it matters which terms share a pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from defectaug.config.schema import Config
from defectaug.data.batches import Batch
from defectaug.device import Compute
from defectaug.methods.dtgan import losses
from defectaug.methods.dtgan.anchor import NORMAL, is_defective
from defectaug.methods.dtgan.codes import Codes
from defectaug.methods.dtgan.discriminator import Verdict
from defectaug.methods.dtgan.generator import Background, Rendered
from defectaug.methods.dtgan.guides import LatentGuide, ReferenceGuide
from defectaug.methods.dtgan.mapping import Latent
from defectaug.methods.dtgan.method import DTGANMethod
from defectaug.methods.dtgan.model import DTGAN
from defectaug.methods.dtgan.objective import Objective, Pass, Terms, TrainingBatch
from defectaug.methods.layered.shape_bank import ShapeMemory
from defectaug.nn.augment import differentiable_augment
from defectaug.nn.frozen import held
from defectaug.nn.rows import Rows
from defectaug.nn.schedules import ema_decay, step_seed


class PlainMethod(DTGANMethod):
    """The networks of :class:`DTGANMethod` under a plain step."""

    def __init__(self, config: Config, domains: int, products: int, device: torch.device, seed: int) -> None:
        super().__init__(config, domains, products, Compute(device, bf16=False), seed)
        self.model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        self.average.shadow.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group["foreach"] = False

    def play(self, batch: Batch, step: int, done: float) -> dict[str, float]:
        """One full step of D and of M, E, G (no warm-up); its terms."""
        rows = self._ready(batch)
        rows = replace(rows, image=rows.image.contiguous(), reference=rows.reference.contiguous())
        generator = torch.Generator().manual_seed(step_seed(self.seed, step))
        latent = self.model.mapping.draw(rows.guided.count, generator, rows.image.device)
        plain = PlainStep(self.model, self.objective, rows, latent)
        read = plain.codes(1).detach()
        theirs = plain.discriminator_terms(generator)
        loss = self.objective.total(theirs)
        if step % self.config.run.r1_every == 0 and self.config.loss.r1:
            penalty = self.objective.r1_term(self.model, rows, generator)
            loss = loss + self.config.run.r1_every * self.config.loss.r1 * penalty
        loss.backward()
        self._take("discriminator_optimizer")
        ours = plain.generator_terms(generator)
        self.objective.total(ours, done).backward()
        self._take("generator_optimizer")
        if isinstance(self.model.mapping, ShapeMemory):
            first = rows.guided.count
            self.model.mapping.remember(read, rows.reference_product[first:], rows.reference_index[first:])
        self._average(step)
        return {name: float(value.detach()) for name, value in (theirs | ours).items()}

    def _take(self, name: str) -> None:
        self.optimizers[name].step()
        for optimizer in self.optimizers.values():  # D has gathered gradients in G's step too
            optimizer.zero_grad(set_to_none=True)

    @torch.no_grad()
    def _average(self, step: int) -> None:
        decay = ema_decay(step, self.config.optimizer.ema)
        for ours, live in zip(self.average.shadow.parameters(), self.model.parameters(), strict=True):
            ours.copy_(torch.lerp(live, ours, decay))


@dataclass(frozen=True)
class PlainStep:
    """Terms of one batch; every method makes its own passes."""

    model: DTGAN
    objective: Objective
    batch: TrainingBatch
    latent: Latent

    # --- passes ----------------------------------------------------------------------------------------------

    def halves(self) -> list[slice]:
        """Rows that latents guide, and those that references guide."""
        half = self.batch.guided.count
        return [slice(0, half), slice(half, None)]

    def guides(self) -> tuple[int, ...]:
        """Which of the two there are."""
        return (0, 1) if self.batch.guided.count else (1,)

    def codes(self, half: int) -> Codes:
        rows, b = self.halves()[half], self.batch
        if half == 0:
            return LatentGuide(self.model.mapping, self.latent, b.product[rows]).codes(b.target[rows])
        return ReferenceGuide(self.model.encoder, b.reference[rows]).codes(b.target[rows])

    def painted(self, half: int) -> tuple[Codes, Rendered]:
        codes = self.codes(half)
        return codes, self.model.generator(self.batch.image[self.halves()[half]], codes)

    def chosen(self) -> Tensor:
        """Sources whose defect is taken away for D to see."""
        count = len(self.batch.image) // 2 if self.model.net.generator == "layered" else 0
        order = (~is_defective(self.batch.defects)).to(torch.uint8).argsort(stable=True)
        return order[:count].to(self.batch.image.device)

    def restored(self) -> Tensor:
        x = self.batch.image[self.chosen()]
        clean = self.model.generator.background(x).clean if len(x) else x
        assert clean is not None
        return clean

    # --- D ---------------------------------------------------------------------------------------------------

    def discriminator_terms(self, generator: torch.Generator) -> Terms:
        b = self.batch
        with torch.no_grad():
            fakes = [self.painted(half)[1].image for half in self.guides()] + [self.restored()]
        seen = self.seen([b.image, *fakes], generator)
        real = self.model.discriminator(seen[0])
        made = self.judged(seen[1:])
        terms = {"d_adversarial": losses.adversarial_d(real.of(b.defect, b.product), made.of(*self.aims()))}
        terms |= self.objective.class_terms(real, b.defect, b.product, 1.0, "d_")
        return terms

    def seen(self, sets: list[Tensor], generator: torch.Generator) -> list[Tensor]:
        """Sets of images as D sees them, with the random numbers that they would get as one set."""
        if not self.objective.augment:
            return sets
        state, count = generator.get_state(), sum(map(len, sets))
        shown = []
        for images, mine in zip(sets, torch.arange(count).split([len(s) for s in sets]), strict=True):
            generator.set_state(state)
            rest = torch.tensor([row for row in range(count) if row not in mine.tolist()], dtype=torch.long)
            shown.append(differentiable_augment(images, generator, rows=Rows((mine, rest))))
        return shown

    def judged(self, sets: list[Tensor]) -> Verdict:
        """D's verdicts on some sets, a pass each."""
        parts = [self.model.discriminator(images) for images in sets if len(images)]
        real, defect, product = (
            None if getattr(parts[0], name) is None else torch.cat([getattr(p, name) for p in parts])
            for name in ("real", "defect", "product")
        )
        assert real is not None
        return Verdict(real, defect, product)

    def aims(self) -> tuple[Tensor, Tensor]:
        b, chosen = self.batch, self.chosen()
        return torch.cat([b.target, torch.full_like(chosen, NORMAL)]), torch.cat([b.product, b.product[chosen]])

    # --- M, E, G ---------------------------------------------------------------------------------------------

    def generator_terms(self, generator: torch.Generator) -> Terms:
        pairs = [self.painted(half) for half in self.guides()]
        verdict = self.judged(self.seen([*(fake.image for _, fake in pairs), self.restored()], generator))
        aims, products = self.aims()
        terms = {"adversarial": losses.adversarial_g(verdict.of(aims, products))}
        terms |= self.objective.class_terms(verdict, aims, products, 1.0)
        for half, (codes, fake) in zip(self.guides(), pairs, strict=True):
            share = len(codes) / len(self.batch.image)
            for name, value in self.consistency(half, codes, fake):
                terms[name] = terms.get(name, 0) + share * value
        diverse = self.batch.guided.count and self.objective.weights.diversity
        return terms | (self.diversity(*pairs[0]) if diverse else {})

    def consistency(self, half: int, codes: Codes, fake: Rendered) -> Iterator[tuple[str, Tensor]]:
        fresh = Fresh(self, half, codes, fake)
        weights, layered = self.objective.weights, fake.opacity is not None
        styled = self.batch.at_home[self.halves()[half]] if layered else None
        yield "code", losses.code_reconstruction(codes.detach(), fresh.again(), fresh.focus("code"), styled)
        yield "cycle", losses.weighted_l1(fresh.x, fresh.cycle().image, fresh.focus("cycle"))
        if weights.split:
            there = losses.split_consistency(fresh.background().code, fresh.own().c, fresh.focus("own_code"))
            back = losses.split_consistency(fresh.back().code, fresh.again().c.detach(), fresh.focus("code"))
            yield "split", there + back
        if layered or weights.direct:
            yield "direct", losses.weighted_l1(fresh.x, fresh.direct().image, fresh.focus("image"))
        if layered:
            made = fresh.as_pass()
            yield from self.objective._layer_terms(fresh.rows(), made, fresh.back(), fresh.direct()).items()

    def diversity(self, codes: Codes, fake: Rendered) -> Terms:
        count = self.batch.guided.count // 2
        rows = is_defective(self.batch.target[:count]).nonzero().flatten()
        if not len(rows):
            return {}
        first, x = codes[rows], self.batch.image[rows]
        guide = LatentGuide(self.model.mapping, self.latent[rows + count], self.batch.product[rows])
        other = guide.codes(first.defect)
        mixed = [other, first.with_style(other), other.with_style(first)]
        renders = [fake.image[rows]] + [self.model.generator(x, codes).image for codes in mixed]
        return {"diversity": losses.diversity(renders)}


@dataclass(frozen=True)
class Fresh:
    """Passes on one half of a batch, each made when it is asked for, and again when it is asked for again."""

    step: PlainStep
    half: int
    codes: Codes
    fake: Rendered

    @property
    def x(self) -> Tensor:
        return self.step.batch.image[self._slice]

    @property
    def _slice(self) -> slice:
        return self.step.halves()[self.half]

    def own(self) -> Codes:
        return self.step.model.encoder(self.x, self.step.batch.defect[self._slice])

    def again(self) -> Codes:
        encoder, target = self.step.model.encoder, self.step.batch.target[self._slice]
        return encoder(self.fake.image, target) if self.fake.opacity is None else held(encoder, self.fake.image, target)

    def background(self) -> Background:
        return self.step.model.generator.background(self.x)

    def back(self) -> Background:
        image = self.fake.image
        return self.step.model.generator.background(image if self.fake.opacity is None else image.detach())

    def direct(self) -> Rendered:
        return self.step.model.generator.render(self.background(), self.own())

    def cycle(self) -> Rendered:
        if self.fake.opacity is None:
            return self.step.model.generator.render(self.back(), self.own())
        return self.step.model.generator.repaint(self.back(), self.own(), self.direct())

    def focus(self, name: str) -> Tensor | None:
        """Weights around the defect, in the layered form."""
        if self.fake.opacity is None:
            return None
        with torch.no_grad():
            focus = self.step.objective.focus(self.x, self.as_pass(), self.direct(), self.codes.c.shape[-1])
        return getattr(focus, name)

    def rows(self) -> TrainingBatch:
        return replace(self.step.batch, image=self.x)

    def as_pass(self) -> Pass:
        """What the layered form's terms look at."""
        defective = is_defective(self.step.batch.defect[self._slice])
        none, rows = torch.zeros(0), Rows.split(0)
        return Pass(
            self.background(), self.codes, self.fake, self.own(), none, none, rows, defective, self.step.latent
        )
