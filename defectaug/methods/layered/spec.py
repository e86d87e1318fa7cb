"""How the layered form is trained and loaded."""

from __future__ import annotations

from defectaug.config.schema import Config
from defectaug.methods.base import MethodSpec
from defectaug.methods.layered.inference import LayeredInferenceModel
from defectaug.methods.layered.method import LayeredMethod
from defectaug.methods.layered.model import LayeredGAN


def networks(config: Config, defects: int, products: int) -> LayeredGAN:
    """What a bundle holds."""
    return LayeredGAN(config.network, defects, products)


SPEC = MethodSpec(LayeredMethod, LayeredInferenceModel, networks)
