"""Outlines: which pixels of a coarse mask are the defect's, by what they are like beside those around it.

E's masks come from features half or a quarter as fine as the image. What a defect's pixels are like, and what those
around it are, is known from the mask itself, so that each pixel can be asked again (as in GrabCut, Rother et al. 2004,
with histograms and without a cut).
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from defectaug.io.windows import box_of

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]
REACH = 1  # pixels beside a mask that are asked, too
GAP, FAR = 2, 12  # pixels from a mask between which lies what surrounds it
LIGHT = 8.0  # pixels, standard deviation, over which light changes
UNKNOWN = 0.05  # weight of the ring's light
BINS, BLUR = 48, 1.5  # of a histogram, and bins by which it is blurred
UNSEEN = 0.02  # share of a histogram's weight that all bins have in common
ROUNDS = 3
LOOKS, BIAS = 1.5, 0.5  # weight of what pixels are like beside E's probability; what speaks for the defect by itself
DOUBT = 0.03  # probability below and above which E is not believed more
MOST = 4.0  # that one pixel's likeness may say
FEW = 8  # pixels that a defect is
AROUND = 40  # and that have to be seen around it


def outlined(x: Tensor, mask: Tensor, probability: Tensor) -> Tensor:
    """Masks (N, 1, S, S) of 0 and 1, of what in coarse ones, or a pixel beside them, looks like the defect.

    The parts that hold a pixel of which E is sure; as they are where hardly anything is seen around them.

    Args:
        x: images (N, C, S, S) in [-1, 1].
        mask: (N, 1, S, S), which may hold some of the surface.
        probability: (N, 1, S, S) that a pixel is defect, by E.
    """
    rows = zip(_array(x), _array(mask)[:, 0] > 0.5, _array(probability)[:, 0], strict=True)
    return torch.from_numpy(np.stack([_outlined(*row) for row in rows])[:, None]).to(x.device, mask.dtype)


def _array(x: Tensor) -> Floats:
    return np.asarray(x.detach().float().cpu().numpy())


def _outlined(pixels: Floats, coarse: Mask, probability: Floats) -> Mask:
    """Of one image (C, S, S)."""
    found, part = coarse.copy(), box_of(coarse, FAR + 2 * LIGHT)
    if part is None or np.count_nonzero(coarse) < FEW:
        return found
    coarse, likely = part.cut(coarse), part.cut(probability)
    away = ndimage.distance_transform_cdt(~coarse, "chessboard")
    ring = (away > GAP) & (away <= FAR)
    if np.count_nonzero(ring) < AROUND:
        return found
    level = _in_even_light(np.stack([part.cut(one) for one in pixels]), away > REACH, ring)
    bins = _binned(_told_apart(level, coarse, ring), coarse | ring)
    sure = likely > min(max(float(likely.max()) / 2, DOUBT), 0.5)
    odds = likely.clip(DOUBT, 1 - DOUBT)
    prior = np.log(odds / (1 - odds)) + BIAS
    around, mask = _histogram(bins[ring]), coarse
    for _ in range(ROUNDS):
        evidence = np.log(_histogram(bins[mask]) / around)[bins].clip(-MOST, MOST)
        better = touching((LOOKS * evidence + prior > 0) & (away <= REACH), sure)
        if np.count_nonzero(better) < FEW:
            break
        mask = better
    part.cut(found)[...] = _closed(mask)
    return found


def _in_even_light(pixels: Floats, known: Mask, ring: Mask) -> Floats:
    """Pixels (C, h, w) less what surrounds them, by where the defect is not; far within it, less the ring's mean."""
    weight = _blurred(known.astype(np.float32))
    return np.stack([
        one - (_blurred(one * known) + UNKNOWN * one[ring].mean()) / (weight + UNKNOWN) for one in pixels
    ])  # fmt: skip


def _blurred(x: Floats) -> Floats:
    return np.asarray(ndimage.gaussian_filter(x, LIGHT, truncate=2))


def _told_apart(level: Floats, inside: Mask, around: Mask) -> Floats:
    """The mixture (h, w) of channels (C, h, w) that tells two parts of an image apart best (Fisher 1936)."""
    if len(level) == 1:
        return level[0]
    a, b = level[:, inside], level[:, around]
    within = np.cov(a) + np.cov(b) + 1e-4 * np.eye(len(level))
    way = np.linalg.solve(within, a.mean(1) - b.mean(1))
    return np.asarray(np.tensordot(way / max(float(np.linalg.norm(way)), 1e-6), level, 1), np.float32)


def _binned(values: Floats, seen: Mask) -> NDArray[np.int64]:
    """Numbers of bins (h, w), over the range that values have where they are seen."""
    low, high = np.percentile(values[seen], [0.5, 99.5])
    return ((values - low) * (BINS / max(high - low, 1e-3))).astype(np.int64).clip(0, BINS - 1)


def _histogram(bins: NDArray[np.int64]) -> NDArray[np.float64]:
    """(BINS,), of sum 1 and nowhere 0."""
    counts = ndimage.gaussian_filter1d(np.bincount(bins, minlength=BINS).astype(float), BLUR, mode="nearest")
    counts += UNSEEN * len(bins) / BINS
    return np.asarray(counts / counts.sum())


def _closed(mask: Mask) -> Mask:
    """A mask without gaps of a pixel or two, up to its edge."""
    return np.asarray(ndimage.binary_closing(np.pad(mask, 1, mode="edge"), np.ones((3, 3)))[1:-1, 1:-1])


def touching(mask: Mask, seeds: Mask) -> Mask:
    """The connected parts of a mask (H, W) that hold a seed, diagonals counting."""
    parts, _ = ndimage.label(mask, structure=np.ones((3, 3)))
    return np.isin(parts, np.unique(parts[mask & seeds]))
