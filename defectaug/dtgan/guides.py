"""Where codes come from: a latent through M, or a reference image through E."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from defectaug.dtgan.codes import Codes
from defectaug.dtgan.encoder import Encoder
from defectaug.dtgan.mapping import Latent, MappingNetwork


class Guide(Protocol):
    """Gives the codes of target classes (N,)."""

    def codes(self, defect: Tensor) -> Codes: ...


@dataclass(frozen=True)
class LatentGuide:
    """(c, s) = M_y(z). ``share`` of the gradient of what is made of them reaches M."""

    mapping: MappingNetwork
    latent: Latent
    share: float = 1.0

    def codes(self, defect: Tensor) -> Codes:
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.share > 0):
            codes = self.mapping(self.latent, defect)
        return codes.scale_gradient(self.share)


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
