"""Defect codes (c, s): what is handed from M or E to G."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


def normalised(style: Tensor) -> Tensor:
    """Divides each style (N, S) by its root mean square: a style has a direction but no size, so it can neither fade
    nor saturate (CHOICE)."""
    return style * torch.rsqrt(style.square().mean(1, keepdim=True) + 1e-6)


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

    def scale_gradient(self, share: float) -> Codes:
        """The same values; this share of their gradient passes back."""
        if share == 1:
            return self
        held = self.detach()
        return held if share == 0 else Codes(held.c.lerp(self.c, share), held.s.lerp(self.s, share), self.defect)

    def with_style(self, other: Codes) -> Codes:
        """These shapes with the styles of ``other``."""
        return Codes(self.c, other.s, self.defect)

    @staticmethod
    def cat(parts: Sequence[Codes]) -> Codes:
        """Joins batches."""
        return Codes(*(torch.cat([getattr(p, name) for p in parts]) for name in ("c", "s", "defect")))
