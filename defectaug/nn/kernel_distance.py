"""A distance between two small sets of images, by which checkpoints are compared."""

from __future__ import annotations

from torch import Tensor

from defectaug.nn.blocks import pool_max_mean


def kernel_distance(a: Tensor, b: Tensor) -> Tensor:
    """Unbiased squared maximum mean discrepancy of pooled features with a cubic kernel, as in the Kernel
    Inception Distance (Binkowski et al. 2018), but in other features: not comparable with a KID.

    Args:
        a, b: feature maps (N, C, h, w) and (M, C, h, w), N and M at least 2.
    """
    x, y = pool_max_mean(a), pool_max_mean(b)
    scale = y.std(0, correction=0).clamp(min=1e-3)
    x, y = x / scale, y / scale

    def kernel(p: Tensor, q: Tensor) -> Tensor:
        return (p @ q.T / p.shape[1] + 1) ** 3

    def off_diagonal_mean(k: Tensor) -> Tensor:
        return (k.sum() - k.diagonal().sum()) / (len(k) * (len(k) - 1))

    return off_diagonal_mean(kernel(x, x)) + off_diagonal_mean(kernel(y, y)) - 2 * kernel(x, y).mean()
