"""How M's codes are fitted to E's: the layered form's answer to a mapping network that collapses.

Not in the paper. E learns place, shape and style of real defects within a few hundred steps, since every real defect
has to be rebuilt; M, taught by D alone, paints one smear for all latents. So the codes that E finds in the references
of a batch are the example: latent ones may not be more alike (:func:`spread`), none may be missing (:func:`cover`),
and they look the same to a critic (:func:`critic_loss`). No gradient reaches E from here.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from defectaug.dtgan import losses
from defectaug.dtgan.codes import Codes
from defectaug.dtgan.model import DTGAN
from defectaug.nn.rows import Rows

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


def match(
    model: DTGAN, target: Codes, truth: Tensor, generator: torch.Generator, rows: Rows | None = None
) -> Match:
    """Draws the pool for encoded codes and their opacities.

    Args:
        rows: the set that ``target`` and ``truth`` are this process's part of; None for all of it. The terms look at a
            batch as a whole, so that every process gets all of the match; M's work is divided.
    """
    rows = rows or Rows.split(len(target))
    target, truth = gathered(target.detach(), rows), rows.gather(truth.detach())
    latent = model.mapping.draw(CANDIDATES * rows.count, generator, target.c.device)
    defect, part = target.defect.repeat(CANDIDATES), rows.alike(CANDIDATES * rows.count)
    if part.processes > 1:
        mine = part.mine.to(defect.device)
        latent, defect = latent[mine], defect[mine]
    codes = model.mapping(latent, defect)
    opacity, _ = model.generator.opacity(codes.c)  # type: ignore[operator]
    return Match(target, truth, gathered(codes, part), part.gather(opacity))


def gathered(codes: Codes, rows: Rows) -> Codes:
    """The codes of all processes."""
    return Codes(rows.gather(codes.c), rows.gather(codes.s), rows.gather(codes.defect))


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


def critic_loss(model: DTGAN, m: Match, generator: torch.Generator) -> Tensor:
    """What the critic minimises: as many latent codes of the pool as there are encoded ones, against these."""
    encoded = _judge(model, m.target, m.truth, generator)
    latent = _judge(model, m.codes.detach(), m.opacity.detach(), generator, rows=slice(len(m.target)))
    return losses.adversarial_d(encoded, latent)


def shape_loss(model: DTGAN, m: Match, generator: torch.Generator) -> Tensor:
    """What M minimises against the critic."""
    return losses.adversarial_g(_judge(model, m.codes, m.opacity, generator, rows=slice(len(m.target))))


def _judge(
    model: DTGAN, codes: Codes, opacity: Tensor, generator: torch.Generator, rows: slice = slice(None)
) -> Tensor:
    assert model.critic is not None
    return model.critic.judge(opacity[rows], codes.s[rows], codes.defect[rows], generator)
