"""New places and forms for known defects: seeded warps, and the choice of one by what surrounds the defect."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from defectaug.methods.placement import Placement, enlarged, middle, scaling
from defectaug.methods.residual.border import attached, contact, exposed
from defectaug.methods.residual.defect import Defect, compose
from defectaug.nn.blocks import dilated

CANDIDATES = 18
NUMBERS = 8  # normal random numbers that a candidate is made of
TURN, SIZE, STRETCH, BEND, KNOTS = math.radians(12), 0.18, 0.1, 0.035, 5
# Turns of those that stay, and their share of the rest: bars and edges of the product that come along stay in line.
UPRIGHT, STIFF = math.radians(3), 0.3
SHIFT = 0.45  # standard deviation of free shifts, in half sides
GUESSED = 0.7  # less is what was filled in within a mask weighed than what is seen around it
WORST = 6  # cells of the surroundings that weigh as much as all: where a bar of the product would end, or begin
TOLERANCE = 0.04  # difference of surroundings, in units of [-1, 1], that counts as none
EXPOSED = 1.0  # price of an end that lay on the photograph's edge and comes to lie within the image
LOST = 1.0  # price of a part of the mask that a warp moves out of the image, or out of where it may lie
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
    turn = torch.where(kind == STAY, UPRIGHT, TURN) * z[..., 0] + (kind == ROUND) * math.pi * torch.erf(z[..., 1])
    free = torch.where(kind == STAY, STIFF, 1.0)
    size = torch.exp(SIZE * free * z[..., :1, 2].clamp(-2, 1.5))  # of all alike: small ones fit more often
    stretch = torch.exp(STRETCH * free * z[..., 3].clamp(-2, 2))
    mirror = [torch.where(z[..., 4 + n] < 0, -1.0, 1.0) if way in flips else torch.ones_like(turn)
              for n, way in enumerate("hv")]  # fmt: skip
    reach = torch.where(kind == ANYWHERE, SHIFT, 0.04)
    shift = z[..., 6:8].clamp(-2.2, 2.2) * reach[:, None]
    cos, sin = turn.cos(), turn.sin()
    across, down = mirror[0] / (size * stretch), mirror[1] * stretch / size
    first, second = torch.stack([across * cos, -across * sin], -1), torch.stack([down * sin, down * cos], -1)
    linear = torch.stack([first, second], -2)
    return torch.cat([linear, -(linear @ shift[..., None])], dim=-1)


def aimed(maps: Tensor, kind: Tensor, z: Tensor, mask: Tensor, region: Tensor) -> Tensor:
    """The maps (N, K, 2, 3), those that go anywhere so moved that the middle of the mask (N, 1, S, S) comes to a random
    place of the region (N, 1, S, S) where that is not the whole image."""
    centre = middle(mask)[0]
    chance = (1 + torch.erf(z[..., 6] / math.sqrt(2))) / 2
    maps = maps.clone()
    for row, allowed in enumerate(region[:, 0] > 0.5):
        places = allowed.nonzero()
        if not 0 < len(places) < allowed.numel():
            continue
        chosen = places[(chance[row] * len(places)).long().clamp(max=len(places) - 1)].flip(-1)  # x, y
        goal = (chosen + 0.5) * (2 / allowed.shape[-1]) - 1
        linear = maps[row, :, :, :2]
        offset = centre[row] - (linear @ goal[..., None].to(linear.dtype))[..., 0]
        maps[row, :, :, 2] = torch.where((kind == ANYWHERE).to(z.device)[:, None], offset, maps[row, :, :, 2])
    return maps


def resized(maps: Tensor, mask: Tensor, size: Tensor) -> Tensor:
    """The maps (N, K, 2, 3), what they move larger by ``size`` (N, K) about the middle of its mask (N, 1, S, S), and
    moved inwards by as much as it would grow out of the image."""
    centre, reach = (x[:, None, :, None] for x in middle(mask))
    factor = size[..., None, None]
    linear = maps[..., :2] / factor
    back = torch.linalg.inv(linear)
    goal, extent = back @ (centre - maps[..., 2:]) / factor, back.abs() @ reach
    room = torch.maximum((1 - extent).clamp(min=0), goal.abs() - extent * (1 - 1 / factor).clamp(min=0))
    goal = torch.minimum(torch.maximum(goal, -room), room)
    return torch.where(factor == 1, maps, torch.cat([linear, centre - linear @ goal], dim=-1))


def candidates(
    defect: Defect, target: Tensor, warps: Warps, flips: str, placement: Placement | None = None
) -> tuple[Tensor, Tensor]:
    """Maps (N, K, 2, 3) of each defect, and what they cost (N, K): how unlike its surroundings, moved with it, are
    those at the place on the target (N, C, h, h) that it comes to, on average and where they are most unlike.

    A defect of a rim so stays on the rim, one of the middle in the middle, and one that crosses the border keeps
    crossing it.
    """
    kind = mixed(warps.z.shape[1])
    maps = matrices(warps.z, kind, flips)
    if placement is not None:
        maps = aimed(maps, kind, warps.z, defect.mask, placement.region)
        if placement.varied is not None:
            free = (kind != STAY).to(maps.device)
            maps = resized(maps, defect.mask, torch.where(free, placement.varied[:, None], 1.0))
    met = contact(defect, None if placement is None else placement.edges)
    maps = attached(maps, met)
    count, h = maps.shape[1], target.shape[-1]
    there = (defect.mask > 0.5).to(target.dtype)
    near = F.adaptive_max_pool2d(dilated(there, 4), h)
    near = near * (1 - GUESSED * (1 - F.adaptive_max_pool2d(1 - there, h)))
    seen = shown_around(defect, h)
    stack = torch.cat([seen * near, near], dim=1)
    grid = F.affine_grid(maps.flatten(0, 1), [len(defect) * count, 1, h, h], align_corners=False)
    moved = F.grid_sample(stack.repeat_interleave(count, 0), grid, align_corners=False).unflatten(0, (-1, count))
    weight = moved[:, :, -1:]
    total = weight.sum((2, 3, 4)).clamp(min=1e-3)
    cost = unlike((moved[:, :, :-1] - target[:, None] * weight).abs(), weight)
    area = near.sum((1, 2, 3))[:, None] / torch.det(maps[..., :2]).abs()
    cost = cost + LOST * (1 - total / area.clamp(min=1e-3)).clamp(min=0) + EXPOSED * exposed(maps, met)
    if placement is not None and bool(placement.bounded.any()):
        wished = placement.size[:, None].expand(-1, count)
        lost = outside(defect.mask, resized(maps, defect.mask, wished), placement.region)
        cost = cost + LOST * lost * placement.bounded[:, None]
    return maps, cost


def unlike(difference: Tensor, weight: Tensor) -> Tensor:
    """(N, K) from weighed differences (N, K, C, h, h) and weights (N, K, 1, h, h): their mean, and that of the worst
    cells, in equal parts."""
    cells = difference.mean(2)
    mean = cells.sum((2, 3)) / weight.sum((2, 3, 4)).clamp(min=1e-3)
    return (mean + cells.flatten(2).topk(WORST, dim=2).values.mean(2)) / 2


def shown_around(defect: Defect, side: int) -> Tensor:
    """Defects and their surroundings as they were seen, small (N, C, side, side): a bar of the product that a mask
    holds has its like on the target, if anything has."""
    clean = F.interpolate(defect.context, size=defect.mask.shape[-2:], mode="bilinear", align_corners=False)
    added = defect.mask * compose(defect.structure, defect.style, defect.mask, clean)
    return defect.context + F.adaptive_avg_pool2d(added, side)


def picked(cost: Tensor, pick: Tensor) -> Tensor:
    """The place (N,) among costs (N, K) of one that is hardly dearer than the cheapest, by numbers (N,) in [0, 1)."""
    odds = torch.softmax(-cost / TOLERANCE, dim=1).cumsum(1)
    return (odds < pick[:, None] * odds[:, -1:]).sum(1).clamp(max=cost.shape[1] - 1)


def fitting(
    defect: Defect, target: Tensor, warps: Warps, flips: str, placement: Placement | None = None
) -> tuple[Tensor, Tensor]:
    """The candidates (N, 2, 3) that fit the targets best, and how the defects are bent (N, 2, KNOTS, KNOTS), less where
    they stay; among equally good ones the seed decides. Arguments as of :func:`candidates`."""
    maps, cost = candidates(defect, target, warps, flips, placement)
    best = picked(cost, warps.pick)
    stays = (mixed(maps.shape[1]).to(best.device)[best] == STAY).to(maps.dtype)
    bend = warps.bend * (1 - (1 - STIFF) * stays)[:, None, None, None]
    return maps[torch.arange(len(best), device=best.device), best], bend


def outside(mask: Tensor, maps: Tensor, region: Tensor) -> Tensor:
    """Shares (N, K) of masks (N, 1, S, S) that maps (N, K, 2, 3) move out of the image or of regions (N, 1, S, S)."""
    count, h = maps.shape[1], max(16, mask.shape[-1] // 4)
    small = F.adaptive_avg_pool2d((mask > 0.5).to(maps.dtype), h)
    grid = F.affine_grid(maps.flatten(0, 1), [len(mask) * count, 1, h, h], align_corners=False)
    moved = F.grid_sample(small.repeat_interleave(count, 0), grid, align_corners=False).unflatten(0, (-1, count))
    there = (moved * F.adaptive_avg_pool2d(region.to(maps.dtype), h)[:, None]).sum((2, 3, 4))
    whole = small.sum((1, 2, 3))[:, None] / torch.det(maps[..., :2]).abs()
    return (1 - there / whole.clamp(min=1e-3)).clamp(min=0)


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
    return replace(defect, mask=moved[:, -1:], structure=moved[:, :-1], context=context)


def enlarge(defect: Defect, size: Tensor) -> tuple[Defect, Tensor]:
    """Defects where they are, their sides times ``size`` (N,), and the affine maps (N, 2, 3) that do it."""
    stack = enlarged(torch.cat([defect.structure, defect.mask], dim=1), defect.mask, size)
    return replace(defect, mask=stack[:, -1:], structure=stack[:, :-1]), scaling(defect.mask, size)


def without_foreign_parts(defect: Defect, target: Tensor) -> Defect:
    """Leaves out the parts of warped defects that lie on something else than they did, on the table beside the part
    say: where the surroundings that came with them differ from the target (N, C, h, h)."""
    difference = F.avg_pool2d((defect.context - target).abs().mean(1, keepdim=True), 3, 1, 1, count_include_pad=False)
    size = defect.mask.shape[-1]
    same = F.interpolate((difference < FOREIGN).to(defect.mask.dtype), size=(size, size), mode="bilinear")
    mask = defect.mask * (same > 0.5)
    enough = mask.sum((1, 2, 3), keepdim=True) >= KEPT * defect.mask.sum((1, 2, 3), keepdim=True)
    mask = torch.where(enough, mask, defect.mask)
    return replace(defect, mask=mask, structure=defect.structure * (mask > 0))


def place(
    defect: Defect, target: Tensor, warps: Warps, flips: str, placement: Placement | None = None
) -> tuple[Defect, Tensor, Tensor]:
    """Defects at places of the targets (N, C, h, h) that resemble those that they come from; the maps (N, 2, 3) that
    bring them there; and (N, 1, S, S) where parts of them were left out."""
    maps, bend = fitting(defect, target, warps, flips, placement)
    return put(defect, target, maps, bend, placement)


def put(
    defect: Defect, target: Tensor, maps: Tensor, bend: Tensor, placement: Placement | None = None
) -> tuple[Defect, Tensor, Tensor]:
    """Defects moved by affine maps (N, 2, 3), bent, and as large as wished; the maps by which they came there in the
    end; and (N, 1, S, S) where parts of them were left out."""
    moved = warp(defect, maps, bend)
    if placement is not None:
        larger = resized(maps[:, None], defect.mask, placement.size[:, None])
        maps = attached(larger, contact(defect, placement.edges))[:, 0]
        moved = replace(warp(defect, maps, bend), context=moved.context)
    kept = without_foreign_parts(moved, target)
    return kept, maps, (moved.mask > 0.5) & (kept.mask == 0)
