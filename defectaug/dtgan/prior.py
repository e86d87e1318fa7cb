"""How M's codes are fitted to E's: the layered form's answer to a mapping network that collapses.

Not in the paper. E learns place, shape and style of real defects within a few hundred steps, since every real defect
has to be rebuilt; M, taught by D alone, paints one smear for all latents. So the codes that E finds in the references
of a batch are the example: latent ones may not be more alike (:func:`spread`), none may be missing (:func:`cover`),
and they look the same to a critic (:func:`critic_loss`). No gradient reaches E or G from here.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from defectaug.dtgan import losses
from defectaug.dtgan.codes import Codes
from defectaug.dtgan.critic import ShapeCritic
from defectaug.dtgan.mapping import Latent
from defectaug.dtgan.model import DTGAN
from defectaug.nn.held import held

PLACES = 16  # size of the map on which places are compared
R1 = 0.05  # CHOICE: weight of the critic's gradient penalty
FRESH = 2  # CHOICE: latents of the normal distribution for each encoded defect, for spread and critic


@dataclass(frozen=True)
class Match:
    """Encoded defects of a batch, what M makes of their own latents, and fresh latent ones of the same classes.

    Attributes:
        target, truth: codes of the references (N, ...) and their opacities (N, 1, S, S).
        mean, log_variance: of the latents that the posterior gives them (N, latent_dim).
        near, near_opacity: codes and opacities that M makes of such latents (N, ...).
        fresh, fresh_opacity: the same of latents drawn from the normal distribution (FRESH N, ...).
    """

    target: Codes
    truth: Tensor
    mean: Tensor
    log_variance: Tensor
    near: Codes
    near_opacity: Tensor
    fresh: Codes
    fresh_opacity: Tensor

    def detach(self) -> Match:
        """The same values, cut from the graph."""
        return Match(*(getattr(self, f.name).detach() for f in fields(self)))

    def judged(self, critic: ShapeCritic, generator: torch.Generator, encoded: bool) -> tuple[Tensor, Tensor]:
        """The critic's logits of the encoded codes, or of as many fresh latent ones, and the maps it saw."""
        rows = slice(len(self.target))
        codes = self.target if encoded else self.fresh[rows]
        opacity = self.truth if encoded else self.fresh_opacity[rows]
        return critic.judge(codes, opacity, losses.scale(self.target.c), generator)


def match(model: DTGAN, target: Codes, truth: Tensor, generator: torch.Generator) -> Match:
    """Latent codes for encoded ones and their opacities."""
    assert model.posterior is not None
    target, truth, count = target.detach(), truth.detach(), len(target)
    mean, log_variance = model.posterior(target, truth, losses.scale(target.c))
    drawn = model.mapping.draw((1 + FRESH) * count, generator, target.c.device)
    z = torch.cat([mean + (log_variance / 2).exp() * drawn.z[:count], drawn.z[count:]])
    codes = model.mapping(Latent(z, drawn.noise), target.defect.repeat(1 + FRESH))
    opacity = held_opacity(model, codes)
    return Match(
        target, truth, mean, log_variance, codes[:count], opacity[:count], codes[count:], opacity[count:]
    )


def held_opacity(model: DTGAN, codes: Codes) -> Tensor:
    """Opacities (N, 1, S, S) of codes, by G as it is: it shall not learn to please M."""
    decoder = model.generator.opacity
    assert isinstance(decoder, nn.Module)
    return held(decoder, codes.c)[0]


def spread(m: Match) -> Tensor:
    """Places and styles of latent defects of a class differ as much as those of encoded ones."""
    places, true_places = (F.adaptive_avg_pool2d(o, PLACES) for o in (m.fresh_opacity, m.truth))
    groups = m.fresh.defect, m.target.defect
    return losses.excess_likeness(places, groups[0], true_places, groups[1]) + losses.excess_likeness(
        m.fresh.s, groups[0], m.target.s, groups[1]
    )


def cover(m: Match) -> Tensor:
    """M makes every encoded defect again from its own latent, which leaves no mode of the data out, as an adversary
    may."""
    support = losses.emphasis(F.adaptive_max_pool2d(m.truth, m.target.c.shape[-1]))
    return losses.code_reconstruction(m.target, m.near, support) + losses.mask_match(m.near_opacity, m.truth)


def divergence(m: Match) -> Tensor:
    """Kullback-Leibler divergence of the posteriors from the standard normal distribution, in nats per defect."""
    return losses.kl_from_normal(m.mean, m.log_variance)


def critic_loss(model: DTGAN, m: Match, generator: torch.Generator) -> Tensor:
    """What the critic minimises: as many fresh latent codes as there are encoded ones, against these; with R1."""
    assert model.critic is not None
    encoded, seen = m.detach().judged(model.critic, generator, encoded=True)
    latent, _ = m.detach().judged(model.critic, generator, encoded=False)
    return losses.adversarial_d(encoded, latent) + R1 * losses.r1(encoded, seen)


def shape_loss(model: DTGAN, m: Match, generator: torch.Generator) -> Tensor:
    """What M minimises against the critic."""
    assert model.critic is not None
    return losses.adversarial_g(m.judged(model.critic, generator, encoded=False)[0])
