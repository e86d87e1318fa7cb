"""One pass over pairs of a normal and a defective image, and the terms of the autoencoder and the domain classifier."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from defectaug.config.schema import MokadyConfig
from defectaug.methods.adversarial import NORMAL, Terms, TrainingBatch
from defectaug.methods.mokady import losses
from defectaug.methods.mokady.model import Mokady

CYCLES = ("cycle_common", "cycle_separate")
TERMS = ("recon1_a", "recon1_b", "recon2_a", "recon2_b", "confusion", *CYCLES)


@dataclass(frozen=True)
class Pass:
    """Normal images a, defective ones b of classes ``label`` (N,), and their codes; N is 0 in a batch that holds no
    normal source."""

    a: Tensor
    b: Tensor
    label: Tensor
    common_a: Tensor
    common_b: Tensor
    separate_b: Tensor


class Objective:
    """Section 3.2 of the paper.

    Args:
        model: the networks.
        weights: of the terms.
    """

    def __init__(self, model: Mokady, weights: MokadyConfig) -> None:
        self.model, self.weights = model, weights

    def weights_at(self, fraction: float) -> Mapping[str, float]:
        """They stay as they are. The game is played on codes, without R1."""
        return vars(self.weights) | {"r1": 0.0}

    def forward(self, batch: TrainingBatch, rng: torch.Generator) -> Pass:
        """The batch's normal sources, each with a reference of its target."""
        rows = ((batch.defect == NORMAL) & (batch.target != NORMAL)).nonzero().flatten()
        a, b, label, encoder = batch.image[rows], batch.reference[rows], batch.target[rows], self.model.encoder
        common_a, common_b = encoder.common(torch.cat([a, b])).chunk(2)
        return Pass(a, b, label, common_a, common_b, encoder.separate(b, label))

    def discriminator_terms(self, batch: TrainingBatch, out: Pass, rng: torch.Generator) -> Terms:
        """The domain classifier tells the common codes of both domains apart."""
        if not len(out.label):
            return {"d_confusion": batch.image.new_zeros(())}
        a, b = self.model.discriminator(torch.cat([out.common_a, out.common_b]).detach()).chunk(2)
        return {"d_confusion": losses.domain(a, b)}

    def r1(self, batch: TrainingBatch, rng: torch.Generator) -> Tensor:
        """None."""
        return batch.image.new_zeros(())

    def generator_terms(self, batch: TrainingBatch, out: Pass, rng: torch.Generator) -> Terms:
        if not len(out.label):  # the names that other processes of the run have
            names = [name for name in TERMS if name not in CYCLES or vars(self.weights)[name]]
            return dict.fromkeys(names, batch.image.new_zeros(()))
        encoder, decoder = self.model.encoder, self.model.generator
        normal_a, normal_b = decoder.normal(torch.cat([out.common_a, out.common_b])).chunk(2)
        # Four layers in one pass: b's defect on D_A's b, on b and on a; and no defect, on a.
        separate = torch.cat([out.separate_b.repeat(3, 1, 1, 1), decoder.absent(out.common_a)])
        focus = self.weights.focus
        # With focus neither D_A nor E_c learns from defects: these would go through the common code, without E_s
        base, common_b = (normal_b.detach(), out.common_b.detach()) if focus else (normal_b, out.common_b)
        common = torch.cat([common_b, common_b, out.common_a, out.common_a])
        layers = decoder.defective(common, separate, torch.cat([base, out.b, out.a, out.a])).image
        rebuilt, kept_b, transferred, kept_a = layers.chunk(4)
        domain_a, domain_b = self.model.discriminator(torch.cat([out.common_a, out.common_b])).chunk(2)
        terms = {
            "recon1_a": losses.reconstruction(out.a, normal_a),
            "recon1_b": losses.focused(out.b, rebuilt, normal_b, focus),
            "recon2_a": losses.reconstruction(out.a, kept_a),
            "recon2_b": losses.reconstruction(out.b, kept_b),
            "confusion": losses.confusion(domain_a, domain_b),
        }
        if self.weights.cycle_common:
            terms["cycle_common"] = losses.cycle(out.common_a, encoder.common(transferred))
        if self.weights.cycle_separate:
            terms["cycle_separate"] = losses.cycle(out.separate_b, encoder.separate(transferred, out.label))
        return terms

    def warmup_terms(self, batch: TrainingBatch, rng: torch.Generator) -> tuple[Terms, Terms]:
        """D_A learns to give normal images back."""
        out = self.forward(batch, rng)
        decoded = self.model.generator.normal(out.common_a)
        return {}, {"recon1_a": losses.reconstruction(out.a, decoded) if len(out.label) else decoded.sum()}

    def measures(self, out: Pass) -> Terms:
        return {}
