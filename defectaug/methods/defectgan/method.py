"""Defect-GAN as the training loop drives it."""

from __future__ import annotations

import torch
from torch import Tensor

from defectaug.config.schema import Config
from defectaug.data.batches import Batch
from defectaug.device import Compute
from defectaug.methods.adversarial import NORMAL, AdversarialMethod, TrainingBatch
from defectaug.methods.base import Method
from defectaug.methods.defectgan.model import DefectGAN
from defectaug.methods.defectgan.objective import Objective, Pass
from defectaug.methods.sample_grid import tile


class DefectGANMethod(AdversarialMethod[DefectGAN, Pass]):
    """The two networks under their objective.
    Arguments as of :attr:`defectaug.methods.base.MethodSpec.train`."""

    score = Method.score  # none: the last weights are the ones to keep

    def __init__(self, config: Config, classes: int, products: int, compute: Compute, seed: int) -> None:
        torch.manual_seed(seed)
        model = DefectGAN(config.network, classes)
        super().__init__(model, Objective(model, config.defectgan, config.run.augment), config, compute, seed)

    @torch.no_grad()
    def grid(self, examples: Batch) -> Tensor:
        """From top to bottom: source, defaced, the mask, defaced with other noise, restored again, a real image of that
        defect, restored, the mask."""
        batch = TrainingBatch.on(self.compute.device, examples)
        model, rng, x = self.average.shadow, torch.Generator().manual_seed(self.seed), batch.image
        defect, normal = model.control(batch.target), model.control(torch.full_like(batch.target, NORMAL))

        def layers(image: Tensor, control: Tensor) -> tuple[Tensor, Tensor]:
            made = model.generator(image, control, model.generator.draw_noise(len(batch), rng, x.device))
            return made.image, 2 * made.mask.expand_as(x) - 1

        defaced, mask = layers(x, defect)
        restored, taken = layers(batch.reference, normal)
        again = layers(defaced, normal)[0]
        return tile([x, defaced, mask, layers(x, defect)[0], again, batch.reference, restored, taken])
