"""How sure a model is of the defect that an image shows, and what it sees there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import torch
from torch import Tensor

if TYPE_CHECKING:
    from defectaug.methods.base import DefectModel

STEEP = 4  # how soon confidence falls where another class is more probable
DOUBT = 0.25  # confidence in what a model takes for something else, where it says no more


@dataclass(frozen=True)
class Assessment:
    """Of N images.

    Attributes:
        confidence: (N,) in [0, 1], at least 0.5 where the model itself would name the defect that was asked for.
        features: (N, F), what the model sees of the defect; F may be 0.
    """

    confidence: Tensor
    features: Tensor


@runtime_checkable
class AssessesDefects(Protocol):
    """A model that says more than yes or no."""

    def assess(self, image: Tensor, defect: Tensor, mask: Tensor) -> Assessment:
        """Of images (N, C, S, S) in [-1, 1] that are to show the classes (N,) in masks (N, 1, S, S)."""
        ...


def assess(model: DefectModel, image: Tensor, defect: Tensor, mask: Tensor) -> Assessment:
    """What any model says of the defects (N,) in the masks (N, 1, S, S) of images (N, C, S, S)."""
    if isinstance(model, AssessesDefects):
        return model.assess(image, defect, mask)
    shown = model.shows(image, defect)
    return Assessment(torch.where(shown, 1.0, DOUBT), torch.zeros(len(image), 0, device=image.device))


def odds(own: Tensor, others: Tensor) -> Tensor:
    """Confidence (N,) in a class of probability ``own`` (N,) beside the most probable other one (N,)."""
    return 1 / (1 + (others / own.clamp(min=1e-6)) ** STEEP)
