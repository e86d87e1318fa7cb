"""Where the product is in its normal images, and what only surrounds it: a table, a frame, the white of a light box.

Surroundings are what often touches the border of the image and hardly ever comes to its middle, and what ends at an
edge. Images that the product fills have none: their colours are the same everywhere, or change without an edge, as
under uneven light.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from defectaug.io.images import NativeImage, to_model

SIDE = 128  # of the image as it is looked at
CLUSTERS = 8  # of colour and roughness, over all images of a product
NOISE = 1e-3  # so that plain images have as many colours as there are clusters
BORDER = 3  # pixels that count as border
RARER = 5.0  # CHOICE: a cluster that is so many times rarer in the middle than at the border surrounds the product
LEAST_SHARE = 0.02  # of the border, for a cluster; of the image, for all surroundings
CRISP = 0.6  # CHOICE: least step at the edge of the surroundings, in deviations of all pixels
SHARP = 2.0  # CHOICE: the same at the very edge, in deviations along it, where one image is all there is
MOST_IMAGES = 0.75  # CHOICE: share of the images that have to show surroundings
PART = 0.1  # CHOICE: of the largest part of the product; what is smaller is not of it
BAND = 4  # pixels beside an edge that are looked at to find it

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Surroundings:
    """What surrounds a product, as learnt from its normal images.

    Attributes:
        clusters: (K, C + 1), mean colour in [-1, 1] and roughness.
        around: (K,), whether a cluster is of the surroundings.
        share: part of an image that they cover, the median of all images.
    """

    clusters: Floats
    around: Bools
    share: float

    def product_in(self, image: NativeImage) -> Bools:
        """Where the product is in an image: (SIDE, SIDE), the image squeezed to a square."""
        pixels = _shrunk(image, self.clusters.shape[1] - 1)
        return ~_around_product(self.around[_nearest(_features(pixels), self.clusters)], pixels)


def find_surroundings(images: Sequence[NativeImage]) -> Surroundings | None:
    """What surrounds a product, from some of its normal images; None where it fills them, or where a single image does
    not tell."""
    from scipy.cluster.vq import kmeans2

    channels = max(image.channels for image in images)
    pixels = [_shrunk(image, channels) for image in images]
    features = np.stack([_features(one) for one in pixels])
    some = features[:, ::2, ::2].reshape(-1, channels + 1)
    noise = np.random.default_rng(0).normal(0, NOISE, some.shape)
    clusters = kmeans2(some + noise, CLUSTERS, iter=12, minit="++", seed=0)[0].astype(np.float32)
    labels = np.stack([_nearest(one, clusters) for one in features])
    border, third = _border(), slice(SIDE // 3, SIDE - SIDE // 3)
    at_border, in_middle = (_frequencies(part) for part in (labels[:, border], labels[:, third, third]))
    around = (at_border > LEAST_SHARE) & (at_border > RARER * in_middle)
    if not around.any():
        return None
    masks = [_around_product(around[one], shown) for one, shown in zip(labels, pixels, strict=True)]
    greys = features[..., :-1].mean(-1)
    deviation = float(greys.std())
    clear = [
        mask.mean() >= LEAST_SHARE and _step(mask, grey) >= CRISP * deviation
        for mask, grey in zip(masks, greys, strict=True)
    ]
    if len(images) == 1:
        clear[0] = clear[0] and _is_sharp(masks[0], greys[0])
    share = float(np.median([mask.mean() for mask in masks]))
    return Surroundings(clusters, around, share) if np.mean(clear) >= MOST_IMAGES else None


def _shrunk(image: NativeImage, channels: int) -> Floats:
    """(SIDE, SIDE, C) in [-1, 1]; of large images only some rows and columns are read."""
    stride = [max(1, edge // (2 * SIDE)) for edge in image.size]
    few = np.ascontiguousarray(image.pixels[:: stride[0], :: stride[1]])
    return to_model(few, SIDE, channels, image.white).transpose(1, 2, 0)


def _features(pixels: Floats) -> Floats:
    """(SIDE, SIDE, C + 1): smoothed colour, and the deviation of the brightness nearby."""
    from scipy.ndimage import uniform_filter

    grey = pixels.mean(-1)
    mean = uniform_filter(grey, 5)
    rough = np.sqrt(np.maximum(uniform_filter(grey * grey, 5) - mean * mean, 0))
    return np.concatenate([uniform_filter(pixels, (3, 3, 1)), rough[..., None]], axis=-1)


def _nearest(features: Floats, clusters: Floats) -> NDArray[np.int32]:
    """Number of the nearest cluster of each pixel (SIDE, SIDE)."""
    from scipy.cluster.vq import vq

    return np.asarray(vq(features.reshape(-1, features.shape[-1]), clusters)[0].reshape(SIDE, SIDE), np.int32)


def _frequencies(labels: NDArray[np.int32]) -> NDArray[np.float64]:
    return np.bincount(labels.ravel(), minlength=CLUSTERS) / labels.size


def _border() -> Bools:
    border = np.ones((SIDE, SIDE), bool)
    border[BORDER:-BORDER, BORDER:-BORDER] = False
    return border


def _around_product(mask: Bools, pixels: Floats) -> Bools:
    """From pixels that look like surroundings to surroundings: what reaches the border, up to where the colours change,
    and what is far smaller than the product."""
    from scipy.ndimage import label

    around = _outer(_sharpened(_outer(mask), pixels))
    parts, count = label(~around)
    areas = np.bincount(parts.ravel(), minlength=count + 1)
    areas[0] = 0
    return around | (areas[parts] < PART * areas.max())


def _outer(mask: Bools) -> Bools:
    """The parts of a mask that touch the border."""
    from scipy.ndimage import label

    parts = label(mask)[0]
    touching = np.unique(parts[_border()])
    return np.isin(parts, touching[touching > 0])


def _sharpened(around: Bools, pixels: Floats) -> Bools:
    """The mask with its edge where the colours change: each pixel near the edge goes to the side whose colour nearby
    it is more like."""
    from scipy.ndimage import binary_dilation, binary_erosion, uniform_filter

    inner, outer = binary_erosion(around, iterations=2, border_value=1), binary_dilation(around, iterations=BAND)
    width = 2 * BAND + 5

    def nearby(side: Bools) -> Floats:
        weight = uniform_filter(side.astype(np.float32), width)[..., None]
        return uniform_filter(pixels * side[..., None], (width, width, 1)) / np.maximum(weight, 1e-3)

    doubtful = outer & ~inner
    to_around, to_product = (np.abs(pixels - nearby(side)).sum(-1) for side in (inner, ~outer))
    return np.where(doubtful, to_around < to_product, around)


def _step(mask: Bools, grey: Floats) -> float:
    """How much brighter or darker one side of the mask's edge is than the other."""
    inside, outside = _sides(mask, grey, BAND)
    return float(abs(inside.mean() - outside.mean())) if inside.size and outside.size else 0.0


def _is_sharp(mask: Bools, grey: Floats) -> bool:
    """Whether the two sides differ at the very edge by more than each does along it."""
    inside, outside = _sides(mask, grey, BAND // 2)
    if not inside.size or not outside.size:
        return False
    return bool(abs(inside.mean() - outside.mean()) >= SHARP * (inside.std() + outside.std()) / 2)


def _sides(mask: Bools, grey: Floats, width: int) -> tuple[Floats, Floats]:
    """The pixels of a band on either side of the mask's edge."""
    from scipy.ndimage import binary_dilation, binary_erosion

    inside = mask & ~binary_erosion(mask, iterations=width, border_value=1)
    return grey[inside], grey[binary_dilation(mask, iterations=width) & ~mask]
