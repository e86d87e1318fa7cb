"""How well numbers tell two kinds of images apart, wherever the line between them is drawn. No torch."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.stats import rankdata


def auroc(high: Sequence[float], low: Sequence[float]) -> float:
    """The chance that one of the first is above one of the second: the area under the ROC curve."""
    ranks = rankdata(np.concatenate([high, low]))[: len(high)]
    return float((ranks.sum() - len(high) * (len(high) + 1) / 2) / (len(high) * len(low)))


def by_chance(high: int, low: int) -> float:
    """Standard deviation of the AUROC of so many images where there is no difference (Mann and Whitney 1947)."""
    return math.sqrt((high + low + 1) / (12 * high * low))
