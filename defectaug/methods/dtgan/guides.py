"""Where codes come from: a latent through M, or a reference image through E."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from defectaug.methods.dtgan.codes import Codes
from defectaug.methods.dtgan.encoder import Encoder
from defectaug.methods.dtgan.mapping import Latent, MappingNetwork
from defectaug.methods.layered.shape_bank import ShapeMemory


class Guide(Protocol):
    """Gives the codes of target classes (N,)."""

    def codes(self, defect: Tensor) -> Codes: ...


@dataclass(frozen=True)
class LatentGuide:
    """(c, s) = M_y(z), for products (N,)."""

    mapping: MappingNetwork | ShapeMemory
    latent: Latent
    product: Tensor | None = None

    def codes(self, defect: Tensor) -> Codes:
        codes: Codes = self.mapping(self.latent, defect, self.product)
        return codes


@dataclass(frozen=True)
class ReferenceGuide:
    """(c, s) = E_y(reference). ``held`` cuts them from the graph: E would otherwise look for one constant code that
    pleases the classifier."""

    encoder: Encoder
    reference: Tensor
    held: bool = True

    def codes(self, defect: Tensor) -> Codes:
        codes = self.encoder(self.reference, defect)
        return codes.detach() if self.held else codes
