"""The four networks of the layered form together."""

from __future__ import annotations

from defectaug.config.schema import Config
from defectaug.methods.adversarial import Networks
from defectaug.methods.dtgan.discriminator import Discriminator
from defectaug.methods.dtgan.encoder import Encoder
from defectaug.methods.dtgan.mapping import MappingNetwork
from defectaug.methods.layered.codes import FineShape, layer_form
from defectaug.methods.layered.generator import LayeredGenerator
from defectaug.methods.layered.shape_bank import ShapeBank


class LayeredGAN(Networks):
    """M (a bank of shapes, or the paper's network), E and G, and D, whose defect classifier names defects.

    Args:
        config: dimensions and parts.
        domains: number of defect classes, the normal one included.
        products: number of products.
    """

    mapping: ShapeBank | MappingNetwork
    encoder: Encoder
    generator: LayeredGenerator
    discriminator: Discriminator

    def __init__(self, config: Config, domains: int, products: int) -> None:
        super().__init__()
        net, form = config.network, layer_form(config.network)
        self.mapping = (ShapeBank if net.mapping == "memory" else MappingNetwork)(net, form, domains)
        self.encoder = Encoder(net, form, domains, FineShape)
        self.generator = LayeredGenerator(net)
        self.discriminator = Discriminator(net, domains, products)
