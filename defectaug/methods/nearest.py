"""Distances to the nearest of many known places, in a quarter of the time that comparing with all of them takes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

CLUSTERS, PROBED = 64, 4  # of the known places; how many of them a place is compared with
FEW = 1024  # known places, up to which comparing with all is as fast
TURNS = 8  # of Lloyd's algorithm
SHAPES = (32, 48)  # times powers of two: sizes that are multiplied


@dataclass(frozen=True)
class Search:
    """Known places, in clusters; a place is compared with those of the clusters that are nearest to it (an inverted
    file, Sivic and Zisserman 2003). On a GPU, or where they are few, all are in one. What is multiplied has few shapes:
    a CPU compiles a product of matrices for each, which takes longer than the product itself.

    Attributes:
        centres: (K, D).
        members: of each cluster, its places (n, D), and rows of zeros up to one of few sizes.
        squares: of each, the squares (n,) of their lengths, infinite for rows that are none.
        known: number of places.
    """

    centres: Tensor
    members: tuple[Tensor, ...]
    squares: tuple[Tensor, ...]
    known: int

    @staticmethod
    def among(known: Tensor, least: int) -> Search:
        """A search among places (N, D), in clusters of ``least`` or more."""
        if len(known) <= FEW or known.is_cuda:  # a GPU would wait for the processor at every cluster
            return Search(known[:1], (known,), (known.square().sum(1),), len(known))
        centres = centred(known)
        counts = torch.bincount(assigned(known, centres), minlength=len(centres))
        centres = centres[counts >= least]
        owner = assigned(known, centres)
        members, squares = [], []
        for one in range(len(centres)):
            own = known[owner == one]
            more = roomy(len(own)) - len(own)
            members.append(F.pad(own, (0, 0, 0, more)))
            squares.append(F.pad(own.square().sum(1), (0, more), value=torch.inf))
        return Search(centres, tuple(members), tuple(squares), len(known))

    @torch.no_grad()
    def nearest(self, places: Tensor, count: int) -> Tensor:
        """Squared distances (P, ``count``) of places (P, D) to the nearest known ones, in rising order, as far as there
        are so many."""
        probed = compared(places, self.centres).topk(min(PROBED, len(self.centres)), largest=False).indices
        cluster = probed.T.flatten()
        order, counts = cluster.argsort(stable=True), torch.bincount(cluster, minlength=len(self.members)).tolist()
        found = torch.full((len(cluster), count), torch.inf, device=places.device)
        for members, squares, rows in zip(self.members, self.squares, order.split(counts), strict=True):
            if len(rows):
                more = roomy(len(rows)) - len(rows) if len(self.members) > 1 else 0  # all in one: few shapes anyway
                asked = F.pad(rows % len(places), (0, more))
                distance = torch.addmm(squares, places[asked], members.T, alpha=-2)[: len(rows)]
                few = distance.topk(min(count, len(members)), largest=False).values
                found[rows, : few.shape[1]] = few.float()
        found = found.view(probed.shape[1], len(places), count).transpose(0, 1).flatten(1)
        best = found.topk(min(count, self.known), largest=False).values
        return (best + places.square().sum(1, keepdim=True)).clamp(min=0)


def roomy(count: int) -> int:
    """The least of few sizes that has room for ``count`` rows, less than half as many again."""
    return min(size << max(0, math.ceil(math.log2(count / size))) for size in SHAPES)


def compared(places: Tensor, known: Tensor) -> Tensor:
    """|a - b|² less |a|², which is the same for all, of places (P, D) and known ones (N, D): (P, N). Under autocast it
    takes half the time of torch.cdist."""
    return torch.addmm(known.square().sum(1), places, known.T, alpha=-2)


def assigned(places: Tensor, centres: Tensor) -> Tensor:
    """The number (P,) of the nearest centre."""
    return compared(places, centres).argmin(1)


def centred(known: Tensor) -> Tensor:
    """Centres (CLUSTERS, D) of places (N, D), by Lloyd's algorithm from places that are always the same."""
    generator = torch.Generator().manual_seed(0)
    centres = known[torch.randperm(len(known), generator=generator)[:CLUSTERS].to(known.device)].clone()
    for _ in range(TURNS):
        owner = assigned(known, centres)
        total = torch.zeros_like(centres).index_add_(0, owner, known)
        count = torch.bincount(owner, minlength=len(centres))[:, None]
        centres = torch.where(count > 0, total / count.clamp(min=1), centres)
    return centres
