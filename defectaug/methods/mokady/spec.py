"""How masked content transfer is trained and loaded."""

from __future__ import annotations

from defectaug.config.schema import Config
from defectaug.methods.base import MethodSpec
from defectaug.methods.mokady.inference import InferenceModel
from defectaug.methods.mokady.method import MokadyMethod
from defectaug.methods.mokady.model import Mokady


def networks(config: Config, defects: int, products: int) -> Mokady:
    """What a bundle holds."""
    return Mokady(config.network, defects)


SPEC = MethodSpec(MokadyMethod, InferenceModel, networks, styles=False)
