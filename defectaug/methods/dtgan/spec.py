"""How DT-GAN is trained, loaded and checked."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from defectaug.config.schema import Config
from defectaug.device import Compute
from defectaug.methods.base import BundleInfo, MethodSpec
from defectaug.methods.dtgan.inference import InferenceModel
from defectaug.methods.dtgan.method import DTGANMethod
from defectaug.methods.dtgan.model import DTGAN


def networks(config: Config, defects: int, products: int) -> DTGAN:
    """The networks of the given settings, freshly initialised."""
    return DTGAN(config.network, defects, products)


def load(config: Config, info: BundleInfo, weights: Mapping[str, Tensor], compute: Compute) -> InferenceModel:
    """The trained model.

    Raises:
        RuntimeError: the weights do not fit.
    """
    return InferenceModel.build(networks(config, len(info.defects), len(info.products)), info, weights, compute)


SPEC = MethodSpec(DTGANMethod, load, networks)
