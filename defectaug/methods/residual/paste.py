"""Defects put on images at the model's size: what E learns from, and is asked about. What users get is pasted at the
scale of their photographs, by :mod:`defectaug.methods.residual.cutout`."""

from __future__ import annotations

import torch
from torch import Tensor

from defectaug.methods.residual.defect import Defect, compose
from defectaug.nn.blocks import blur3


def paste(x: Tensor, filled: Tensor, defect: Defect) -> tuple[Tensor, Tensor]:
    """(1 - opacity) x + opacity (filled + structure at the style's contrast + tone), and the opacity.

    Args:
        x: images (N, C, S, S).
        filled: the same with what lies under the masks filled in: material is replaced, as the defect was taken apart.
    """
    opacity = opacity_of(defect.mask)
    added = compose(defect.structure, defect.style, defect.mask, filled)
    return (x + opacity * (filled - x + added)).clamp(-1, 1), opacity


def opacity_of(mask: Tensor) -> Tensor:
    """Masks (N, 1, S, S) with an edge a pixel wide, as optics makes it."""
    return torch.maximum(blur3(mask), mask * (mask > 0.5))
