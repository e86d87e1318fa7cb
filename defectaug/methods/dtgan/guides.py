"""Where codes come from: a latent through M, or a reference image through E."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from defectaug.methods.dtgan.codes import Codes
from defectaug.methods.dtgan.encoder import Encoder
from defectaug.methods.dtgan.mapping import Latent


class Guide(Protocol):
    """Gives the codes of target classes (N,)."""

    def codes(self, defect: Tensor) -> Codes: ...


class Mapping(Protocol):
    """M: latents, classes (N,) and products (N,) to codes."""

    def __call__(self, latent: Latent, defect: Tensor, product: Tensor | None) -> Codes: ...


@dataclass(frozen=True)
class LatentGuide:
    """(c, s) = M_y(z), for products (N,), -1 for one that is not known."""

    mapping: Mapping
    latent: Latent
    product: Tensor

    def codes(self, defect: Tensor) -> Codes:
        return self.mapping(self.latent, defect, self.product)


@dataclass(frozen=True)
class ReferenceGuide:
    """(c, s) = E_y(reference), cut from the graph: E would otherwise look for one constant code that pleases the
    classifier."""

    encoder: Encoder
    reference: Tensor

    def codes(self, defect: Tensor) -> Codes:
        codes: Codes = self.encoder(self.reference, defect)
        return codes.detach()


def mixtures(first: Codes, guide: Guide) -> list[Codes]:
    """For codes (c1, s1) and a guide to others of their classes: (c2, s2), (c1, s2), (c2, s1), which Eq. (4) compares
    with them."""
    other = guide.codes(first.defect)
    return [other, first.with_style(other), other.with_style(first)]
