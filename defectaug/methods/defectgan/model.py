"""The two networks together."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from defectaug.config.schema import NetworkConfig
from defectaug.methods.adversarial import Networks, TrainingBatch
from defectaug.methods.defectgan.discriminator import Discriminator
from defectaug.methods.defectgan.generator import Generator, control_map

CONTROL = 8  # side of the control map of image-level labels


class DefectGAN(Networks):
    """G, for both ways, and D. There is neither M nor E: variation comes from the noise in G.

    Args:
        net: dimensions.
        classes: number of defect classes, the normal one included.
    """

    generator: Generator
    discriminator: Discriminator

    def __init__(self, net: NetworkConfig, classes: int) -> None:
        super().__init__()
        self.mapping, self.encoder = nn.Identity(), nn.Identity()
        self.generator, self.discriminator = Generator(net, classes), Discriminator(net, classes)

    def control(self, label: Tensor) -> Tensor:
        """The control map of labels (N,)."""
        return control_map(label, self.generator.classes, CONTROL)

    def sample(self, batch: TrainingBatch, rng: torch.Generator) -> Tensor:
        noise = self.generator.draw_noise(len(batch), rng, batch.image.device)
        return self.generator(batch.image, self.control(batch.target), noise).image
