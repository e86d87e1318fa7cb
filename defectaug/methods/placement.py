"""Where, how strong and how large defects are painted: by the model where it can, else by changing what it has painted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from defectaug.io.windows import Box
from defectaug.methods.base import Painted, SourceFeatures

if TYPE_CHECKING:
    from defectaug.methods.base import DefectModel


@dataclass(frozen=True)
class Placement:
    """Wishes for N defects.

    Attributes:
        region: (N, 1, S, S), 1 where a defect may lie, 0 elsewhere.
        strength, size: (N,), factors on the contrast, and on the sides.
        varied: (N,), a further one on the sides, for defects that may differ from known ones; those that keep their
            place keep their size, so that what crosses parts of the product still fits; None: 1.
        edges: (N, 4) booleans, whether the photograph ends at top, left, bottom, right of what is shown; None: at all.
    """

    region: Tensor
    strength: Tensor
    size: Tensor
    varied: Tensor | None = None
    edges: Tensor | None = None

    @property
    def bounded(self) -> Tensor:
        """(N,), whether a region is less than the whole image."""
        return (self.region < 1).flatten(1).any(1)

    @property
    def is_free(self) -> bool:
        """Whether nothing is wished for."""
        varied = self.varied is not None and bool((self.varied != 1).any())
        inner = self.edges is not None and not bool(self.edges.all())
        return not bool(varied or inner or self.bounded.any() or (self.strength != 1).any() or (self.size != 1).any())


@dataclass(frozen=True)
class Variety:
    """How much new defects differ from those that a model knows: least and greatest factor on contrast and sides."""

    strength: tuple[float, float] = (1.0, 1.0)
    size: tuple[float, float] = (1.0, 1.0)


@runtime_checkable
class PlacesDefects(Protocol):
    """A model that heeds wishes while it paints."""

    def variety(self, defect: int, product: int) -> Variety:
        """What new defects of a class and product, -1 for one that is not known, are varied by, beside what is wished
        for."""
        ...

    def paint_placed(self, sources: Sequence[SourceFeatures], codes: Any, placement: Placement) -> Painted:
        """:meth:`defectaug.methods.base.DefectModel.paint_on`, with wishes."""
        ...


@dataclass(frozen=True)
class Seen:
    """Where a defect was seen.

    Attributes:
        box: the part of its image that was shown.
        around: that part, (h, h, C) in [-1, 1], small; None where that is not known.
    """

    box: Box
    around: NDArray[np.float32] | None = None


@runtime_checkable
class KnowsPlaces(Protocol):
    """A model that knows where on a product the defects that it draws were seen."""

    def seen_in(self, defect: int, seed: int, product: int) -> Seen | None:
        """Where the defect of the codes of a seed was seen; None where that is not known.

        Args:
            defect, product: class numbers; -1 for a product that is not known.
        """
        ...


def seen_in(model: object, defect: int, seed: int, product: int) -> Seen | None:
    """As of :class:`KnowsPlaces`; None for a model that knows none."""
    return model.seen_in(defect, seed, product) if isinstance(model, KnowsPlaces) else None


def variety_of(model: object, defect: int, product: int) -> Variety:
    """A model's own variety, as of :class:`PlacesDefects`; none for one that heeds no wishes while it paints."""
    return model.variety(defect, product) if isinstance(model, PlacesDefects) else Variety()


def paint_placed(
    model: DefectModel, sources: Sequence[SourceFeatures], codes: Any, placement: Placement
) -> Painted:
    """Defects painted as wished for: nothing changes outside the regions."""
    if placement.is_free:
        return model.paint_on(sources, codes)
    if isinstance(model, PlacesDefects):
        return model.paint_placed(sources, codes, placement)
    return adjusted(model.paint_on(sources, codes), placement)


def adjusted(painted: Painted, placement: Placement) -> Painted:
    """What was painted without wishes, enlarged about its middle, strengthened, and cut off outside the region."""
    source = painted.image - painted.delta
    scaled = enlarged(torch.cat([painted.delta, painted.opacity], dim=1), painted.opacity, placement.size)
    delta, opacity = scaled[:, :-1] * placement.strength[:, None, None, None] * placement.region, scaled[:, -1:]
    return Painted((source + delta).clamp(-1, 1), delta, opacity * placement.region)


def enlarged(maps: Tensor, weight: Tensor, size: Tensor) -> Tensor:
    """Maps (N, C, S, S) with their sides times ``size`` (N,), about the middle of ``weight`` (N, 1, S, S)."""
    grid = F.affine_grid(scaling(weight, size), list(maps.shape), align_corners=False)
    moved = F.grid_sample(maps, grid.to(maps.dtype), align_corners=False)
    return torch.where((size == 1)[:, None, None, None], maps, moved)


def scaling(weight: Tensor, size: Tensor) -> Tensor:
    """Affine maps (N, 2, 3), as ``affine_grid`` takes them, that enlarge by ``size`` (N,) about the middle of
    ``weight`` (N, 1, S, S), and move it inwards where it would leave the image."""
    centre, reach = middle(weight)
    room = (1 - reach * size[:, None]).clamp(min=0)
    goal = torch.minimum(torch.maximum(centre, -room), room)
    inverse = 1 / size
    linear = torch.diag_embed(inverse[:, None].expand(-1, 2))
    return torch.cat([linear, (centre - inverse[:, None] * goal)[..., None]], dim=-1)


def middle(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Middle (N, 2) and half sides (N, 2), x and y in [-1, 1], of the boxes around what weighs more than half of the
    heaviest pixel; the image's where nothing weighs."""
    there = weight[:, 0] > 0.5 * weight.amax((1, 2, 3), keepdim=True)[:, 0]
    ends = []
    for across in (1, 2):
        line = there.any(across)
        count = line.shape[1]
        first = line.float().argmax(1)
        last = count - line.flip(1).float().argmax(1)
        none = ~line.any(1)
        ends.append((first.masked_fill(none, 0) * 2 / count - 1, last.masked_fill(none, count) * 2 / count - 1))
    low, high = (torch.stack([axis[k] for axis in ends], dim=1) for k in range(2))
    return (low + high) / 2, (high - low) / 2
