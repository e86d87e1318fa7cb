"""Defect codes (c, s): what is handed from M or E to G."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


def normalised(style: Tensor) -> Tensor:
    """Divides each style (N, S) by its root mean square: a style has a direction but no size, so it can neither fade
    nor saturate (CHOICE)."""
    scale = torch.rsqrt(style.float().square().mean(1, keepdim=True) + 1e-6)
    return style * scale.to(style.dtype)


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
