"""Defects that begin at the edge of the photograph: they begin there again, or their cut end would show."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from defectaug.methods.residual.defect import Defect

STRIP = 2  # pixels from an edge, in which a defect is taken to begin there
OVER = 0.04  # half sides by which it is moved beyond, since it is bent, too
RING = 2  # cells of CELLS a side from an edge that count as it
CELLS = 32


@dataclass(frozen=True)
class Contact:
    """Where N defects meet edges at which their photographs ended.

    Attributes:
        cells: (N, 1, CELLS, CELLS), 1 where they do.
        main: (N,), the edge that the largest part of it is on: top, left, bottom, right.
        middle: (N, 2), x and y in [-1, 1], of that part.
        edges: (N, 4) booleans, the edges of what they come to at which its photograph ends.
    """

    cells: Tensor
    main: Tensor
    middle: Tensor
    edges: Tensor

    @property
    def there(self) -> Tensor:
        """(N,) booleans."""
        return self.cells.flatten(1).any(1)


def contact(defect: Defect, edges: Tensor | None = None) -> Contact:
    """Of defects as they were seen, and the edges (N, 4) of what they come to; None: photographs seen whole."""
    mask = (defect.mask[:, 0] > 0.5).float()
    count, size = len(mask), mask.shape[-1]
    strips = torch.zeros(4, size, size, device=mask.device)
    strips[0, :STRIP], strips[1, :, :STRIP], strips[2, -STRIP:], strips[3, :, -STRIP:] = 1, 1, 1, 1
    met = mask[:, None] * strips * defect.edges.to(mask.device)[:, :, None, None]  # (N, 4, S, S)
    main = met.sum((2, 3)).argmax(1)
    own = met[torch.arange(count), main]
    axis = (torch.arange(size, device=mask.device) + 0.5) * (2 / size) - 1
    total = own.sum((1, 2)).clamp(min=1)
    along = torch.stack([(own.sum(1) * axis).sum(1), (own.sum(2) * axis).sum(1)], dim=1) / total[:, None]
    middle = torch.where(_across(main), _outwards(main), along)
    cells = F.adaptive_max_pool2d(met.amax(1, keepdim=True), CELLS)
    ends = torch.ones_like(defect.edges) if edges is None else edges
    return Contact(cells, main, middle, ends.to(mask.device))


def _outwards(edge: Tensor) -> Tensor:
    """Unit vectors (..., 2), x and y, out of the image at edges (...)."""
    return torch.tensor([[0.0, -1.0], [-1.0, 0.0], [0.0, 1.0], [1.0, 0.0]], device=edge.device)[edge]


def _across(edge: Tensor) -> Tensor:
    """(..., 2) booleans, the coordinate that an edge fixes."""
    return _outwards(edge) != 0


def attached(maps: Tensor, met: Contact) -> Tensor:
    """The maps (N, K, 2, 3) from new places to old ones, those of defects that meet an edge so moved that these meet
    the one that lies their way, and bent ones still do."""
    linear = maps[..., :2]
    back = torch.linalg.inv(linear)
    middle = met.middle.to(maps.dtype)[:, None, :, None]
    way = (back @ _outwards(met.main).to(maps.dtype)[:, None, :, None])[..., 0]
    landed = (back @ (middle - maps[..., 2:]))[..., 0]
    ahead = F.one_hot(way.abs().argmax(-1), 2).bool()
    goal = torch.where(ahead, way.sign() * (1 + OVER), landed)
    moved = torch.cat([linear, middle - linear @ goal[..., None]], dim=-1)
    edge = torch.where(ahead[..., 1], 0, 1) + torch.where((way * ahead).sum(-1) > 0, 2, 0)
    ends = met.edges.gather(1, edge) & met.there[:, None]
    return torch.where(ends[..., None, None], moved, maps)


def exposed(maps: Tensor, met: Contact) -> Tensor:
    """Shares (N, K) of what met an edge that maps (N, K, 2, 3) bring to where no such edge is, in the image or beyond
    what is shown of it; 0 for defects that met none."""
    axis = (torch.arange(CELLS, device=maps.device, dtype=maps.dtype) + 0.5) * (2 / CELLS) - 1
    places = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1).view(-1, 2)
    moved = (places - maps[..., None, :, 2]) @ torch.linalg.inv(maps[..., :2]).mT  # (N, K, CELLS^2, 2)
    outwards = torch.cat([-moved.flip(-1), moved.flip(-1)], dim=-1)  # towards top, left, bottom, right
    at = (outwards > 1 - RING * 2 / CELLS) & met.edges[:, None, None]
    cells = met.cells.to(maps.dtype).flatten(1)[:, None]
    return (cells * ~at.any(-1)).sum(-1) / cells.sum(-1).clamp(min=1)
