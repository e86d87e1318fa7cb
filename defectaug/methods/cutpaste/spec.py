"""How cut and paste is trained and loaded: the finding part of the residual method, and no game after it."""

from __future__ import annotations

from functools import partial
from types import MappingProxyType

from torch.optim import Optimizer

from defectaug.config.schema import Config
from defectaug.methods.base import MethodSpec
from defectaug.methods.cutpaste.model import CutPaste
from defectaug.methods.residual.bank import UNSIZED
from defectaug.methods.residual.inference import InferenceModel
from defectaug.methods.residual.method import ResidualMethod


class CutPasteMethod(ResidualMethod):
    """E and the inpainter learn for the whole run; its last part fills the bank."""

    networks = MappingProxyType({"memory": CutPaste})
    finding, remembering = 1.0, 0.6

    def _optimizers(self) -> dict[str, Optimizer]:
        return {"encoder_optimizer": self._finders()}


def networks(config: Config, defects: int, products: int) -> CutPaste:
    """What a bundle holds."""
    net = config.network
    return CutPaste(net.image_size, net.channels, defects, products, net.memory)


SPEC = MethodSpec(CutPasteMethod, partial(InferenceModel.build, networks=networks), networks, unsized=UNSIZED)
