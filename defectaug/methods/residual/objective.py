"""The objective: E learns from what is pasted, the inpainter from normal images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from defectaug.methods.residual import losses
from defectaug.methods.residual.defect import Defect
from defectaug.methods.residual.encoder import own_logits
from defectaug.methods.residual.model import Residual, confident, continued
from defectaug.methods.residual.warp import ANYWHERE, draw_warps, matrices, warp
from defectaug.nn.blocks import dilated

Terms = dict[str, Tensor]
FAINT = 0.6  # of the clearest part's prior
MOST = 0.6  # share of an image above which a mask is not believed
BRIGHTNESS, GAIN, TINT = 0.1, 0.12, 0.02  # standard deviations of what E sees images altered by


@dataclass(frozen=True)
class Scene:
    """What a step works on: ``normal`` images (N, C, S, S), and defective ``reference`` images with their classes,
    products and training images (N,), features and prior maps (N, 1, S, S)."""

    normal: Tensor
    reference: Tensor
    label: Tensor
    reference_product: Tensor
    key: Tensor
    levels: list[Tensor]
    prior: Tensor


def altered(x: Tensor, generator: torch.Generator) -> Tensor:
    """Images under other light."""

    def normal(channels: int) -> Tensor:
        return torch.randn(len(x), channels, 1, 1, generator=generator).to(x.device)

    tint = TINT * normal(x.shape[1]) if x.shape[1] > 1 else 0
    return (x * (1 + GAIN * normal(1)) + BRIGHTNESS * normal(1) + tint).clamp(-1, 1)


def mask_of(model: Residual, scene: Scene, trust: float) -> tuple[Tensor, Tensor]:
    """Masks (N, 1, S, S) of the references' defects: E's by the share ``trust``, else the prior's clearest part; none
    where the prior is quiet all around. And E's probabilities."""
    with torch.no_grad():
        found = torch.sigmoid(own_logits(model.encoder.from_features(scene.reference, scene.levels), scene.label))
    level = (0.5 * scene.prior.amax((2, 3), keepdim=True)).clamp(min=losses.SURE)
    guess = torch.sigmoid(4 * (scene.prior - level))
    near = dilated((scene.prior > 0.8 * losses.SURE).to(found.dtype), 6)
    mask = without_faint_parts(confident((trust * found + (1 - trust) * guess) * near), scene.prior)
    return (continued(mask, found) if trust == 1 else mask), found


def without_faint_parts(mask: Tensor, prior: Tensor) -> Tensor:
    """Leaves out connected parts of masks (N, 1, S, S) whose prior is far below that of the clearest part: crumbs,
    chips, reflections that E has half taken for a defect would be pasted, and learnt, ever more often."""
    kept = []
    for row, evidence in zip((mask[:, 0] > 0.5).cpu().numpy(), prior[:, 0].float().cpu().numpy(), strict=True):
        parts, count = ndimage.label(row, structure=np.ones((3, 3)))
        if count < 2:
            kept.append(torch.from_numpy(row))
            continue
        peaks = np.asarray(ndimage.maximum(evidence, parts, np.arange(1, count + 1)))
        kept.append(torch.from_numpy(np.isin(parts, 1 + np.flatnonzero(peaks >= FAINT * peaks.max()))))
    return mask * torch.stack(kept)[:, None].to(mask.device)


def taken(model: Residual, scene: Scene, mask: Tensor) -> Defect:
    """The references' defects; none where a mask is nearly the whole image."""
    area = (mask > 0.5).float().mean((1, 2, 3), keepdim=True)
    return model.take(scene.reference, mask * (area < MOST), scene.label)[0]


def scattered(defect: Defect, flips: str, generator: torch.Generator) -> Defect:
    """Defects moved anywhere, so that E cannot tell them by their place."""
    warps = draw_warps([generator] * len(defect), defect.mask.device)
    return warp(defect, matrices(warps.z[:, :1], torch.tensor([ANYWHERE]), flips)[:, 0], warps.bend)


def finding_terms(
    model: Residual, teacher: Residual, scene: Scene, moved: Defect, flips: str, generator: torch.Generator
) -> Terms:
    """E on defects pasted where the mask is known, on normal images pasted likewise (the seam is no defect), and on the
    references by their label and the prior."""
    mask = moved.mask
    with torch.no_grad():
        contrast = torch.exp(0.25 * torch.randn(len(mask), 1, generator=generator)).to(mask.device)
        style = torch.cat([moved.style[:, :-1] * contrast, moved.style[:, -1:] + contrast.log()], dim=1)
        image = teacher.paint(scene.normal, moved.with_style(style))[0]
        # The decoys: what another normal image shows under the same mask, moved likewise, so that parts of the product
        # which a mask holds besides its defect are told from it by nothing but what they are.
        other = scene.normal.roll(1, 0)
        decoy_mask = moved.mask.roll(1, 0)
        decoy, _ = model.take(other, decoy_mask, moved.label)
        decoy_image = teacher.paint(scene.normal.roll(2, 0), scattered(decoy, flips, generator))[0]
        plain = torch.rand(len(mask), 1, 1, 1, generator=generator).to(mask.device) < 0.5
        decoy_image = torch.where(plain, scene.normal.roll(2, 0), decoy_image)
    x = altered(torch.cat([image, decoy_image, scene.reference]), generator)
    seen, quiet, real = model.encoder(x).chunk(3)
    target = torch.zeros_like(seen)
    target[torch.arange(len(mask)), scene.label - 1] = (moved.mask > 0.5).float()[:, 0]
    own = own_logits(real, scene.label)
    return {
        "pasted": losses.segmentation(seen, target),
        "normal": losses.nothing(quiet),
        "weak": losses.weak_segmentation(own, scene.prior),
    }


def fill_terms(model: Residual, scene: Scene, moved: Defect) -> Terms:
    """The inpainter gives normal images back under the masks of defects."""
    hidden = dilated((moved.mask > 0.5).float(), 3)
    filled = model.inpainter(scene.normal, 1 - hidden)
    return {"fill": losses.weighted_l1(filled, scene.normal, hidden)}
