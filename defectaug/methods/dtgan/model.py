"""The four networks of DT-GAN together."""

from __future__ import annotations

import torch
from torch import Tensor

from defectaug.config.schema import NetworkConfig
from defectaug.methods.adversarial import Networks, TrainingBatch
from defectaug.methods.dtgan.codes import feature_form
from defectaug.methods.dtgan.discriminator import DISCRIMINATORS, Discriminator, FlatDiscriminator
from defectaug.methods.dtgan.encoder import Encoder
from defectaug.methods.dtgan.generator import GENERATORS, Generator
from defectaug.methods.dtgan.mapping import MappingNetwork


class DTGAN(Networks):
    """M, E and G (trained together), and D.

    Args:
        net: dimensions and parts.
        domains: number of defect classes, the normal one included.
        products: number of products.
    """

    mapping: MappingNetwork
    encoder: Encoder
    generator: Generator
    discriminator: Discriminator | FlatDiscriminator

    def __init__(self, net: NetworkConfig, domains: int, products: int) -> None:
        super().__init__()
        self.net, self.domains, self.products = net, domains, products
        form = feature_form(net)
        self.mapping = MappingNetwork(net, form, domains)
        self.encoder = Encoder(net, form, domains)
        self.generator = GENERATORS[net.generator](net)
        self.discriminator = DISCRIMINATORS[net.heads](net, domains, products)

    def sample(self, batch: TrainingBatch, rng: torch.Generator) -> Tensor:
        latent = self.mapping.draw(len(batch), rng, batch.image.device)
        return self.generator(batch.image, self.mapping(latent, batch.target, batch.product))
