"""The paper's full objective: one pass of the networks, and the terms of D and of M, E, G on it.

The first rows of a batch are guided by latents, the others by references; the images are rendered once and serve the
steps of both players.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from defectaug.config.schema import LossConfig
from defectaug.methods.adversarial import OnImages, Terms, TrainingBatch
from defectaug.methods.dtgan import losses
from defectaug.methods.dtgan.anchor import anchor_like, is_defective
from defectaug.methods.dtgan.codes import Codes
from defectaug.methods.dtgan.discriminator import Predictions
from defectaug.methods.dtgan.generator import Background
from defectaug.methods.dtgan.mapping import Latent
from defectaug.methods.dtgan.model import DTGAN


@dataclass(frozen=True)
class Pass:
    """One pass of M, E and G over a batch, its graph kept."""

    background: Background
    codes: Codes  # (c, s) of the targets
    render: Tensor  # G(x, c, s)
    fake: Tensor  # what D sees of it, x~
    own: Codes  # E_y(x)
    latent: Latent  # of the first rows


class Objective(OnImages):
    """Eqs. (1) to (7) with R1. Eqs. (3), (4), and G(x, E(x)) = x, are left out where their weight is 0, Eqs. (6), (7)
    where D has no such classifier.

    Args:
        model: the networks.
        weights: of the terms.
        augment: whether D sees augmented images.
        detail: whether x~ is the source with G's change of it, x + G(x, c~, s~) - G(x, c, s), which is what synthesis
            paints, or, as in the paper, G(x, c~, s~).
    """

    model: DTGAN
    weights: LossConfig

    def __init__(self, model: DTGAN, weights: LossConfig, augment: bool, detail: bool = False) -> None:
        super().__init__(model, weights, augment)
        self.detail = detail

    def weights_at(self, fraction: float) -> Mapping[str, float]:
        """Eq. (4) is maximised; its weight falls linearly to 0."""
        return vars(self.weights) | {"diversity": -self.weights.diversity * (1 - fraction)}

    def forward(self, batch: TrainingBatch, rng: torch.Generator) -> Pass:
        """Renders every source with its target defect."""
        model, count = self.model, batch.guided
        latent = model.mapping.draw(count, rng, batch.image.device)
        by_latent = model.mapping(latent, batch.target[:count])
        # E's codes are cut from the graph: it would otherwise look for one constant code that pleases the classifier.
        by_reference = model.encoder(batch.reference[count:], batch.target[count:]).detach()
        codes = Codes.cat([by_latent, by_reference])
        background = model.generator.background(batch.image)
        render = fake = model.generator.render(background, codes)
        own = model.encoder(batch.image, batch.defect)
        if self.detail:
            fake = batch.image + render - model.generator.render(background, own)
        return Pass(background, codes, render, fake, own, latent)

    # --- D ---------------------------------------------------------------------------------------------------

    def discriminator_terms(self, batch: TrainingBatch, out: Pass, rng: torch.Generator) -> Terms:
        """Eq. (1), and Eqs. (6), (7) on real images alone: D's classifiers must not learn from fakes."""
        count = len(batch)
        predicted = self.model.discriminator(self.seen(torch.cat([batch.image, out.fake.detach()]), rng))
        real, fake = predicted[:count], predicted[count:]
        adversarial = losses.adversarial_d(
            real.of(batch.defect, batch.product), fake.of(batch.target, batch.product)
        )
        return {"d_adversarial": adversarial} | class_terms(real, batch.defect, batch.product, "d_")

    def r1(self, batch: TrainingBatch, rng: torch.Generator) -> Tensor:
        """R1 on real images."""
        return r1_penalty(self.model.discriminator, self.seen(batch.image, rng), batch)

    # --- M, E, G ---------------------------------------------------------------------------------------------

    def generator_terms(self, batch: TrainingBatch, out: Pass, rng: torch.Generator) -> Terms:
        model, weights = self.model, self.weights
        predicted = model.discriminator(self.seen(out.fake, rng))
        found = model.encoder(out.fake, batch.target)  # E_y~(G(x, c, s))
        back = model.generator.background(out.fake)
        terms = {
            "adversarial": losses.adversarial_g(predicted.of(batch.target, batch.product)),
            **class_terms(predicted, batch.target, batch.product),
            "code": losses.code_reconstruction(out.codes.detach(), found),
            "cycle": losses.reconstruction(batch.image, model.generator.render(back, out.own)),
        }
        if weights.split:
            there = losses.split_consistency(out.background.code, out.own.c)
            terms["split"] = there + losses.split_consistency(back.code, found.c.detach())
        if weights.diversity:
            terms["diversity"] = self._diversity(batch, out)
        if weights.direct:
            terms["direct"] = self._direct(batch, out)
        return terms

    def _direct(self, batch: TrainingBatch, out: Pass) -> Tensor:
        """G(x, E(x)) = x."""
        return losses.reconstruction(batch.image, self.model.generator.render(out.background, out.own))

    def _diversity(self, batch: TrainingBatch, out: Pass) -> Tensor:
        """Eq. (4) on a quarter of the batch: the four renders of two latents on one source."""
        count = batch.guided // 2
        if not count:
            return out.fake.new_zeros(())
        other = self.model.mapping(out.latent[count : 2 * count], batch.target[:count])
        source = out.background[:count]
        others = [self.model.generator.render(source, codes) for codes in out.codes[:count].mixtures(other)]
        # Normal targets have no defect to differ in.
        return losses.diversity([out.render[:count], *others], is_defective(batch.target[:count]))

    def measures(self, out: Pass) -> Terms:
        return {}

    # --- warm-up ---------------------------------------------------------------------------------------------

    def warmup_terms(self, batch: TrainingBatch, rng: torch.Generator) -> tuple[Terms, Terms]:
        """D learns to tell classes, G to give normal images back, before they play against each other."""
        predicted = self.model.discriminator(self.seen(batch.image, rng))
        of_discriminator = class_terms(predicted, batch.defect, batch.product, "d_")
        normal = (~is_defective(batch.defect)).nonzero().flatten()
        if not len(normal):
            return of_discriminator, {"direct": batch.image.new_zeros(())}
        source = batch.image[normal]
        anchor = anchor_like(self.model.encoder(source, batch.defect[normal]))
        return of_discriminator, {"direct": losses.reconstruction(source, self.model.generator(source, anchor))}


def class_terms(predicted: Predictions, defect: Tensor, product: Tensor, prefix: str = "") -> Terms:
    """Eqs. (6) and (7) where D has the classifier."""
    terms: Terms = {}
    if predicted.defect is not None:
        terms[f"{prefix}defect_class"] = losses.classification(predicted.defect, defect)
    if predicted.product is not None:
        terms[f"{prefix}product_class"] = losses.classification(predicted.product, product)
    return terms


def r1_penalty(discriminator: Callable[[Tensor], Predictions], seen: Tensor, batch: TrainingBatch) -> Tensor:
    """R1 of the branches of the batch's own classes, at its real images as D sees them."""
    x = seen.detach().requires_grad_(True)
    return losses.r1(discriminator(x).of(batch.defect, batch.product), x)
