"""What the loop asks of a method that it trains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor, nn
from torch.optim import Optimizer

from defectaug.data.batches import Batch


class Method(Protocol):
    """Networks, optimisers and one step; everything that changes is in ``modules`` and ``optimizers``."""

    modules: Mapping[str, nn.Module]
    optimizers: Mapping[str, Optimizer]

    def step(self, batch: Batch, step: int, done: float) -> dict[str, float]:
        """One step of all phases. ``done`` is the share of the run that is over, for schedules.

        Raises:
            TrainingError: a value is not finite.
        """
        ...

    def weights(self) -> dict[str, Tensor]:
        """What the bundle keeps: the averaged weights."""
        ...

    def begin_validation(self) -> None:
        """Called once when warm-up ends: fixes what scores are measured with."""
        ...

    def score(self, sources: Batch) -> dict[str, float]:
        """Validation measures; the one called ``score`` is the smaller the better."""
        ...

    def grid(self, shown: Batch) -> Tensor:
        """Sample sheet (C, H, W) in [-1, 1]."""
        ...
