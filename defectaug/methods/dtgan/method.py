"""DT-GAN as the training loop drives it."""

from __future__ import annotations

import torch
from torch import Tensor

from defectaug.config.schema import Config
from defectaug.data.batches import Batch
from defectaug.device import Compute
from defectaug.methods.adversarial import NORMAL, AdversarialMethod, TrainingBatch
from defectaug.methods.dtgan.anchor import anchor_like
from defectaug.methods.dtgan.hidden import HiddenObjective
from defectaug.methods.dtgan.hiding import find_hiding
from defectaug.methods.dtgan.model import DTGAN
from defectaug.methods.dtgan.objective import Objective, Pass
from defectaug.methods.sample_grid import tile


class DTGANMethod(AdversarialMethod[DTGAN, Pass]):
    """The paper's networks under its objective.
    Arguments as of :attr:`defectaug.methods.base.MethodSpec.train`."""

    def __init__(self, config: Config, domains: int, products: int, compute: Compute, seed: int) -> None:
        torch.manual_seed(seed)
        model = DTGAN(config.network, domains, products)
        run, hiding = config.run, find_hiding(products) if config.run.hide else None
        parts = (model, config.loss, run.augment, run.detail)
        objective = Objective(*parts) if hiding is None else HiddenObjective(*parts, hiding.to(compute.device))
        super().__init__(model, objective, config, compute, seed)
        if hiding is not None:
            self.modules["hiding"] = hiding

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
