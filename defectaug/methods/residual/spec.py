"""How the residual method is trained and loaded."""

from __future__ import annotations

from defectaug.config.schema import Config
from defectaug.methods.base import MethodSpec
from defectaug.methods.residual.bank import UNSIZED
from defectaug.methods.residual.inference import InferenceModel
from defectaug.methods.residual.method import ResidualMethod
from defectaug.methods.residual.model import Residual


def networks(config: Config, defects: int, products: int) -> Residual:
    """What a bundle holds."""
    net = config.network
    return Residual(net.image_size, net.channels, defects, products, net.memory)


SPEC = MethodSpec(
    train=ResidualMethod,
    load=InferenceModel.build,
    networks=networks,
    unsized=UNSIZED,
)
