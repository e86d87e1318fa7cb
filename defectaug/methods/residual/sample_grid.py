"""Sample grid: what a run has learnt, at a glance."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from defectaug.methods.residual.model import CONTEXT, Residual
from defectaug.methods.residual.warp import draw_warps, place
from defectaug.methods.sample_grid import tile


def sample_grid(
    model: Residual, source: Tensor, product: Tensor, reference: Tensor, label: Tensor, flips: str
) -> Tensor:
    """One column an example, (C, H, W) in [-1, 1], from top to bottom: source, latent-guided, its mask, real image of
    that defect (the reference), the mask found there, the reference cleaned, rebuilt, and its defect on the source."""
    seeds = [torch.Generator().manual_seed(number) for number in range(len(source))]
    noise = torch.randn(len(source), 1, *source.shape[2:], generator=torch.Generator().manual_seed(0)).to(source.device)
    drawn, _ = model.bank.draw(label, product, seeds)
    drawn, _ = place(drawn, F.adaptive_avg_pool2d(source, CONTEXT), draw_warps(seeds, source.device), flips)
    guided = model.paint(source, drawn, noise).image
    defect, clean = model.read(reference, label)
    rebuilt = model.painter(clean, clean, defect, noise).image
    moved = model.paint(source, defect, noise).image
    shown = [2 * mask.expand_as(source) - 1 for mask in (drawn.mask, defect.mask)]
    return tile([source, guided, shown[0], reference, shown[1], clean, rebuilt, moved])
