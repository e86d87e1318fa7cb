"""A frame of its own for each defect: turned along it and stretched to its extents, so that a hairline fills a square
as a blob does."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

MARGIN = 1.15  # times a defect's extents
THINNEST = 1.5  # pixels of half an extent at least
POSE = 6  # numbers of a pose: centre x and y, cosine and sine of twice the angle, logarithms of half the extents


def pose_of(mask: Tensor) -> Tensor:
    """Where masks (N, 1, S, S) lie, how they are turned, and their extents: (N, POSE), lengths in half sides."""
    count, size = len(mask), mask.shape[-1]
    weight = (mask > 0.5).flatten(1).float()
    line = (torch.arange(size, device=mask.device) + 0.5) * (2 / size) - 1
    y, x = (axis.flatten() for axis in torch.meshgrid(line, line, indexing="ij"))
    total = weight.sum(1).clamp(min=1)
    dx, dy = (axis - (weight @ axis / total)[:, None] for axis in (x, y))
    xx, yy, xy = ((weight * a * b).sum(1) / total for a, b in ((dx, dx), (dy, dy), (dx, dy)))
    twice = torch.atan2(2 * xy, xx - yy)
    along, across = _axes(twice)
    outside = torch.where(weight > 0, 0.0, torch.inf)
    ends = []
    for axis in (along, across):
        place = axis[:, :1] * x + axis[:, 1:] * y
        ends.append(((place - outside).amax(1), (place + outside).amin(1)))
    middle = [(high + low) / 2 for high, low in ends]
    half = [((high - low) / 2 * MARGIN).clamp(min=2 * THINNEST / size) for high, low in ends]
    centre = middle[0][:, None] * along + middle[1][:, None] * across
    pose = torch.cat([centre, torch.stack([twice.cos(), twice.sin(), half[0].log(), half[1].log()], 1)], 1)
    return torch.where((weight.sum(1) > 0)[:, None], pose, torch.zeros(count, POSE, device=mask.device))


def to_frame(maps: Tensor, pose: Tensor, side: int) -> Tensor:
    """Maps (N, K, S, S) of images as their defects' frames (N, K, side, side) show them."""
    linear = _linear(pose)
    grid = _grid(torch.cat([linear, pose[:, :2, None]], 2), len(maps), side)
    return F.grid_sample(maps.float(), grid, align_corners=False)


def from_frame(maps: Tensor, pose: Tensor, size: int) -> Tensor:
    """Maps (N, K, side, side) of frames at their places in images (N, K, size, size), nothing around them."""
    back = torch.linalg.inv(_linear(pose))
    grid = _grid(torch.cat([back, -(back @ pose[:, :2, None])], 2), len(maps), size)
    return F.grid_sample(maps.float(), grid, align_corners=False)


def _grid(affine: Tensor, count: int, side: int) -> Tensor:
    return F.affine_grid(affine, [count, 1, side, side], align_corners=False)


def _axes(twice: Tensor) -> tuple[Tensor, Tensor]:
    """Unit vectors (N, 2) along and across, from twice the angle (N,)."""
    cos, sin = (twice / 2).cos(), (twice / 2).sin()
    return torch.stack([cos, sin], 1), torch.stack([-sin, cos], 1)


def _linear(pose: Tensor) -> Tensor:
    """(N, 2, 2) from a frame's coordinates in [-1, 1] to the image's."""
    along, across = _axes(torch.atan2(pose[:, 3], pose[:, 2]))
    half = pose[:, 4:6].exp()
    return torch.stack([along * half[:, :1], across * half[:, 1:]], 2)
