"""Which images make up a training batch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class CellDraws:
    """Batches in which every cell is as likely as every other, and real images are not crowded out of theirs.

    Args:
        cells: (N,) cell number of every image.
        synthetic: (N,) whether it is synthetic.
        batch: images a batch.
        seed: with the step, fixes a batch.
        oversample: False: every image is as likely as every other, cells as they come.
        real_share: least share of real images among a mixed cell's draws.
    """

    def __init__(
        self,
        cells: NDArray[np.int64],
        synthetic: NDArray[np.bool_],
        *,
        batch: int,
        seed: int,
        oversample: bool = True,
        real_share: float = 0.5,
    ) -> None:
        self._batch, self._seed = batch, seed
        weights = np.zeros(len(cells))
        for cell in np.unique(cells):
            real, made = (cells == cell) & ~synthetic, (cells == cell) & synthetic
            share = real.sum() / (real.sum() + made.sum())
            share = max(share, real_share) if real.any() and made.any() else share
            size = 1.0 if oversample else float(real.sum() + made.sum())
            weights[real] = size * share / max(1, real.sum())
            weights[made] = size * (1 - share) / max(1, made.sum())
        self._edges = np.cumsum(weights / weights.sum())

    def __call__(self, step: int) -> NDArray[np.int64]:
        """Image numbers (B,) of a step, the same whenever it is asked."""
        rng = np.random.default_rng([self._seed, step])
        # One draw in each B-th of the range: every cell gets its share of each batch, to within one image
        points = (np.arange(self._batch) + rng.random(self._batch)) / self._batch
        return np.minimum(np.searchsorted(self._edges, points, side="right"), len(self._edges) - 1)
