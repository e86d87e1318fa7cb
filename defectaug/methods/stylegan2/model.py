"""G and D together."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from defectaug.config.schema import Config
from defectaug.methods.noise import NoiseNetworks
from defectaug.methods.stylegan2.discriminator import Discriminator
from defectaug.methods.stylegan2.generator import Generator


class StyleGAN2(NoiseNetworks):
    """The networks of StyleGAN2.

    Args:
        config: dimensions; widths go from fine to coarse.
        defects: number of classes, the normal one included.
        products: number of products.
    """

    generator: Generator
    discriminator: Discriminator

    def __init__(self, config: Config, defects: int, products: int) -> None:
        super().__init__(defects, config.stylegan2.truncation)
        self.generator = Generator(config.network, defects * products)
        self.discriminator = Discriminator(config.network, defects * products)

    def images(self, label: Tensor, seeds: Sequence[int], truncation: float) -> Tensor:
        images: Tensor = self.generator(label, seeds, truncation)
        return images
