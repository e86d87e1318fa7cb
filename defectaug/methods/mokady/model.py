"""The networks of the method together, and the bank of codes."""

from __future__ import annotations

import torch
from torch import Tensor

from defectaug.config.schema import NetworkConfig
from defectaug.methods.adversarial import Networks, TrainingBatch
from defectaug.methods.layers import Layers
from defectaug.methods.mokady.code_bank import CodeBank
from defectaug.methods.mokady.networks import Decoders, DomainClassifier, Encoders


class Mokady(Networks):
    """Encoders, decoders, domain classifier; the bank of codes stands for M.

    Args:
        net: dimensions; ``memory`` is how many codes are kept.
        classes: number of defect classes, the normal one included.
    """

    mapping: CodeBank
    encoder: Encoders
    generator: Decoders
    discriminator: DomainClassifier

    def __init__(self, net: NetworkConfig, classes: int) -> None:
        super().__init__()
        self.classes = classes
        side = net.image_size >> len(net.encoder_widths)
        self.mapping = CodeBank((net.code_channels, side, side), classes, net.memory)
        self.encoder, self.generator = Encoders(net, classes), Decoders(net)
        self.discriminator = DomainClassifier(net)

    def sample(self, batch: TrainingBatch, rng: torch.Generator) -> Tensor:
        seeds = torch.randint(1 << 62, (len(batch),), generator=rng).tolist()
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        separate = self.mapping.draw(batch.target, batch.product, generators)
        return self.transfer(batch.image, separate)

    def transfer(self, x: Tensor, separate: Tensor) -> Tensor:
        """Images (N, C, S, S) with the defects of separate codes."""
        return self.generator.defective(self.encoder.common(x), separate, x).image

    def rebuilt(self, x: Tensor, common: Tensor, base: Tensor) -> list[Layers]:
        """For each defect class what D_B lays over ``base``, were the images x of that class."""
        labels = [torch.full((len(x),), number, device=x.device) for number in range(1, self.classes)]
        return [self.generator.defective(common, self.encoder.separate(x, label), base) for label in labels]

    def remove(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Images without their defects, D_A's in the places where D_B would lay one of any class, and those places
        (N, 1, S, S)."""
        common = self.encoder.common(x)
        mask = torch.stack([layers.mask for layers in self.rebuilt(x, common, x)]).amax(0)
        return x + mask * (self.generator.normal(common) - x), mask
