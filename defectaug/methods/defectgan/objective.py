"""One pass of defacement and restoration, and the terms of D and G on it.

A normal source is defaced with its target and then restored; a defective one is restored, and then defaced with its own
class. So one batch goes both ways, and comes back. Both ways count alike, however many sources of it go which way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from defectaug.config.schema import DefectGANConfig
from defectaug.methods.adversarial import NORMAL, OnImages, Terms, TrainingBatch
from defectaug.methods.defectgan import losses
from defectaug.methods.defectgan.model import DefectGAN
from defectaug.methods.layers import Layers


@dataclass(frozen=True)
class Pass:
    """The way there, to the classes ``label`` (N,), and the way back; ``weight`` (N,) is what each row counts."""

    label: Tensor
    there: Layers
    back: Layers
    weight: Tensor


def ways(defect: Tensor) -> Tensor:
    """Weights (N,) of sources of classes (N,), 1 on average, by which those that are defaced and those that are
    restored count alike. Without them most generated images of a balanced batch are normal and most real ones
    defective, and D_src takes a defect for a sign that an image is real."""
    normal = (defect == NORMAL).float()
    share = normal.mean()
    if not 0 < float(share) < 1:
        return torch.ones_like(normal)
    return (normal / share + (1 - normal) / (1 - share)) / 2


class Objective(OnImages):
    """The terms of section 3.3."""

    model: DefectGAN
    weights: DefectGANConfig

    def weights_at(self, fraction: float) -> Mapping[str, float]:
        """They stay as they are."""
        return vars(self.weights)

    def forward(self, batch: TrainingBatch, rng: torch.Generator) -> Pass:
        """Defaces normal sources, restores defective ones, and the other way round."""
        generator, device = self.model.generator, batch.image.device
        label = torch.where(batch.defect == NORMAL, batch.target, NORMAL)
        noise = [generator.draw_noise(len(batch), rng, device) for _ in range(2)]
        there = generator(batch.image, self.model.control(label), noise[0])
        back = generator(there.image, self.model.control(batch.defect), noise[1])
        return Pass(label, there, back, ways(batch.defect))

    def discriminator_terms(self, batch: TrainingBatch, out: Pass, rng: torch.Generator) -> Terms:
        """D_src on real and generated images, D_cls on real ones alone."""
        count = len(batch)
        predicted = self.model.discriminator(self.seen(torch.cat([batch.image, out.there.image.detach()]), rng))
        real, fake = predicted[:count], predicted[count:]
        return {
            "d_adversarial": losses.adversarial_d(real.real, fake.real, out.weight),
            "d_real_class": losses.classification(real.label, batch.defect),
        }

    def r1(self, batch: TrainingBatch, rng: torch.Generator) -> Tensor:
        """R1 on real images."""
        x = self.seen(batch.image, rng).detach().requires_grad_(True)
        return losses.r1(self.model.discriminator(x).real, x)

    def generator_terms(self, batch: TrainingBatch, out: Pass, rng: torch.Generator) -> Terms:
        predicted, weight = self.model.discriminator(self.seen(out.there.image, rng)), out.weight
        return {
            "adversarial": losses.adversarial_g(predicted.real, weight),
            "fake_class": losses.classification(predicted.label, out.label, weight),
            "cycle": losses.cycle(batch.image, out.back.image, weight),
            "mask_cycle": losses.mask_cycle(out.there.mask, out.back.mask, weight),
            "mask_area": losses.mask_area(out.there.mask, out.back.mask, weight),
        }

    def warmup_terms(self, batch: TrainingBatch, rng: torch.Generator) -> tuple[Terms, Terms]:
        """D learns to tell classes before G plays against it."""
        predicted = self.model.discriminator(self.seen(batch.image, rng))
        return {"d_real_class": losses.classification(predicted.label, batch.defect)}, {}

    def measures(self, out: Pass) -> Terms:
        """How much of an image the way there changes."""
        return {"painted": out.there.mask.detach().mean()}
