"""G and D together."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from defectaug.config.schema import Config
from defectaug.methods.biggan.discriminator import Discriminator
from defectaug.methods.biggan.generator import Generator
from defectaug.methods.noise import NoiseNetworks


class BigGAN(NoiseNetworks):
    """The networks of BigGAN.

    Args:
        config: dimensions; widths go from fine to coarse.
        defects: number of classes, the normal one included.
        products: number of products.
    """

    generator: Generator
    discriminator: Discriminator

    def __init__(self, config: Config, defects: int, products: int) -> None:
        super().__init__(defects, config.biggan.truncation)
        self.generator = Generator(config.network, config.biggan, defects * products)
        self.discriminator = Discriminator(config.network, config.biggan, defects * products)

    def images(self, label: Tensor, seeds: Sequence[int], truncation: float) -> Tensor:
        z = self.generator.draw_seeded(seeds, truncation).to(label.device)
        images: Tensor = self.generator(z, label)
        return images
