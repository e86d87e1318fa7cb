"""Defect codes (c, s): what is handed from M or E to G."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


def normalised(h: Tensor) -> Tensor:
    """Divides each map (N, C, h, w) or vector (N, S) of a batch by its root mean square.

    CHOICE: a code's size means nothing, so it can neither fade nor saturate; through tanh, M's maps ended at plus or
    minus one everywhere and all latents became one.
    """
    flat = h.flatten(1).float()
    scale = torch.rsqrt(flat.square().mean(1) + 1e-6)
    return h * scale.view(-1, *[1] * (h.dim() - 1)).to(h.dtype)


@dataclass(frozen=True)
class Codes:
    """A batch of defects: shape map ``c`` (N, C, h, w), style ``s`` (N, S), class ``defect`` (N,)."""

    c: Tensor
    s: Tensor
    defect: Tensor

    def __len__(self) -> int:
        return len(self.defect)

    def __getitem__(self, rows: slice | Tensor) -> Codes:
        return Codes(self.c[rows], self.s[rows], self.defect[rows])

    def detach(self) -> Codes:
        """The same values, cut from the graph."""
        return Codes(self.c.detach(), self.s.detach(), self.defect)

    def with_style(self, other: Codes) -> Codes:
        """These shapes with the styles of ``other``."""
        return Codes(self.c, other.s, self.defect)

    @staticmethod
    def cat(parts: Sequence[Codes]) -> Codes:
        """Joins batches."""
        return Codes(*(torch.cat([getattr(p, name) for p in parts]) for name in ("c", "s", "defect")))
