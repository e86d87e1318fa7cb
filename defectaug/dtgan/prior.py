"""How M's codes are fitted to E's: the layered form's answer to a mapping network that collapses.

Not in the paper. E learns place, shape and style of real defects within a few hundred steps, since every real defect
has to be rebuilt; M, taught by D alone, paints one smear for all latents. So the codes that E finds in the references
of a batch are the example: latent ones may not be more alike (:func:`spread`), none may be missing (:func:`cover`),
and they look the same to a critic (:func:`critic_logits`). No gradient reaches E from here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from defectaug.dtgan import losses
from defectaug.dtgan.mapping import Latent
from defectaug.dtgan.model import DTGAN

if TYPE_CHECKING:
    from defectaug.dtgan.objective import Pass

PLACES = 16  # size of the map on which places are compared
CANDIDATES = 4  # CHOICE: latents drawn for each encoded defect, of which the nearest learns


def spread(made: Pass) -> Tensor:
    """Places and styles of latent defects differ as much as those of encoded ones."""
    assert made.fake.opacity is not None
    half = len(made.latent.z)
    places = F.adaptive_avg_pool2d(made.fake.opacity, PLACES)
    return losses.excess_likeness(places[:half], places[half:]) + losses.excess_likeness(
        made.codes.s[:half], made.codes.s[half:]
    )


def cover(model: DTGAN, made: Pass, generator: torch.Generator) -> Tensor:
    """Every encoded defect has a latent near it: of some latents the nearest one moves towards it (implicit maximum
    likelihood, Li and Malik 2018), which leaves no mode of the data out, as an adversary may."""
    assert made.fake.opacity is not None
    half = len(made.latent.z)
    target, truth = made.codes[half:].detach(), made.fake.opacity[half:].detach()
    with torch.no_grad():
        pool = model.mapping.draw(CANDIDATES * len(target), generator, truth.device)
        codes = model.mapping(pool, target.defect.repeat(CANDIDATES))
        opacity, _ = model.generator.opacity(codes.c)  # type: ignore[operator]
        near = _distances(truth, opacity) + 0.1 * torch.cdist(target.s, codes.s).square() / target.s.shape[1]
        strange = target.defect[:, None] != codes.defect[None]
        chosen = near.masked_fill(strange, float("inf")).argmin(1)
    moved = model.mapping(Latent(pool.z[chosen], [n[chosen] for n in pool.noise]), target.defect)
    painted, _ = model.generator.opacity(moved.c)  # type: ignore[operator]
    support = losses.emphasis(F.adaptive_max_pool2d(truth, target.c.shape[-1]))
    return losses.code_reconstruction(target, moved, support) + losses.mask_match(painted, truth)


def _distances(a: Tensor, b: Tensor) -> Tensor:
    """Squared distances (N, M) of opacities, pooled, as shares of the size of ``a``."""
    p, q = (F.adaptive_avg_pool2d(o, PLACES).flatten(1) for o in (a, b))
    return torch.cdist(p, q).square() / p.square().sum(1, keepdim=True).clamp(min=1e-4)


def critic_logits(
    model: DTGAN, made: Pass, generator: torch.Generator, rows: slice, *, detached: bool
) -> Tensor:
    """The critic's logits (N,) of some rows of a pass: latent codes come first, encoded ones after."""
    assert model.critic is not None and made.fake.opacity is not None
    opacity, style = made.fake.opacity[rows], made.codes.s[rows]
    if detached:
        opacity, style = opacity.detach(), style.detach()
    return model.critic.judge(opacity, style, made.codes.defect[rows], generator)
