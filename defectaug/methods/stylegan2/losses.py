"""What StyleGAN2 adds to the logistic loss with R1 (:mod:`defectaug.methods.dtgan.losses` has these)."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def path_lengths(image: Tensor, w: Tensor, y: Tensor) -> Tensor:
    """How far images move by a small step of their styles: \\|J^T y\\| of section 3.2, per image (N,).

    Args:
        image: (N, C, S, S), made from ``w``.
        w: styles (N, layers, D); the square is averaged over layers.
        y: (N, C, S, S) normal noise.
    """
    scale = math.sqrt(image.shape[2] * image.shape[3])
    (slope,) = torch.autograd.grad((image * y).sum() / scale, w, create_graph=True)
    return slope.square().sum(2).mean(1).sqrt()


def path_length_penalty(lengths: Tensor, mean: Tensor) -> Tensor:
    """Eq. (4): the mean squared difference of lengths (N,) from their running mean a."""
    return (lengths - mean).square().mean()
