"""The paper's objective where the defect is hidden from G in G(x, E(x)) = x (not in the paper)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from defectaug.config.schema import LossConfig
from defectaug.methods.adversarial import Terms, TrainingBatch
from defectaug.methods.dtgan import losses
from defectaug.methods.dtgan.codes import Codes
from defectaug.methods.dtgan.hiding import Hiding, covered
from defectaug.methods.dtgan.model import DTGAN
from defectaug.methods.dtgan.objective import Objective, Pass, class_terms

SILENCE = 0.3  # weight of the code's silence elsewhere, beside G(x, E(x)) = x


class HiddenObjective(Objective):
    """With what features of normal images tell of where defects are: G rebuilds an image whose defect is covered from
    the code of the whole image; this code is silent elsewhere, and what references bring changes nothing elsewhere.

    Args:
        hiding: tells where. Until it is ready the warm-up fills it, and is as without it.
    """

    def __init__(self, model: DTGAN, weights: LossConfig, augment: bool, detail: bool, hiding: Hiding) -> None:
        super().__init__(model, weights, augment, detail)
        self.hiding = hiding

    def warmup_terms(self, batch: TrainingBatch, rng: torch.Generator) -> tuple[Terms, Terms]:
        """D learns to tell classes, G to give images back by E's codes."""
        if not self.hiding.ready:
            self.hiding.look(batch, rng)
            return super().warmup_terms(batch, rng)
        predicted = self.model.discriminator(self.seen(batch.image, rng))
        own = self.model.encoder(batch.image, batch.defect)
        return class_terms(predicted, batch.defect, batch.product, "d_"), {"direct": self._rebuilt(batch, own)}

    def _direct(self, batch: TrainingBatch, out: Pass) -> Tensor:
        """And sources stay where their reference has no defect."""
        return self._rebuilt(batch, out.own) + self._elsewhere(batch, out)

    def _rebuilt(self, batch: TrainingBatch, own: Codes) -> Tensor:
        mask = self.hiding.mask(batch.image, batch.defect, batch.product)
        cover = covered(batch.image, mask)
        there = F.adaptive_max_pool2d(mask, own.c.shape[-1])
        rebuilt = self.model.generator(cover.image, own)
        back = losses.hidden_reconstruction(cover.pasted, cover.share, rebuilt)
        return back + SILENCE * losses.silence(own.c, there)

    def _elsewhere(self, batch: TrainingBatch, out: Pass) -> Tensor:
        """Of sources with a reference what changes where neither has a defect."""
        rows = slice(batch.guided, None)
        mask = self.hiding.mask(batch.image, batch.defect, batch.product)[rows]
        brought = self.hiding.mask(batch.reference[rows], batch.target[rows], batch.reference_product[rows])
        apart = (1 - mask) * (1 - brought)
        return ((out.fake[rows] - batch.image[rows]).abs() * apart).mean()
