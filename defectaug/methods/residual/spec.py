"""How the residual method is trained and loaded."""

from __future__ import annotations

from defectaug.methods.base import MethodSpec
from defectaug.methods.residual.bank import UNSIZED
from defectaug.methods.residual.inference import RETIRED, InferenceModel
from defectaug.methods.residual.mapping.mapped import bundled
from defectaug.methods.residual.method import ResidualMethod

SPEC = MethodSpec(ResidualMethod, InferenceModel, bundled, unsized=UNSIZED, retired=RETIRED)
