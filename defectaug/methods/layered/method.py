"""The layered form as the training loop drives it."""

from __future__ import annotations

import torch
from torch import Tensor

from defectaug.config.schema import Config
from defectaug.data.batches import Batch
from defectaug.device import Compute
from defectaug.methods.adversarial import AdversarialMethod, TrainingBatch
from defectaug.methods.collapse_monitor import CollapseMonitor
from defectaug.methods.dtgan.codes import Codes
from defectaug.methods.layered.model import LayeredGAN
from defectaug.methods.layered.objective import Objective, Pass
from defectaug.methods.layered.shape_bank import ShapeBank
from defectaug.methods.sample_grid import tile
from defectaug.nn.distributed import gather_rows, processes


class LayeredMethod(AdversarialMethod[LayeredGAN, Pass]):
    """The networks of the layered form under its objective, watched for a collapse.
    Arguments as of :attr:`defectaug.methods.base.MethodSpec.train`."""

    def __init__(self, config: Config, domains: int, products: int, compute: Compute, seed: int) -> None:
        torch.manual_seed(seed)
        model = LayeredGAN(config.network, domains, products)
        super().__init__(model, Objective(model, config.loss, config.run.augment), config, compute, seed)
        self.monitor = CollapseMonitor().to(compute.device)
        self.modules["collapse_monitor"] = self.monitor

    def step(self, batch: Batch, step: int, fraction: float) -> dict[str, float]:
        values = super().step(batch, step, fraction)
        if "painted" in values:  # not in warm-up
            self.monitor.update(values["painted"], step)
        return values

    def _after_step(self, batch: TrainingBatch, out: Pass) -> None:
        """Keeps E's codes of the references; every process keeps those of all."""
        mapping = self.model.mapping
        if not isinstance(mapping, ShapeBank):
            return
        codes = out.codes.detach()
        kept = (codes.c, codes.s, codes.defect, batch.reference_product, batch.reference_index)
        first = int(len(batch) * processes() * self.config.run.latent_share)  # of the whole batch
        c, s, defect, product, key = (gather_rows(part)[first:] for part in kept)
        mapping.store(Codes(c, s, defect), product, key)

    @torch.no_grad()
    def grid(self, examples: Batch) -> Tensor:
        """From top to bottom: source, latent-guided, real image of that defect (the reference), reference-guided, the
        reference rebuilt from its own code, the reference with its defect removed."""
        batch = TrainingBatch.on(self.compute.device, examples)
        model, x, reference = self.average.shadow, batch.image, batch.reference
        codes = model.encoder(reference, batch.target)
        own = model.generator.background(reference)
        return tile(
            [
                x,
                model.sample(batch, torch.Generator().manual_seed(self.seed)),
                reference,
                model.generator(x, codes),
                model.generator.render(own.canvas, codes),
                own.clean,
            ]
        )
