"""How M's codes are fitted to E's: the layered form's answer to a mapping network that collapses.

Not in the paper. E learns place, shape and style of real defects within a few hundred steps, since every real defect
has to be rebuilt; M, taught by D alone, paints one smear for all latents. So the codes that E finds in the references
of a batch are the example: latent ones may not be more alike (:func:`spread`), none may be missing (:func:`cover`),
and they look the same to a critic (:func:`critic_loss`). No gradient reaches E or G from here.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from defectaug.dtgan import losses
from defectaug.dtgan.codes import Codes
from defectaug.dtgan.mapping import centres
from defectaug.dtgan.model import DTGAN
from defectaug.nn.augment import moved

R1 = 0.5  # CHOICE: weight of the critic's gradient penalty


@dataclass(frozen=True)
class Match:
    """Encoded defects of a batch, what M makes of their own latents, and fresh latent ones of the same classes.

    All lie in the middle where M draws places apart.

    Attributes:
        target: codes of the references (N, ...).
        support: weights of the cells of their maps (N, 1, h, w), half of the total on the defects.
        mean, log_variance: of the latents that the posterior gives them (N, latent_dim).
        near: codes that M makes of such latents (N, ...).
        fresh: codes of latents drawn from the normal distribution (N, ...).
    """

    target: Codes
    support: Tensor
    mean: Tensor
    log_variance: Tensor
    near: Codes
    fresh: Codes

    def detach(self) -> Match:
        """The same values, cut from the graph."""
        return Match(*(getattr(self, f.name).detach() for f in fields(self)))


def match(model: DTGAN, target: Codes, truth: Tensor, generator: torch.Generator) -> Match:
    """Latent codes for encoded ones and their opacities (N, 1, S, S)."""
    assert model.posterior is not None
    target, count, size = target.detach(), len(target), target.c.shape[-1]
    covered = F.adaptive_max_pool2d(truth.detach(), size)
    if model.mapping.observed is not None:
        at = centres(covered)
        model.mapping.observed.observe(target.c, at, target.defect)
        cells = (at * size).round().long()
        target, covered = Codes(moved(target.c, -cells), target.s, target.defect), moved(covered, -cells)
    mean, log_variance = model.posterior(target, losses.scale(target.c))
    drawn = model.mapping.draw(2 * count, generator, target.c.device)
    z = torch.cat([mean + (log_variance / 2).exp() * drawn.z[:count], drawn.z[count:]])
    codes = model.mapping.shapes(replace(drawn, z=z), target.defect.repeat(2))
    return Match(target, losses.emphasis(covered), mean, log_variance, codes[:count], codes[count:])


def spread(m: Match) -> Tensor:
    """Shapes and styles of latent defects of a class differ as much as those of encoded ones."""
    groups = m.fresh.defect, m.target.defect
    return losses.excess_likeness(m.fresh.c, groups[0], m.target.c, groups[1]) + losses.excess_likeness(
        m.fresh.s, groups[0], m.target.s, groups[1]
    )


def cover(m: Match) -> Tensor:
    """M makes every encoded defect again from its own latent, which leaves no mode of the data out, as an adversary
    may. Squares, not magnitudes: the likeliest value of almost every cell is none at all."""
    error = ((m.target.c - m.near.c) / losses.scale(m.target.c)).square()
    return 0.5 * (error * m.support).mean() + (m.target.s - m.near.s).abs().mean()


def divergence(m: Match) -> Tensor:
    """Kullback-Leibler divergence of the posteriors from the standard normal distribution, in nats per defect."""
    return losses.kl_from_normal(m.mean, m.log_variance)


def critic_loss(model: DTGAN, m: Match, generator: torch.Generator) -> Tensor:
    """What the critic minimises: fresh latent codes against encoded ones; with R1."""
    assert model.critic is not None
    m = m.detach()
    encoded, seen = model.critic.judge(m.target, losses.scale(m.target.c), generator)
    latent, _ = model.critic.judge(m.fresh, losses.scale(m.target.c), generator)
    return losses.adversarial_d(encoded, latent) + R1 * losses.r1(encoded, seen)


def shape_loss(model: DTGAN, m: Match, generator: torch.Generator) -> Tensor:
    """What M minimises against the critic."""
    assert model.critic is not None
    return losses.adversarial_g(model.critic.judge(m.fresh, losses.scale(m.target.c), generator)[0])
