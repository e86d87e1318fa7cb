"""How models of the layered form are loaded; it is no longer trained."""

from __future__ import annotations

from defectaug.methods.base import MethodSpec
from defectaug.methods.layered.inference import LayeredInferenceModel
from defectaug.methods.layered.model import LayeredGAN

SPEC = MethodSpec(train=None, model=LayeredInferenceModel, networks=LayeredGAN)
