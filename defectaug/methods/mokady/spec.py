"""How masked content transfer is trained and loaded."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from defectaug.config.schema import Config
from defectaug.device import Compute
from defectaug.methods.base import BundleInfo, MethodSpec
from defectaug.methods.mokady.inference import InferenceModel
from defectaug.methods.mokady.method import MokadyMethod
from defectaug.methods.mokady.model import Mokady


def networks(config: Config, classes: int, products: int) -> Mokady:
    """What a bundle holds."""
    return Mokady(config.network, classes)


def load(config: Config, info: BundleInfo, weights: Mapping[str, Tensor], compute: Compute) -> InferenceModel:
    """The trained model.

    Raises:
        RuntimeError: the weights do not fit.
    """
    return InferenceModel.build(networks(config, len(info.defects), len(info.products)), info, weights, compute)


SPEC = MethodSpec(MokadyMethod, load, networks, styles=False)
