"""DT-GAN as the training loop drives it."""

from __future__ import annotations

import torch
from torch import Tensor

from defectaug.config.schema import Config
from defectaug.data.batches import Batch
from defectaug.device import Compute
from defectaug.methods.adversarial import NORMAL, AdversarialMethod, TrainingBatch
from defectaug.methods.dtgan.anchor import anchor_like
from defectaug.methods.dtgan.model import DTGAN
from defectaug.methods.dtgan.objective import Objective, Pass
from defectaug.methods.sample_grid import tile


class DTGANMethod(AdversarialMethod[DTGAN, Pass]):
    """The paper's networks under its objective.
    Arguments as of :attr:`defectaug.methods.base.MethodSpec.train`."""

    def __init__(self, config: Config, domains: int, products: int, compute: Compute, seed: int) -> None:
        torch.manual_seed(seed)
        model = DTGAN(config.network, domains, products)
        super().__init__(model, Objective(model, config.loss, config.run.augment), config, compute, seed)

    @torch.no_grad()
    def grid(self, examples: Batch) -> Tensor:
        """From top to bottom: source, latent-guided, real image of that defect (the reference), reference-guided, the
        reference rebuilt from its own code, the reference with its defect removed."""
        batch = TrainingBatch.on(self.compute.device, examples)
        model, x, reference = self.average.shadow, batch.image, batch.reference
        codes = model.encoder(reference, batch.target)
        own = model.generator.background(reference)
        # Without an anchor domain what E takes for normal stands for it.
        normal = (
            anchor_like(codes)
            if model.net.anchor
            else model.encoder(reference, torch.full_like(batch.target, NORMAL))
        )
        return tile(
            [
                x,
                model.sample(batch, torch.Generator().manual_seed(self.seed)),
                reference,
                model.generator(x, codes),
                model.generator.render(own, codes),
                model.generator.render(own, normal),
            ]
        )
