"""The four networks of the layered form together."""

from __future__ import annotations

import torch
from torch import Tensor

from defectaug.config.schema import NetworkConfig
from defectaug.methods.adversarial import Networks, TrainingBatch
from defectaug.methods.dtgan.discriminator import Discriminator
from defectaug.methods.dtgan.encoder import Encoder
from defectaug.methods.dtgan.mapping import MappingNetwork
from defectaug.methods.layered.codes import layer_form
from defectaug.methods.layered.encoder import FineShape
from defectaug.methods.layered.generator import LayeredGenerator
from defectaug.methods.layered.shape_bank import ShapeBank


class LayeredGAN(Networks):
    """M (a bank of shapes, or the paper's network), E and G, and D.

    Args:
        net: dimensions and parts.
        domains: number of defect classes, the normal one included.
        products: number of products.
    """

    mapping: ShapeBank | MappingNetwork
    encoder: Encoder
    generator: LayeredGenerator
    discriminator: Discriminator

    def __init__(self, net: NetworkConfig, domains: int, products: int) -> None:
        super().__init__()
        self.net, self.domains, self.products = net, domains, products
        form = layer_form(net)
        self.mapping = (ShapeBank if net.mapping == "memory" else MappingNetwork)(net, form, domains)
        self.encoder = Encoder(net, form, domains, FineShape)
        self.generator = LayeredGenerator(net)
        self.discriminator = Discriminator(net, domains, products)

    def sample(self, batch: TrainingBatch, rng: torch.Generator) -> Tensor:
        latent = self.mapping.draw(len(batch), rng, batch.image.device)
        return self.generator(batch.image, self.mapping(latent, batch.target, batch.product))
