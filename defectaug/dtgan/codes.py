"""Defect codes (c, s): what is handed from M or E to G."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

THRESHOLD = 0.1  # CHOICE: a weaker response is none at all, so that most cells and pixels are exactly untouched
LEAK = 0.1  # CHOICE: see SoftThreshold


def normalised(style: Tensor) -> Tensor:
    """Divides each style (N, S) by its root mean square: a style has a direction but no size, so it can neither fade
    nor saturate (CHOICE)."""
    return style * torch.rsqrt(style.square().mean(1, keepdim=True) + 1e-6)


class SoftThreshold(torch.autograd.Function):
    """relu(tanh(response) - THRESHOLD), stretched to reach 1: under a weaker layer a ghost of a removed defect is left.
    Below the threshold only the wish for more passes back, scaled by ``leak``: a plain relu never wakes a dead place, a
    leaky one lets the area penalty bury it ever deeper. Near 1 LEAK passes back at least: a young G that has covered
    everything finds the way back."""

    @staticmethod
    def forward(ctx: Any, response: Tensor, leak: float) -> Tensor:
        squashed = torch.tanh(response)
        ctx.save_for_backward(squashed)
        ctx.leak = leak
        return F.relu(squashed - THRESHOLD) / (1 - THRESHOLD)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (squashed,), (wish,) = ctx.saved_tensors, grads
        slope = (1 - squashed.square()).clamp(min=LEAK) / (1 - THRESHOLD)
        return torch.where(squashed > THRESHOLD, wish * slope, ctx.leak * wish.clamp(max=0)), None


def soft_threshold(response: Tensor, leak: float = LEAK) -> Tensor:
    """Response of any shape to [0, 1): exactly 0 unless it is clear."""
    return SoftThreshold.apply(response, leak)


def dense(response: Tensor) -> Tensor:
    """Response (N, C + 1, h, h) to a shape map (N, C, h, h) in (-1, 1), as in the paper; one channel is unread."""
    return torch.tanh(response[:, 1:].float())


def sparse(response: Tensor, leak: float = LEAK) -> Tensor:
    """Response (N, C + 1, h, h) to a shape map (N, C, h, h): each cell a direction, of root mean square 1, times a
    presence in [0, 1) that is exactly 0 in most cells.

    Not in the paper. The anchor says that no defect is a zero map; here the same holds of every cell. Else the quiet
    cells of a map carry as much as the others, which the decoder has to cancel, and no M learns to draw that.
    """
    response = response.float()
    direction = response[:, 1:]
    size = torch.rsqrt(direction.square().mean(1, keepdim=True) + 1e-4)
    return soft_threshold(response[:, :1], leak) * direction * size


def presence(c: Tensor) -> Tensor:
    """Presence (N, 1, h, h) in the cells of sparse shape maps."""
    return (c.square().mean(1, keepdim=True) + 1e-8).sqrt()


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
