"""How the layered form is trained, loaded and checked."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from defectaug.config.schema import Config
from defectaug.device import Compute
from defectaug.methods.base import BundleInfo, MethodSpec
from defectaug.methods.layered.inference import LayeredInferenceModel
from defectaug.methods.layered.method import LayeredMethod
from defectaug.methods.layered.model import LayeredGAN


def networks(config: Config, defects: int, products: int) -> LayeredGAN:
    """The networks of the given settings, freshly initialised."""
    return LayeredGAN(config.network, defects, products)


def load(config: Config, info: BundleInfo, weights: Mapping[str, Tensor], compute: Compute) -> LayeredInferenceModel:
    """The trained model.

    Raises:
        RuntimeError: the weights do not fit.
    """
    return LayeredInferenceModel.build(networks(config, len(info.defects), len(info.products)), info, weights, compute)


SPEC = MethodSpec(LayeredMethod, load, networks)
