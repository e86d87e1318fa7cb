"""How DT-GAN is trained and loaded."""

from __future__ import annotations

from defectaug.config.schema import Config
from defectaug.methods.base import MethodSpec
from defectaug.methods.dtgan.inference import InferenceModel
from defectaug.methods.dtgan.method import DTGANMethod
from defectaug.methods.dtgan.model import DTGAN


def networks(config: Config, defects: int, products: int) -> DTGAN:
    """What a bundle holds."""
    return DTGAN(config.network, defects, products)


SPEC = MethodSpec(DTGANMethod, InferenceModel, networks)
