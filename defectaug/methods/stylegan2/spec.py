"""How StyleGAN2 is trained and loaded."""

from __future__ import annotations

from defectaug.methods.base import MethodSpec
from defectaug.methods.noise import NoiseModel
from defectaug.methods.stylegan2.method import StyleGAN2Method
from defectaug.methods.stylegan2.model import StyleGAN2

SPEC = MethodSpec(StyleGAN2Method, NoiseModel, StyleGAN2, references=False, styles=False, sources=False)
