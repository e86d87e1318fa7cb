"""Sample grids: what a run has learnt, at a glance."""

from __future__ import annotations

import torch
from torch import Tensor

GAP = 2


def tile(lines: list[Tensor]) -> Tensor:
    """Lines of (N, C, S, S) images, one column an example, to one image (C, H, W) in [-1, 1], a white gap between."""
    padded = [torch.nn.functional.pad(line.float().cpu(), (0, GAP, 0, GAP), value=1.0) for line in lines]
    return torch.cat([torch.cat(list(line), dim=2) for line in padded], dim=1).clamp(-1, 1)
