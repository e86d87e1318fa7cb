"""The objective of the layered form: one pass of the networks, and the terms of D and of M, E, G on it.

The paper's equations stay, with weights around the defects, and losses for the layers are added. D also sees the
sources whose defect was taken away, as normal images.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from defectaug.config.schema import LossConfig
from defectaug.methods.adversarial import NORMAL, OnImages, Terms, TrainingBatch
from defectaug.methods.dtgan import losses as paper
from defectaug.methods.dtgan.anchor import is_defective
from defectaug.methods.dtgan.codes import Codes
from defectaug.methods.dtgan.guides import LatentGuide, ReferenceGuide, mixtures
from defectaug.methods.dtgan.mapping import Latent
from defectaug.methods.dtgan.objective import class_terms, r1_penalty
from defectaug.methods.layered import losses
from defectaug.methods.layered.generator import Background, Layers
from defectaug.methods.layered.model import LayeredGAN
from defectaug.nn.frozen import frozen
from defectaug.nn.schedules import ramp


@dataclass(frozen=True)
class Pass:
    """One pass of M, E and G over a batch, its graph kept."""

    background: Background
    codes: Codes  # (c, s) of the targets
    layers: Layers
    fake: Tensor  # G(x, c, s)
    own: Codes  # E_y(x)
    direct: Layers  # of E_y(x), over its own source
    latent: Latent  # of the first rows
    restored: Tensor  # numbers of half of the rows, the defective ones first: their clean images are fakes too


@dataclass(frozen=True)
class Focus:
    """Weights (N, 1, S, S), of mean about 1, that the terms give to the surroundings of a defect."""

    image: Tensor
    cycle: Tensor
    code: Tensor
    own_code: Tensor


class Objective(OnImages):
    """Eqs. (1) to (7) with R1, and the terms of the layers."""

    model: LayeredGAN
    weights: LossConfig

    def weights_at(self, fraction: float) -> Mapping[str, float]:
        """That of the opacities' area rises once defects have been found; Eq. (4) is maximised, and fades."""
        w = self.weights
        return vars(w) | {"diversity": -w.diversity * (1 - fraction), "area": ramp(fraction, w.area, w.area_end)}

    def forward(self, batch: TrainingBatch, rng: torch.Generator) -> Pass:
        """Renders every source with its target defect, and with its own."""
        model, count = self.model, batch.guided
        latent = model.mapping.draw(count, rng, batch.image.device)
        codes = ReferenceGuide(model.encoder, batch.reference[count:]).codes(batch.target[count:])
        if count:
            by_latent = LatentGuide(model.mapping, latent, batch.product[:count]).codes(batch.target[:count])
            codes = Codes.cat([by_latent, codes])
        background = model.generator.background(batch.image)
        layers = model.generator.layers(background.canvas, codes)
        own = model.encoder(batch.image, batch.defect)
        direct = model.generator.layers(background.canvas, own)
        # Always as many rows: a new shape costs the CPU's convolution library a compilation.
        restored = (~is_defective(batch.defect)).to(torch.uint8).argsort(stable=True)[: len(batch) // 2]
        return Pass(background, codes, layers, layers.over(background.clean), own, direct, latent, restored)

    @staticmethod
    def fakes(batch: TrainingBatch, out: Pass) -> tuple[Tensor, Tensor, Tensor]:
        """Painted and restored images, and the defects and products that they are to show."""
        return (
            torch.cat([out.fake, out.background.clean[out.restored]]),
            torch.cat([batch.target, torch.full_like(out.restored, NORMAL)]),
            torch.cat([batch.product, batch.product[out.restored]]),
        )

    # --- D ---------------------------------------------------------------------------------------------------

    def discriminator_terms(self, batch: TrainingBatch, out: Pass, rng: torch.Generator) -> Terms:
        """Eq. (1), and Eqs. (6), (7) on real images alone: D's classifiers must not learn from fakes."""
        count = len(batch)
        images, defect, product = self.fakes(batch, out)
        predicted = self.model.discriminator(self.seen(torch.cat([batch.image, images.detach()]), rng))
        real, fake = predicted[:count], predicted[count:]
        adversarial = paper.adversarial_d(real.of(batch.defect, batch.product), fake.of(defect, product))
        return {"d_adversarial": adversarial} | class_terms(real, batch.defect, batch.product, "d_")

    def r1(self, batch: TrainingBatch, rng: torch.Generator) -> Tensor:
        """R1 on real images."""
        return r1_penalty(self.model.discriminator, self.seen(batch.image, rng), batch)

    # --- M, E, G ---------------------------------------------------------------------------------------------

    def generator_terms(self, batch: TrainingBatch, out: Pass, rng: torch.Generator) -> Terms:
        images, defect, product = self.fakes(batch, out)
        predicted = self.model.discriminator(self.seen(images, rng))
        terms = {"adversarial": paper.adversarial_g(predicted.of(defect, product))}
        terms |= class_terms(predicted, defect, product)
        # E does not follow its own codes of fakes: they would shrink to one constant. The way back starts from the
        # finished image: through it, G would hide notes to itself.
        found = frozen(self.model.encoder, out.fake, batch.target)
        back = self.model.generator.background(out.fake.detach())
        focus = focus_of(batch.image, out)
        terms |= self._consistency_terms(batch, out, found, back, focus)
        terms |= layer_terms(batch, out, back)
        if self.weights.diversity:
            terms["diversity"] = self._diversity(batch, out)
        return terms

    def _consistency_terms(
        self, batch: TrainingBatch, out: Pass, found: Codes, back: Background, focus: Focus
    ) -> Terms:
        """Eqs. (2), (3), (5) and G(x, E(x)) = x."""
        x, direct = batch.image, out.direct
        terms = {
            "code": losses.code_reconstruction(out.codes.detach(), found, focus.code, same_product(batch)),
            "cycle": losses.weighted_l1(x, direct.over(back.clean), focus.cycle),
            "direct": losses.weighted_l1(x, direct.over(out.background.clean), focus.image),
        }
        if self.weights.split:  # E does not follow G's code: they would agree on nothing
            there = losses.weighted_l1(out.background.code, out.own.c.detach(), focus.own_code)
            terms["split"] = there + losses.weighted_l1(back.code, found.c.detach(), focus.code)
        return terms

    def _diversity(self, batch: TrainingBatch, out: Pass) -> Tensor:
        """Eq. (4) on the first half of the latents, the other half's codes beside theirs."""
        count = batch.guided // 2
        if not count:
            return out.fake.new_zeros(())
        guide = LatentGuide(self.model.mapping, out.latent[count : 2 * count], batch.product[:count])
        canvas = out.background.canvas[:count]
        others = [self.model.generator.render(canvas, codes) for codes in mixtures(out.codes[:count], guide)]
        # Normal targets have no defect to differ in.
        return paper.diversity([out.fake[:count], *others], is_defective(batch.target[:count]))

    @torch.no_grad()
    def measures(self, out: Pass) -> Terms:
        """Mean opacities of what was painted, and of what was removed from the sources that D sees restored."""
        return {"painted": out.layers.opacity.mean(), "removed": out.background.removed[out.restored].mean()}

    # --- warm-up ---------------------------------------------------------------------------------------------

    def warmup_terms(self, batch: TrainingBatch, rng: torch.Generator) -> tuple[Terms, Terms]:
        """D learns to tell classes, G to give normal images back, before they play against each other."""
        predicted = self.model.discriminator(self.seen(batch.image, rng))
        of_discriminator = class_terms(predicted, batch.defect, batch.product, "d_")
        normal = (~is_defective(batch.defect)).nonzero().flatten()
        if not len(normal):
            return of_discriminator, dict.fromkeys(("fill", "area"), batch.image.new_zeros(()))
        source = batch.image[normal]
        background = self.model.generator.background(source)
        return of_discriminator, {
            "fill": paper.reconstruction(source, background.fill),
            "area": background.removed.mean(),
        }


def same_product(batch: TrainingBatch) -> Tensor:
    """(N,) 1 where the reference is of the source's product, 0 elsewhere. CHOICE: from one product to another a look
    may change, as D's branches by product demand; Eq. (2) would hold a dark scratch dark where all scratches are
    bright."""
    by_reference = torch.arange(len(batch), device=batch.product.device) >= batch.guided
    return ((batch.reference_product == batch.product) & by_reference).float()


def focus_of(x: Tensor, out: Pass) -> Focus:
    """Weights around what a pass paints on sources (N, C, S, S), and what it removes from them."""
    clean, painted = out.background.clean, out.layers.opacity
    removed = torch.maximum(out.direct.opacity, out.background.removed)
    # By what the defect changes: under a wide opacity a thin line would count for little.
    changed = removed * losses.contrast(clean, x, out.direct.over(clean))
    repainted = painted * losses.contrast(clean, out.fake)
    return Focus(
        image=losses.emphasis(changed),
        cycle=losses.emphasis(torch.maximum(changed, repainted)),
        code=losses.emphasis(painted),
        own_code=losses.emphasis(removed),
    )


def layer_terms(batch: TrainingBatch, out: Pass, back: Background) -> Terms:
    """Painted opacities are found again in the painted images, all are small, and the fill is the normal image."""
    first, painted, own = out.background, out.layers.opacity, out.direct.opacity
    normal = (~is_defective(batch.defect)).to(own.dtype)[:, None, None, None]
    found = losses.mask_match(back.removed, painted.detach())
    agreed = losses.mask_match(first.removed, own.detach()) + losses.mask_match(own, first.removed.detach())
    fill = losses.weighted_l1(batch.image, first.fill, 1 - own.detach())
    return {
        "mask": found + 0.5 * agreed,
        "area": painted.mean() + own.mean() + 2 * (first.removed * normal).mean(),
        "fill": fill + losses.weighted_l1(first.clean.detach(), back.fill, losses.emphasis(painted)),
    }
