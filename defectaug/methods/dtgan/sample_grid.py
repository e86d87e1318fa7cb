"""Sample sheets: what a run has learnt, at a glance."""

from __future__ import annotations

import torch
from torch import Tensor

from defectaug.methods.dtgan.anchor import NORMAL, anchor_like
from defectaug.methods.dtgan.model import DTGAN
from defectaug.methods.dtgan.objective import TrainingBatch

GAP = 2


def sample_sheet(model: DTGAN, rows: TrainingBatch, seed: int) -> Tensor:
    """One column an example, (C, H, W) in [-1, 1].

    From top to bottom: source, latent-guided, real image of that defect (the reference), reference-guided,
    the reference rebuilt from its own code, the reference with its defect removed.
    """
    generator = torch.Generator().manual_seed(seed)
    latent = model.mapping.draw(len(rows.image), generator, rows.image.device)
    background = model.generator.background(rows.image)
    drawn = model.mapping(latent, rows.target, rows.product)
    guided = model.generator.render(background, drawn).image
    codes = model.encoder(rows.reference, rows.target)
    transferred = model.generator.render(background, codes).image
    own = model.generator.background(rows.reference)
    rebuilt = model.generator.render(own, codes).image
    removed = own.clean
    if removed is None:
        # Without an anchor domain what E takes for normal stands for it
        normal = anchor_like(codes) if model.net.anchor else model.encoder(rows.reference, rows.target * 0 + NORMAL)
        removed = model.generator.render(own, normal).image
    return tile([rows.image, guided, rows.reference, transferred, rebuilt, removed])


def tile(lines: list[Tensor]) -> Tensor:
    """Lines of (N, C, S, S) images to one sheet, a white gap between them."""
    padded = [torch.nn.functional.pad(line.float().cpu(), (0, GAP, 0, GAP), value=1.0) for line in lines]
    return torch.cat([torch.cat(list(line), dim=2) for line in padded], dim=1).clamp(-1, 1)
