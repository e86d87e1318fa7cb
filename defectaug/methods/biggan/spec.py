"""How BigGAN is trained and loaded."""

from __future__ import annotations

from defectaug.methods.base import MethodSpec
from defectaug.methods.biggan.method import BigGANMethod
from defectaug.methods.biggan.model import BigGAN
from defectaug.methods.noise import NoiseModel

SPEC = MethodSpec(BigGANMethod, NoiseModel, BigGAN, references=False, styles=False, sources=False)
