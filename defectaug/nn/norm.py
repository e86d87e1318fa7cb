"""Instance normalisation that keeps ``channels_last``."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPSILON = 1e-5


class InstanceNorm(nn.Module):
    """Instance normalisation (Ulyanov et al. 2016) of (N, C, H, W), with a scale and a shift per channel if ``affine``.

    The same as :class:`torch.nn.InstanceNorm2d`, which on a CPU turns a ``channels_last`` batch into a contiguous one,
    so that all that follows it, and its gradient, mixes both layouts: element-wise work is then twenty times slower.
    """

    def __init__(self, channels: int, *, affine: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels)) if affine else None
        self.bias = nn.Parameter(torch.zeros(channels)) if affine else None

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu" or not x.is_contiguous(memory_format=torch.channels_last):
            return F.instance_norm(x, weight=self.weight, bias=self.bias, eps=EPSILON)
        normed: Tensor = _ChannelsLast.apply(x, self.weight, self.bias)
        return normed


class _ChannelsLast(torch.autograd.Function):
    """Few passes over the batch, all in its layout."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        centred, rest, rstd = _centred(x)
        scale, shift = rstd, -rest * rstd
        if weight is not None and bias is not None:
            scale = scale * weight.view(1, -1, 1, 1)
            shift = shift * weight.view(1, -1, 1, 1) + bias.view(1, -1, 1, 1)
        ctx.save_for_backward(x, weight, centred, rest, rstd)
        return torch.addcmul(shift.to(x.dtype), centred, scale.to(x.dtype))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        (g,), (x, weight, centred, rest, rstd) = grads, ctx.saved_tensors
        if torch.is_grad_enabled():  # a gradient that is differentiated itself (R1) depends on x by these too
            centred, rest, rstd = _centred(x)
        area = x.shape[2] * x.shape[3]
        normed = torch.addcmul((-rest * rstd).to(x.dtype), centred, rstd.to(x.dtype))
        of_shift = _sum(g)
        of_scale = _sum(g * normed)
        slope = rstd if weight is None else rstd * weight.view(1, -1, 1, 1)
        across = torch.addcmul(g, normed, (-of_scale / area).to(x.dtype))
        dx = torch.addcmul((-slope * of_shift / area).to(x.dtype), across, slope.to(x.dtype))
        if weight is None:
            return dx, None, None
        return dx, of_scale.sum(0).flatten(), of_shift.sum(0).flatten()


def _centred(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(N, C, H, W) less its maps' means (in bf16 rounded ones), and of what is left mean and inverse deviation, fp32
    (N, C, 1, 1)."""
    area = x.shape[2] * x.shape[3]
    centred = x - (_sum(x) / area).to(x.dtype)
    mean, square = _sum(centred) / area, _sum(centred.square()) / area
    return centred, mean, torch.rsqrt((square - mean.square()).clamp(min=0) + EPSILON)


def _sum(x: Tensor) -> Tensor:
    """Sums of the maps of (N, C, H, W), fp32 (N, C, 1, 1). Of bf16 PyTorch gives bf16 sums, or copies all of it to fp32
    first; the roundings of the rows' sums cancel."""
    return x.sum(3, keepdim=True).float().sum(2, keepdim=True)
