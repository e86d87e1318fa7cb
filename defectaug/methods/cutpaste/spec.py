"""How cut and paste is trained and loaded: the residual method's finding, and plain pasting."""

from __future__ import annotations

from types import MappingProxyType

from defectaug.config.schema import Config
from defectaug.methods.base import MethodSpec
from defectaug.methods.cutpaste.model import CutPaste
from defectaug.methods.residual.bank import UNSIZED
from defectaug.methods.residual.inference import RETIRED, InferenceModel
from defectaug.methods.residual.method import ResidualMethod


class CutPasteMethod(ResidualMethod):
    """As the residual method is trained."""

    networks = MappingProxyType({"memory": CutPaste})


def networks(config: Config, defects: int, products: int) -> CutPaste:
    """What a bundle holds."""
    net = config.network
    return CutPaste(net.image_size, net.channels, defects, products, net.memory)


SPEC = MethodSpec(CutPasteMethod, InferenceModel, networks, unsized=UNSIZED, retired=RETIRED, styles=False)
