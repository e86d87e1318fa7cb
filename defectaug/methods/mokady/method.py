"""The method as the training loop drives it."""

from __future__ import annotations

import torch
from torch import Tensor

from defectaug.config.schema import Config
from defectaug.data.batches import Batch
from defectaug.device import Compute
from defectaug.methods.adversarial import AdversarialMethod, TrainingBatch
from defectaug.methods.base import Method
from defectaug.methods.mokady.model import Mokady
from defectaug.methods.mokady.objective import Objective, Pass
from defectaug.methods.sample_grid import tile
from defectaug.nn.distributed import gather_rows


class MokadyMethod(AdversarialMethod[Mokady, Pass]):
    """The networks under their objective.
    Arguments as of :attr:`defectaug.methods.base.MethodSpec.train`."""

    score = Method.score  # none: the last weights are the ones to keep

    def __init__(self, config: Config, classes: int, products: int, compute: Compute, seed: int) -> None:
        torch.manual_seed(seed)
        model = Mokady(config.network, classes)
        super().__init__(model, Objective(model, config.mokady), config, compute, seed)

    @torch.no_grad()
    def _after_step(self, batch: TrainingBatch, out: Pass) -> None:
        """Keeps the references' codes by the averaged weights; every process keeps those of all."""
        with self.compute.autocast():
            codes = self.average.shadow.encoder.separate(batch.reference, batch.target.clamp(min=1)).float()
        rows = (codes, batch.target, batch.reference_product, batch.reference_index)
        codes, label, product, key = (gather_rows(part) for part in rows)
        shown = label > 0
        self.model.mapping.remember(codes[shown], label[shown], product[shown], key[shown])

    @torch.no_grad()
    def grid(self, examples: Batch) -> Tensor:
        """From top to bottom: source, latent-guided, real image of that defect (the reference), reference-guided, the
        mask, the reference by D_A, rebuilt, with its defect removed, the mask."""
        batch = TrainingBatch.on(self.compute.device, examples)
        model, x, reference = self.average.shadow, batch.image, batch.reference
        separate, common = model.encoder.separate(reference, batch.target), model.encoder.common(reference)
        moved = model.generator.defective(model.encoder.common(x), separate, x)
        normal = model.generator.normal(common)
        rebuilt = model.generator.defective(common, separate, normal).image
        removed, where = model.remove(reference)
        masks = [2 * mask.expand_as(x) - 1 for mask in (moved.mask, where)]
        drawn = model.sample(batch, torch.Generator().manual_seed(self.seed))
        return tile([x, drawn, reference, moved.image, masks[0], normal, rebuilt, removed, masks[1]])
