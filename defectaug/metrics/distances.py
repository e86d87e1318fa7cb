"""Distances between sets of feature vectors, and their spread under resampling, in double precision. No torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from scipy.stats import binomtest

Rows = NDArray[np.floating]
Weights = NDArray[np.floating]
NEIGHBOURS = 3  # of precision and recall, as in their paper
PERCENTILES = (2.5, 97.5)  # of the interval


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate and its 95 % confidence interval; shown as "1.92 [1.70, 2.20]"."""

    value: float
    low: float
    high: float


def frechet(a: Rows, b: Rows, a_weights: Weights | None = None, b_weights: Weights | None = None) -> float:
    """Fréchet distance of the Gaussians with the sets' means and covariances (Heusel et al., 2017, eq. 6).

    The trace of the root of the covariances' product is the sum of the singular values of the centred sets' product,
    which needs no matrix root and holds for fewer rows than columns, too.

    Args:
        a, b: (N, D) and (M, D), two rows or more each.
        a_weights, b_weights: how often each row counts; sum N and M.
    """
    (a_mean, a_root), (b_mean, b_root) = _moments(a, a_weights), _moments(b, b_weights)
    common = np.linalg.svd(a_root @ b_root.T, compute_uv=False).sum()
    between = float(np.square(a_mean - b_mean).sum())
    return max(0.0, between + float(np.square(a_root).sum() + np.square(b_root).sum() - 2 * common))


def _moments(rows: Rows, weights: Weights | None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean (D,), and R with R'R the unbiased covariance, (at most D, D)."""
    rows = np.asarray(rows, np.float64)
    weights = np.ones(len(rows)) if weights is None else np.asarray(weights, np.float64)
    rows, weights = rows[weights > 0], weights[weights > 0]  # a third of a bootstrap has weight 0
    total = weights.sum()
    mean = weights @ rows / total
    root = (rows - mean) * np.sqrt(weights / (total - 1))[:, None]
    if len(root) > root.shape[1]:
        root = np.asarray(np.linalg.qr(root, mode="r"))
    return mean, root


def polynomial_kernel(a: Rows, b: Rows) -> NDArray[np.float64]:
    """(a·b / D + 1)³ of all pairs of rows (Bińkowski et al., 2018)."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return (a @ b.T / a.shape[1] + 1) ** 3


def kernel_distance(a: Rows, b: Rows) -> Callable[[Weights | None, Weights | None], float]:
    """Unbiased squared maximum mean discrepancy of rows (N, D) and (M, D), from how often each counts; None: once.

    May be a little below 0. A row is never paired with itself.
    """
    aa, ab, bb = polynomial_kernel(a, a), polynomial_kernel(a, b), polynomial_kernel(b, b)

    def distance(a_weights: Weights | None, b_weights: Weights | None) -> float:
        wa = np.ones(len(aa)) if a_weights is None else a_weights
        wb = np.ones(len(bb)) if b_weights is None else b_weights
        return pair_mean(aa, wa) + pair_mean(bb, wb) - 2 * float(wa @ ab @ wb / (wa.sum() * wb.sum()))

    return distance


def pair_mean(matrix: Rows, weights: Weights | None = None) -> float:
    """Mean of a symmetric (N, N) matrix over the pairs of different rows, each row counting `weights` times."""
    weights = np.ones(len(matrix)) if weights is None else np.asarray(weights, np.float64)
    own = np.square(weights)
    pairs = float(weights.sum() ** 2 - own.sum())
    return float(weights @ matrix @ weights - own @ np.diag(matrix)) / pairs if pairs > 0 else float("nan")


def squared_distances(a: Rows, b: Rows) -> NDArray[np.float64]:
    """Squared distances (N, M) of rows (N, D) and (M, D), by one product of matrices: much faster than `cdist` where
    rows are long. Rows are centred first, so that little is lost in the difference of large numbers."""
    centre = np.asarray(b, np.float64).mean(0)
    a, b = a - centre, b - centre
    found = np.square(a).sum(1)[:, None] + np.square(b).sum(1) - 2 * a @ b.T
    return np.maximum(found, 0.0)


def intra_cluster(among: Rows, to_real: Rows) -> float | None:
    """Mean distance of pairs within the clusters of synthetic images around their nearest real ones (IC-LPIPS of Ojha
    et al., 2021, by whatever distance); None where no cluster holds two.

    A set of copies of the real images, however many of these there are, has next to none.

    Args:
        among: (N, N) distances of the synthetic images.
        to_real: (N, K) distances of these to the real ones.
    """
    nearest = to_real.argmin(1)
    clusters = [np.flatnonzero(nearest == number) for number in np.unique(nearest)]
    found = [pair_mean(among[np.ix_(some, some)]) for some in clusters if len(some) > 1]
    return float(np.mean(found)) if found else None


def inside(queries: Rows, others: Rows) -> NDArray[np.bool_]:
    """Which queries lie within some row's distance to its NEIGHBOURS-th neighbour (Kynkäänniemi et al., 2019): (N,).

    Of synthetic queries among real rows the mean is precision, of real ones among synthetic rows recall.

    Args:
        queries, others: (N, D) and (M, D), M above NEIGHBOURS.
    """
    radius = np.partition(cdist(others, others), NEIGHBOURS, axis=1)[:, NEIGHBOURS]
    return np.any(cdist(queries, others) <= radius, axis=1)


def resampled(
    value: float,
    measure: Callable[[Weights, Weights], float],
    sizes: tuple[int, int],
    *,
    seed: int,
    resamples: int,
    floor: float | None = None,
) -> Interval:
    """The value with a 95 % bootstrap interval: both sets are drawn again with replacement, `resamples` times.

    Drawing again adds to such distances the bias that drawing the sets has added once already. So the interval shows
    the spread of the resamples laid around the value, not their level.

    Args:
        value: of the sets as they are.
        measure: the value from how often each row of the two sets counts.
        sizes: rows of the two sets.
        seed: of the resampling.
        resamples: their number.
        floor: what the value cannot be below.
    """
    rng = np.random.default_rng(seed)
    values = [measure(*(_draw(rng, size) for size in sizes)) for _ in range(resamples)]
    low, high = np.nanpercentile(values, PERCENTILES) - np.nanmean(values) + value
    low, high = min(float(low), value), max(float(high), value)
    return Interval(value, low if floor is None else max(low, floor), high)


def share_interval(hits: int, count: int) -> Interval:
    """A share with Wilson's 95 % interval, which holds for few images and shares of 0 and 1.

    Raises:
        ValueError: no images.
    """
    if count < 1:
        raise ValueError("a share of no images")
    ends = binomtest(hits, count).proportion_ci(0.95, "wilson")
    return Interval(hits / count, float(ends.low), float(ends.high))


def _draw(rng: np.random.Generator, size: int) -> Weights:
    return np.bincount(rng.integers(0, size, size), minlength=size).astype(np.float64)
