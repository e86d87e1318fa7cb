"""How BigGAN is trained, loaded and checked."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from defectaug.config.schema import Config
from defectaug.device import Compute
from defectaug.methods.base import BundleInfo, MethodSpec
from defectaug.methods.biggan.method import BigGANMethod
from defectaug.methods.biggan.model import BigGAN
from defectaug.methods.noise import NoiseModel


def networks(config: Config, defects: int, products: int) -> BigGAN:
    """The networks of the given settings, freshly initialised."""
    return BigGAN(config, defects, products)


def load(config: Config, info: BundleInfo, weights: Mapping[str, Tensor], compute: Compute) -> NoiseModel:
    """The trained model.

    Raises:
        RuntimeError: the weights do not fit.
    """
    made = networks(config, len(info.defects), len(info.products))
    return NoiseModel.build(made, info, weights, compute, config.biggan.truncation)


SPEC = MethodSpec(BigGANMethod, load, networks, references=False, styles=False, sources=False)
