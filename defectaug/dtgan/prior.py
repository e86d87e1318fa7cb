"""How M's codes are fitted to E's: the layered form's answer to a mapping network that collapses.

Not in the paper. E learns place, shape and style of real defects within a few hundred steps, since every real defect
has to be rebuilt; M, taught by D alone, paints one smear for all latents. So the codes that E finds in the references
of a batch are the example: latent ones may not be more alike (:func:`spread`), none may be missing (:func:`cover`),
and they look the same to a critic (:func:`critic_logits`). No gradient reaches E from here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from defectaug.dtgan import losses
from defectaug.dtgan.codes import Codes
from defectaug.dtgan.model import DTGAN

if TYPE_CHECKING:
    from defectaug.dtgan.objective import Pass

PLACES = 16  # size of the map on which places are compared
CANDIDATES = 4  # CHOICE: latents drawn for each encoded defect, of which the nearest learns


@dataclass(frozen=True)
class Match:
    """Encoded defects of a batch, and a pool of latent ones of the same classes.

    Attributes:
        target, truth: codes of the references (N, ...) and their opacities (N, 1, S, S).
        codes, opacity: the same of the pool (CANDIDATES N, ...).
    """

    target: Codes
    truth: Tensor
    codes: Codes
    opacity: Tensor


def match(model: DTGAN, made: Pass, generator: torch.Generator) -> Match:
    """Draws the pool."""
    assert made.fake.opacity is not None
    half = len(made.latent.z)
    target = made.codes[half:].detach()
    latent = model.mapping.draw(CANDIDATES * len(target), generator, target.c.device)
    codes = model.mapping(latent, target.defect.repeat(CANDIDATES))
    opacity, _ = model.generator.opacity(codes.c)  # type: ignore[operator]
    return Match(target, made.fake.opacity[half:].detach(), codes, opacity)


def spread(m: Match) -> Tensor:
    """Places and styles of latent defects of a class differ as much as those of encoded ones."""
    places, true_places = (F.adaptive_avg_pool2d(o, PLACES) for o in (m.opacity, m.truth))
    groups = m.codes.defect, m.target.defect
    return losses.excess_likeness(places, groups[0], true_places, groups[1]) + losses.excess_likeness(
        m.codes.s, groups[0], m.target.s, groups[1]
    )


def cover(m: Match) -> Tensor:
    """Every encoded defect has a latent near it: of the pool the nearest one moves towards it (implicit maximum
    likelihood, Li and Malik 2018), which leaves no mode of the data out, as an adversary may."""
    with torch.no_grad():
        near = _distances(m.truth, m.opacity)
        near = near + 0.1 * torch.cdist(m.target.s, m.codes.s).square() / m.target.s.shape[1]
        strange = m.target.defect[:, None] != m.codes.defect[None]
        chosen = near.masked_fill(strange, float("inf")).argmin(1)
    support = losses.emphasis(F.adaptive_max_pool2d(m.truth, m.target.c.shape[-1]))
    rebuilt = losses.code_reconstruction(m.target, m.codes[chosen], support)
    return rebuilt + losses.mask_match(m.opacity[chosen], m.truth)


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
