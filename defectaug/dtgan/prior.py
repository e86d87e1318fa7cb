"""How M's codes are fitted to E's: the layered form's answer to a mapping network that collapses.

Not in the paper. E learns place, shape and style of real defects within a few hundred steps, since every real defect
has to be rebuilt; M, taught by D alone, paints one smear for all latents. So the codes that E finds in the references
of a batch are the example: latent ones may not be more alike (:func:`spread`), none may be missing (:func:`cover`),
and they look the same to a critic (:func:`critic_loss`). No gradient reaches E or G from here.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from defectaug.dtgan import losses
from defectaug.dtgan.codes import Codes
from defectaug.dtgan.mapping import Latent
from defectaug.dtgan.model import DTGAN

PLACES = 16  # size of the map on which places are compared
POOL = 4  # CHOICE: latents drawn for each encoded defect, of which the nearest learns
LARGE_POOL = 16  # CHOICE: the same in the last phase, where M is all there is to do
R1 = 0.05  # CHOICE: weight of the critic's gradient penalty
FRESH = 2  # CHOICE: other latents for each encoded defect, for spread and critic


@dataclass(frozen=True)
class Match:
    """Encoded defects of a batch, the nearest of many latent ones to each, and fresh latent ones of the same classes.

    Attributes:
        target, truth: codes of the references (N, ...) and their opacities (N, 1, S, S).
        near, near_opacity: the same of the nearest latent ones.
        fresh, fresh_opacity: the same of others that nobody chose (FRESH N, ...).
    """

    target: Codes
    truth: Tensor
    near: Codes
    near_opacity: Tensor
    fresh: Codes
    fresh_opacity: Tensor


def match(model: DTGAN, target: Codes, truth: Tensor, generator: torch.Generator, pool: int = POOL) -> Match:
    """Draws latents for encoded codes and their opacities, ``pool`` for each, and finds the nearest ones."""
    target, truth, count = target.detach(), truth.detach(), len(target)

    def made(latent: Latent, defect: Tensor) -> tuple[Codes, Tensor]:
        codes = model.mapping(latent, defect)
        return codes, held_opacity(model, codes)

    drawn = model.mapping.draw(pool * count, generator, target.c.device)
    with torch.no_grad():
        chosen = nearest(target, truth, *made(drawn, target.defect.repeat(pool)))
    others = model.mapping.draw(FRESH * count, generator, target.c.device)
    codes, opacity = made(Latent.cat([drawn[chosen], others]), target.defect.repeat(1 + FRESH))
    return Match(target, truth, codes[:count], opacity[:count], codes[count:], opacity[count:])


def held_opacity(model: DTGAN, codes: Codes) -> Tensor:
    """Opacities (N, 1, S, S) of codes, by G as it is: it shall not learn to please M."""
    decoder = model.generator.opacity
    assert isinstance(decoder, nn.Module)
    held = {name: weight.detach() for name, weight in decoder.named_parameters()}
    return functional_call(decoder, held, (codes.c,))[0]


def nearest(target: Codes, truth: Tensor, codes: Codes, opacity: Tensor) -> Tensor:
    """Numbers (N,) of the rows of a pool (M, ...) that lie nearest to N encoded defects of their class."""
    p, q = (F.adaptive_avg_pool2d(o, PLACES).flatten(1) for o in (truth, opacity))
    near = torch.cdist(p, q).square() / p.square().sum(1, keepdim=True).clamp(min=1e-4)
    near = near + 0.1 * torch.cdist(target.s, codes.s).square() / target.s.shape[1]
    strange = target.defect[:, None] != codes.defect[None]
    return near.masked_fill(strange, float("inf")).argmin(1)


def spread(m: Match) -> Tensor:
    """Places and styles of latent defects of a class differ as much as those of encoded ones."""
    places, true_places = (F.adaptive_avg_pool2d(o, PLACES) for o in (m.fresh_opacity, m.truth))
    groups = m.fresh.defect, m.target.defect
    return losses.excess_likeness(places, groups[0], true_places, groups[1]) + losses.excess_likeness(
        m.fresh.s, groups[0], m.target.s, groups[1]
    )


def cover(m: Match) -> Tensor:
    """Every encoded defect has a latent near it: of a pool the nearest one moves towards it (implicit maximum
    likelihood, Li and Malik 2018), which leaves no mode of the data out, as an adversary may."""
    support = losses.emphasis(F.adaptive_max_pool2d(m.truth, m.target.c.shape[-1]))
    return losses.code_reconstruction(m.target, m.near, support) + losses.mask_match(m.near_opacity, m.truth)


def critic_loss(model: DTGAN, m: Match, generator: torch.Generator) -> Tensor:
    """What the critic minimises: as many fresh latent codes as there are encoded ones, against these; with R1."""
    assert model.critic is not None
    encoded, seen = model.critic.judge(m.target, m.truth, generator, watched=True)
    latent, _ = model.critic.judge(m.fresh[: len(m.target)].detach(), m.fresh_opacity[: len(m.target)].detach(), generator)
    return losses.adversarial_d(encoded, latent) + R1 * losses.r1(encoded, seen)


def shape_loss(model: DTGAN, m: Match, generator: torch.Generator) -> Tensor:
    """What M minimises against the critic."""
    assert model.critic is not None
    verdict, _ = model.critic.judge(m.fresh[: len(m.target)], m.fresh_opacity[: len(m.target)], generator)
    return losses.adversarial_g(verdict)
