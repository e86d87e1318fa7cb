"""A generator that paints nothing for long has collapsed."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from defectaug.errors import TrainingError

PATIENCE = 1_000  # steps
NOTHING = 1e-5  # mean opacity: less than a pixel in an image


class CollapseMonitor(nn.Module):
    """Counts the steps without any paint. A module, so that the count is saved with the rest of a run."""

    dead_steps: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("dead_steps", torch.zeros((), dtype=torch.long))

    def update(self, painted: float, step: int) -> None:
        """Takes the mean opacity of a step's defects.

        Raises:
            TrainingError: no defect was painted in PATIENCE steps.
        """
        if painted >= NOTHING:
            self.dead_steps.zero_()
            return
        self.dead_steps += 1
        if self.dead_steps >= PATIENCE:
            raise TrainingError(
                f"step {step}: the generator has painted nothing for {PATIENCE:,} steps; try a smaller loss.area in "
                "--config, another --seed, or check that the defective images show their defects at this size."
            )
