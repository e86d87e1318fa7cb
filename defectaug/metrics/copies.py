"""Defects that repeat another one, as a person would see it: moved, turned, mirrored, scaled, bent or in another tone.

A defect is cut out by its mask, about its centre and at a size that follows its extent, so that place and scale are
gone. It is laid over each other defect in all turns, mirrored and not; the closest are bent onto it. What is left is
compared by correlation, of outline, grey levels and their detail, so that tone is gone too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, label
from scipy.stats import mannwhitneyu
from torch import Tensor

from defectaug.io.images import resize_float

Floats = NDArray[np.float32]
SIDE = 48  # pixels at which defects are compared; placements are searched at half of it
VIEW = 80  # pixels of the square that is kept, so that the others may be turned in it
TURNS, SCALES = 36, (0.87, 1.0, 1.15)
REGISTERED = 4  # of the closest placements, that are bent onto a defect
ITERATIONS, REACH = 20, 1.5  # of the bending, at half the side: steps, farthest that a pixel moves
CLOSER = 0.75  # share of pairs in which a synthetic defect is the closer one, from which on they are called copies
CHANCE = 0.001  # that so many would be closer by luck
FEWEST = 4  # defects on either side, to compare any
BATCH = 32  # defects compared at once


@dataclass(frozen=True)
class Repeat:
    """The defect that another one repeats most closely: its number, -1 for none, and their similarity, 1 for a copy."""

    number: int
    similarity: float


@dataclass(frozen=True)
class Closeness:
    """Similarities of synthetic defects to their nearest, beside those of real ones that were not learnt from."""

    synthetic: tuple[float, ...] = ()
    real: tuple[float, ...] = ()

    @staticmethod
    def of(synthetic: Sequence[Repeat], real: Sequence[Repeat]) -> Closeness:
        """Of those that have a nearest one."""
        return Closeness(*(tuple(one.similarity for one in some if one.number >= 0) for some in (synthetic, real)))

    @cached_property
    def test(self) -> tuple[float, float]:
        """Share of pairs in which the synthetic one is the closer (0.5 where they are alike), and the chance of it
        (Mann and Whitney's rank test); (nan, 1) where there are too few."""
        if min(len(self.synthetic), len(self.real)) < FEWEST:
            return float("nan"), 1.0
        found = mannwhitneyu(self.synthetic, self.real, alternative="greater")
        return float(found.statistic) / (len(self.synthetic) * len(self.real)), float(found.pvalue)

    @property
    def accuses(self) -> bool:
        share, chance = self.test
        return share >= CLOSER and chance < CHANCE


def defect_view(grey: Floats, mask: NDArray[np.bool_]) -> Floats:
    """The largest defect of a mask (2, VIEW, VIEW): how surely it lies there, and its grey levels over the surround.

    Args:
        grey: (H, W) grey levels.
        mask: (H, W), not empty.
    """
    pieces, _ = label(binary_dilation(mask, iterations=max(2, max(mask.shape) // 48)))
    mask = mask & (pieces == 1 + np.bincount(pieces[mask])[1:].argmax())
    places = np.argwhere(mask)
    centre, spread = places.mean(0), float(np.sqrt(places.var(0).sum()))
    half = max(4.0, 1.9 * spread + 1) * VIEW / SIDE
    low, high = np.floor(centre - half).astype(int), np.ceil(centre + half).astype(int) + 1
    pads = [(max(0, -a), max(0, b - size)) for a, b, size in zip(low, high, mask.shape, strict=True)]
    rows, columns = (slice(a + before, b + before) for a, b, (before, _) in zip(low, high, pads, strict=True))
    grey, mask = np.pad(grey, pads, mode="edge")[rows, columns], np.pad(mask, pads)[rows, columns]
    contrast = (grey - np.median(grey if mask.all() else grey[~mask])) * binary_dilation(mask)
    return np.stack([resize_float(part.astype(np.float32), (VIEW, VIEW)) for part in (mask, contrast)])


def nearest_defects(queries: Floats, others: Floats, forbidden: NDArray[np.bool_] | None = None) -> list[Repeat]:
    """For each defect the other one that it repeats most closely.

    Args:
        queries, others: `defect_view` (N, 2, V, V) and (M, 2, V, V).
        forbidden: (N, M), pairs that are not compared.
    """
    poses = torch.tensor([(turn, mirror, scale) for turn in range(TURNS) for mirror in (1, -1) for scale in SCALES])
    found: list[Repeat] = []
    for start in range(0, len(queries), BATCH):
        asked = torch.from_numpy(queries[start : start + BATCH])
        barred = torch.zeros(len(asked), len(others), dtype=torch.bool)
        if forbidden is not None:
            barred = torch.from_numpy(forbidden[start : start + BATCH])
        free = ~barred.all(1)
        best, numbers = torch.zeros(len(asked)), torch.full((len(asked),), -1)
        if free.any():
            best[free], numbers[free] = _nearest(asked[free], torch.from_numpy(others), barred[free], poses)
        found += [Repeat(int(number), float(value)) for number, value in zip(numbers, best, strict=True)]
    return found


def _nearest(asked: Tensor, others: Tensor, barred: Tensor, poses: Tensor) -> tuple[Tensor, Tensor]:
    """Similarity (N,) and number (N,) of the nearest of `others` that is not barred (N, M)."""
    still, side = torch.tensor([[0.0, 1.0, 1.0]]), SIDE // 2
    small = _placed(F.avg_pool2d(asked, 2), still.expand(len(asked), -1), side)
    scores = torch.stack([_correlations(small, other, poses, side) for other in F.avg_pool2d(others, 2)], 1)
    outline, tone = scores.unbind(-1)  # (N, M, P) each
    likely = ((outline + tone.abs()) / 2).masked_fill(barred[..., None], -2).flatten(1)
    values, chosen = likely.topk(min(REGISTERED, likely.shape[1]), 1)
    number, pose = chosen // len(poses), chosen % len(poses)
    rows = torch.arange(len(asked)).repeat_interleave(chosen.shape[1])
    fixed = _placed(asked, still.expand(len(asked), -1), SIDE)[rows]
    moving = _placed(others[number.flatten()], poses[pose.flatten()], SIDE)
    sign = tone.flatten(1).gather(1, chosen).sign().flatten()
    moving = moving * torch.stack([torch.ones_like(sign), sign], 1)[..., None, None]
    close = similarity(fixed, _registered(fixed, moving)).view(values.shape).masked_fill(values < -1, -2)
    best, place = close.max(1)
    return best, number.gather(1, place[:, None])[:, 0]


def _correlations(queries: Tensor, other: Tensor, poses: Tensor, side: int) -> Tensor:
    """Correlation (N, P, 2) of queries (N, 2, s, s) with a view (2, v, v) in all poses."""
    placed = _placed(other.expand(len(poses), -1, -1, -1), poses, side)
    return torch.einsum("ncd,pcd->npc", _units(queries.flatten(2)), _units(placed.flatten(2)))


def _placed(views: Tensor, poses: Tensor, side: int) -> Tensor:
    """The middle (N, 2, side, side) of views (N, 2, v, v) at poses (N, 3): turn, mirror, scale."""
    line = torch.linspace(-1, 1, side) * (SIDE - 1) / (VIEW - 1)
    down, right = torch.meshgrid(line, line, indexing="ij")
    turn, mirror, scale = (part[:, None, None] for part in poses.float().unbind(1))
    turn = turn * (2 * torch.pi / TURNS)
    x, y = right * turn.cos() - down * turn.sin(), right * turn.sin() + down * turn.cos()
    return F.grid_sample(views, torch.stack([x * mirror * scale, y * scale], -1), align_corners=True)


def _registered(fixed: Tensor, moving: Tensor) -> Tensor:
    """The second of two defects (N, 2, S, S), bent onto the first by demons (Thirion, 1998), at half their size."""
    target, lively = (
        torch.stack([one[:, 0], one[:, 1] / _strength(one[:, 1])], 1)
        for one in (F.avg_pool2d(fixed, 2), F.avg_pool2d(moving, 2))
    )
    field = torch.zeros_like(target)  # pixels right and down
    for _ in range(ITERATIONS):
        now = _warped(lively, field)
        apart = target - now
        along = torch.stack(torch.gradient(now, dim=(3, 2)), 2)  # (N, 2, 2, S / 2, S / 2)
        push = (apart[:, :, None] * along).sum(1)
        push = push / (along.square().sum((1, 2)) + 0.5 * apart.square().sum(1) + 1e-3)[:, None]
        field = _smooth(field + push, 3).clamp(-REACH, REACH)
    return _warped(moving, 2 * F.interpolate(field, scale_factor=2, mode="bilinear"))


def _warped(images: Tensor, field: Tensor) -> Tensor:
    line = torch.linspace(-1, 1, images.shape[-1])
    still = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1)
    return F.grid_sample(images, still + field.permute(0, 2, 3, 1) * (2 / (len(line) - 1)), align_corners=True)


def _smooth(images: Tensor, times: int) -> Tensor:
    """Means over 5 x 5 pixels, so many times: close to a Gaussian."""
    for _ in range(times):
        images = F.avg_pool2d(images, 5, 1, 2, count_include_pad=False)
    return images


def similarity(a: Tensor, b: Tensor) -> Tensor:
    """Mean correlation (N,) of outline and grey levels, and of their detail where either lies, of (N, 2, S, S)."""
    coarse = (_units(a.flatten(2)) * _units(b.flatten(2))).sum(2).mean(1)
    inside = (torch.maximum(a[:, 0], b[:, 0]) > 0.3).float()
    fine = [one - _smooth(one[:, None], 2)[:, 0] for one in (a[:, 1], b[:, 1])]
    means = [(one * inside).sum((1, 2)) / inside.sum((1, 2)).clamp(min=1) for one in fine]
    c, d = (((one - mean[:, None, None]) * inside).flatten(1) for one, mean in zip(fine, means, strict=True))
    return (coarse + F.cosine_similarity(c, d, dim=1)) / 2


def _units(rows: Tensor) -> Tensor:
    rows = rows - rows.mean(-1, keepdim=True)
    return rows / rows.norm(dim=-1, keepdim=True).clamp(min=1e-6)


def _strength(images: Tensor) -> Tensor:
    return images.flatten(1).norm(dim=1)[:, None, None].clamp(min=1e-6) / images.shape[-1] * 4
