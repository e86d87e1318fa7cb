"""The four networks of DT-GAN together."""

from __future__ import annotations

from torch import nn

from defectaug.config.schema import NetworkConfig
from defectaug.methods.dtgan.codes import LayerForm, code_form
from defectaug.methods.dtgan.decoded import DecodedGenerator
from defectaug.methods.dtgan.discriminator import Discriminator
from defectaug.methods.dtgan.encoder import Encoder
from defectaug.methods.dtgan.generator import Generator
from defectaug.methods.dtgan.mapping import MappingNetwork
from defectaug.methods.layered.generator import LayeredGenerator
from defectaug.methods.layered.shape_bank import ShapeMemory


def make_generator(net: NetworkConfig) -> Generator:
    """The form of G that the recipe names."""
    return LayeredGenerator(net) if net.generator == "layered" else DecodedGenerator(net)


def make_mapping(net: NetworkConfig, domains: int) -> MappingNetwork | ShapeMemory:
    """The kind of M that the recipe names."""
    form = code_form(net)
    if net.mapping == "memory" and isinstance(form, LayerForm):
        return ShapeMemory(net, form, domains)
    return MappingNetwork(net, domains)


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
        self.mapping = make_mapping(net, domains)
        self.encoder = Encoder(net, domains)
        self.generator = make_generator(net)
        self.discriminator = Discriminator(net, domains, products)
