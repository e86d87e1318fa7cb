"""Defect codes (c, s): what is handed from M or E to G."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from defectaug.config.schema import NetworkConfig


def normalised(style: Tensor) -> Tensor:
    """Divides each style (N, S) by its root mean square: a style has a direction but no size, so it can neither fade
    nor saturate (not in the paper)."""
    return style * torch.rsqrt(style.square().mean(1, keepdim=True) + 1e-6)


def style_form(net: NetworkConfig) -> Callable[[Tensor], Tensor]:
    """What M's and E's styles (N, S) go through: nothing in the paper."""
    return normalised if net.style_norm else nn.Identity()


class CodeForm(Protocol):
    """What c is: M and E end in responses (N, channels, size, size), which ``activate`` makes a shape map."""

    @property
    def channels(self) -> int: ...

    @property
    def size(self) -> int: ...

    def activate(self, response: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class FeatureForm:
    """The paper's: features at the bottleneck, (N, channels, size, size) in (-1, 1)."""

    channels: int
    size: int

    def activate(self, response: Tensor) -> Tensor:
        """Response to c."""
        return torch.tanh(response.float())


def feature_form(net: NetworkConfig) -> FeatureForm:
    """Features of the bottleneck's size."""
    return FeatureForm(net.code_channels, net.image_size // net.fold // 2 ** (len(net.generator_widths) - 1))


@dataclass(frozen=True)
class Codes:
    """A batch of defects: shape map ``c`` (N, C, h, w) in its form, style ``s`` (N, S), class ``defect`` (N,)."""

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

    def mixtures(self, other: Codes) -> list[Codes]:
        """For (c1, s1) and others (c2, s2) of the same classes: (c2, s2), (c1, s2), (c2, s1), which Eq. (4) compares
        with it."""
        return [other, self.with_style(other), other.with_style(self)]

    @staticmethod
    def cat(parts: Sequence[Codes]) -> Codes:
        """Joins batches."""
        return Codes(*(torch.cat([getattr(p, name) for p in parts]) for name in ("c", "s", "defect")))
