"""New places and forms for known defects: seeded warps, and the choice of one by what surrounds the defect."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from defectaug.methods.residual.defect import Defect
from defectaug.nn.blocks import dilated

CANDIDATES = 24
NUMBERS = 8  # normal random numbers that a candidate is made of
TURN, SIZE, STRETCH, BEND, KNOTS = math.radians(12), 0.18, 0.1, 0.035, 5
SHIFT = 0.45  # standard deviation of free shifts, in half sides
TOLERANCE = 0.04  # difference of surroundings, in units of [-1, 1], that counts as none
LOST = 1.0  # price of a part of the mask that a warp moves out of the image
FOREIGN = 0.3  # difference of surroundings above which a part of a defect has come to lie on something else
KEPT = 0.3  # share of a defect that has to be left for its foreign parts to be dropped


@dataclass(frozen=True)
class Warps:
    """Seeded random numbers of candidates: ``z`` (N, K, NUMBERS), ``bend`` (N, 2, KNOTS, KNOTS), ``pick`` (N,) in [0,
    1)."""

    z: Tensor
    bend: Tensor
    pick: Tensor

    def __getitem__(self, rows: slice | Tensor) -> Warps:
        return Warps(self.z[rows], self.bend[rows], self.pick[rows])


def draw_warps(generators: Sequence[torch.Generator], device: torch.device) -> Warps:
    """One set of candidates a generator, so that each depends on its own seed alone."""
    z = torch.stack([torch.randn(CANDIDATES, NUMBERS, generator=g) for g in generators])
    bend = torch.stack([torch.randn(2, KNOTS, KNOTS, generator=g) for g in generators])
    pick = torch.stack([torch.rand((), generator=g) for g in generators])
    return Warps(z.to(device), bend.to(device), pick.to(device))


STAY, ROUND, ANYWHERE = range(3)


def mixed(count: int) -> Tensor:
    """Kinds (count,) of candidates: a third stays about where it was, a third goes round the middle of the image (parts
    of round products), a third goes anywhere."""
    return torch.arange(count) % 3


def matrices(z: Tensor, kind: Tensor, flips: str) -> Tensor:
    """Affine maps (N, K, 2, 3) from places in the new image to places in the old one, of kinds (K,)."""
    kind = kind.to(z.device)
    turn = TURN * z[..., 0] + (kind == ROUND) * math.pi * torch.erf(z[..., 1])
    size, stretch = torch.exp(SIZE * z[..., 2].clamp(-2, 1.5)), torch.exp(STRETCH * z[..., 3].clamp(-2, 2))
    mirror = [torch.where(z[..., 4 + n] < 0, -1.0, 1.0) if way in flips else torch.ones_like(turn)
              for n, way in enumerate("hv")]  # fmt: skip
    reach = torch.where(kind == ANYWHERE, SHIFT, 0.04)
    shift = z[..., 6:8].clamp(-2.2, 2.2) * reach[:, None]
    cos, sin = turn.cos(), turn.sin()
    across, down = mirror[0] / (size * stretch), mirror[1] * stretch / size
    first, second = torch.stack([across * cos, -across * sin], -1), torch.stack([down * sin, down * cos], -1)
    linear = torch.stack([first, second], -2)
    return torch.cat([linear, -(linear @ shift[..., None])], dim=-1)


def choose(defect: Defect, target: Tensor, warps: Warps, flips: str) -> Tensor:
    """The candidate (N, 2, 3) for each defect whose surroundings, moved with it, are most like those at the place on
    the target (N, C, h, h) that it comes to; among equally good ones the seed decides.

    A defect of a rim so stays on the rim, one of the middle in the middle, and one that crosses the border keeps
    crossing it.
    """
    maps = matrices(warps.z, mixed(warps.z.shape[1]), flips)
    count, h = maps.shape[1], target.shape[-1]
    near = F.adaptive_max_pool2d(dilated((defect.mask > 0.5).to(target.dtype), 4), h)
    stack = torch.cat([defect.context * near, near], dim=1)
    grid = F.affine_grid(maps.flatten(0, 1), [len(defect) * count, 1, h, h], align_corners=False)
    moved = F.grid_sample(stack.repeat_interleave(count, 0), grid, align_corners=False).unflatten(0, (-1, count))
    weight = moved[:, :, -1:]
    total = weight.sum((2, 3, 4)).clamp(min=1e-3)
    difference = (moved[:, :, :-1] - target[:, None] * weight).abs().mean(2, keepdim=True)
    cost = difference.sum((2, 3, 4)) / total
    area = near.sum((1, 2, 3))[:, None] / torch.det(maps[..., :2]).abs()
    cost = cost + LOST * (1 - total / area.clamp(min=1e-3)).clamp(min=0)
    odds = torch.softmax(-cost / TOLERANCE, dim=1).cumsum(1)
    best = (odds < warps.pick[:, None] * odds[:, -1:]).sum(1).clamp(max=count - 1)
    return maps[torch.arange(len(maps), device=maps.device), best]


def warp(defect: Defect, maps: Tensor, bend: Tensor) -> Defect:
    """Defects moved by affine maps (N, 2, 3) and bent by fields (N, 2, KNOTS, KNOTS)."""
    size = defect.mask.shape[-1]
    grid = F.affine_grid(maps, [len(defect), 1, size, size], align_corners=False)
    field = F.interpolate(BEND * bend, size=(size, size), mode="bicubic", align_corners=False)
    stack = torch.cat([defect.structure, defect.mask], dim=1).float()
    moved = F.grid_sample(stack, grid + field.permute(0, 2, 3, 1), mode="bilinear", align_corners=False)
    h = defect.context.shape[-1]
    context = F.grid_sample(defect.context, F.affine_grid(maps, [len(defect), 1, h, h], align_corners=False),
                            padding_mode="border", align_corners=False)  # fmt: skip
    return Defect(moved[:, -1:], moved[:, :-1], defect.style, context, defect.label)


def without_foreign_parts(defect: Defect, target: Tensor) -> Defect:
    """Leaves out the parts of warped defects that lie on something else than they did, on the table beside the part
    say: where the surroundings that came with them differ from the target (N, C, h, h)."""
    difference = F.avg_pool2d((defect.context - target).abs().mean(1, keepdim=True), 3, 1, 1, count_include_pad=False)
    size = defect.mask.shape[-1]
    same = F.interpolate((difference < FOREIGN).to(defect.mask.dtype), size=(size, size), mode="bilinear")
    mask = defect.mask * (same > 0.5)
    enough = mask.sum((1, 2, 3), keepdim=True) >= KEPT * defect.mask.sum((1, 2, 3), keepdim=True)
    mask = torch.where(enough, mask, defect.mask)
    return Defect(mask, defect.structure * (mask > 0), defect.style, defect.context, defect.label)


def place(defect: Defect, target: Tensor, warps: Warps, flips: str) -> tuple[Defect, Tensor]:
    """Defects in new forms, at places of the targets (N, C, h, h) that resemble those they come from; and the affine
    maps (N, 2, 3) by which they came there."""
    maps = choose(defect, target, warps, flips)
    return without_foreign_parts(warp(defect, maps, warps.bend), target), maps
