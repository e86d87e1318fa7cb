"""How Defect-GAN is trained and loaded."""

from __future__ import annotations

from defectaug.config.schema import Config
from defectaug.methods.base import MethodSpec
from defectaug.methods.defectgan.inference import InferenceModel
from defectaug.methods.defectgan.method import DefectGANMethod
from defectaug.methods.defectgan.model import DefectGAN


def networks(config: Config, defects: int, products: int) -> DefectGAN:
    """What a bundle holds."""
    return DefectGAN(config.network, defects)


SPEC = MethodSpec(DefectGANMethod, InferenceModel, networks, references=False)
