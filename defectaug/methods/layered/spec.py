"""How models of the layered form are loaded; it is no longer trained."""

from __future__ import annotations

from defectaug.config.schema import Config
from defectaug.methods.base import MethodSpec
from defectaug.methods.layered.inference import LayeredInferenceModel
from defectaug.methods.layered.model import LayeredGAN


def networks(config: Config, defects: int, products: int) -> LayeredGAN:
    """What a bundle holds."""
    return LayeredGAN(config.network, defects, products)


SPEC = MethodSpec(train=None, model=LayeredInferenceModel, networks=networks)
