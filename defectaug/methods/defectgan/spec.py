"""How Defect-GAN is trained and loaded."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from defectaug.config.schema import Config
from defectaug.device import Compute
from defectaug.methods.base import BundleInfo, MethodSpec
from defectaug.methods.defectgan.inference import InferenceModel
from defectaug.methods.defectgan.method import DefectGANMethod
from defectaug.methods.defectgan.model import DefectGAN


def networks(config: Config, classes: int, products: int) -> DefectGAN:
    """What a bundle holds."""
    return DefectGAN(config.network, classes)


def load(config: Config, info: BundleInfo, weights: Mapping[str, Tensor], compute: Compute) -> InferenceModel:
    """The trained model.

    Raises:
        RuntimeError: the weights do not fit.
    """
    return InferenceModel.build(networks(config, len(info.defects), len(info.products)), info, weights, compute)


SPEC = MethodSpec(DefectGANMethod, load, networks, references=False)
