"""How StyleGAN2 is trained, loaded and checked."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from defectaug.config.schema import Config
from defectaug.device import Compute
from defectaug.methods.base import BundleInfo, MethodSpec
from defectaug.methods.noise import NoiseModel
from defectaug.methods.stylegan2.method import StyleGAN2Method
from defectaug.methods.stylegan2.model import StyleGAN2


def networks(config: Config, defects: int, products: int) -> StyleGAN2:
    """The networks of the given settings, freshly initialised."""
    return StyleGAN2(config.network, defects, products)


def load(config: Config, info: BundleInfo, weights: Mapping[str, Tensor], compute: Compute) -> NoiseModel:
    """The trained model.

    Raises:
        RuntimeError: the weights do not fit.
    """
    made = networks(config, len(info.defects), len(info.products))
    return NoiseModel.build(made, info, weights, compute, config.stylegan2.truncation)


SPEC = MethodSpec(StyleGAN2Method, load, networks, references=False, styles=False, sources=False)
