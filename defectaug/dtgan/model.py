"""The four networks of DT-GAN together, and what the layered form needs in training alone."""

from __future__ import annotations

from torch import nn

from defectaug.config import NetworkConfig
from defectaug.dtgan.critic import ShapeCritic
from defectaug.dtgan.decoded import DecodedGenerator
from defectaug.dtgan.discriminator import Discriminator
from defectaug.dtgan.encoder import Encoder
from defectaug.dtgan.generator import Generator
from defectaug.dtgan.layered import LAYERS, LayeredGenerator
from defectaug.dtgan.mapping import MappingNetwork
from defectaug.dtgan.posterior import Posterior


def make_generator(net: NetworkConfig) -> Generator:
    """The form of G that the recipe names."""
    return LayeredGenerator(net) if net.generator == "layered" else DecodedGenerator(net)


class DTGAN(nn.Module):
    """M, E and G (trained together), and D.

    Args:
        net: dimensions and parts.
        domains: number of defect classes, the normal one included.
        products: number of products.
    """

    def __init__(self, net: NetworkConfig, domains: int, products: int) -> None:
        super().__init__()
        self.net, self.domains, self.products = net, domains, products
        self.mapping = MappingNetwork(net, domains)
        self.encoder = Encoder(net, domains)
        self.generator = make_generator(net)
        self.discriminator = Discriminator(net, domains, products)
        fitted = net.generator == "layered" and net.code_prior
        self.posterior = Posterior(net, domains) if fitted else None
        self.critic = ShapeCritic(net, LAYERS, domains) if fitted else None
