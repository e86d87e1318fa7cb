"""How M's codes are fitted to E's: the layered form's answer to a mapping network that collapses.

Not in the paper. E learns place, shape and style of real defects within a few hundred steps, since every real defect
has to be rebuilt; M, taught by D alone, paints one smear for all latents. So the codes that E finds in references are
the example: M is the decoder of a variational autoencoder over them (:func:`cover`, :func:`divergence`), and what it
draws freely may not be more alike (:func:`spread`) and looks the same to a critic (:func:`critic_loss`), as in the
VAE-GAN of Larsen et al. 2016. All compare opacities, which are what codes are for. No gradient reaches E or G.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from defectaug.dtgan import losses
from defectaug.dtgan.codes import Codes, presence
from defectaug.dtgan.mapping import RIM, centres, without_rim
from defectaug.dtgan.model import DTGAN
from defectaug.nn.augment import moved
from defectaug.nn.rows import Rows

PLACES = 16  # size of the map on which shapes are compared
R1 = 0.5  # CHOICE: weight of the critic's gradient penalty


@dataclass(frozen=True)
class Drawn:
    """Codes (N, ...) and the opacities of their layers (N, L, S, S)."""

    codes: Codes
    opacity: Tensor

    def detach(self) -> Drawn:
        """The same values, cut from the graph."""
        return Drawn(self.codes.detach(), self.opacity.detach())


@dataclass(frozen=True)
class Match:
    """Encoded defects of a batch, what M makes of their own latents, and fresh latent ones of the same classes.

    All lie in the middle where M draws places apart.

    Attributes:
        target: of the references.
        mean, log_variance: of the latents that the posterior gives them (N, latent_dim).
        near: what M makes of such latents.
        fresh: what M makes of latents drawn from the normal distribution.
    """

    target: Drawn
    mean: Tensor
    log_variance: Tensor
    near: Drawn
    fresh: Drawn


def match(model: DTGAN, target: Codes, generator: torch.Generator, rows: Rows | None = None) -> Match:
    """Latent codes for encoded ones.

    Args:
        rows: the set that ``target`` is this process's part of; None for all of it. The terms look at a batch as a
            whole, so that every process gets all of the match; the work is divided.
    """
    assert model.posterior is not None
    rows = rows or Rows.split(len(target))
    target = _centred(model, _tidied(model, target.detach()), rows)
    mean, log_variance = model.posterior(target, model.mapping.strength())
    drawn = model.mapping.draw(2 * rows.count, generator, target.c.device)
    if rows.processes > 1:
        drawn = drawn[(rows + rows).mine.to(target.c.device)]
    count = len(target)
    z = torch.cat([mean + (log_variance / 2).exp() * drawn.z[:count], drawn.z[count:]])
    codes = model.mapping.shapes(replace(drawn, z=z), target.defect.repeat(2))
    opacity = model.generator.layers_of(torch.cat([target.c, codes.c]))
    drawings = []
    for first, part in ((0, target), (count, codes[:count]), (2 * count, codes[count:])):
        drawings.append(Drawn(gathered(part, rows), rows.gather(opacity[first : first + count])))
    return Match(drawings[0].detach(), rows.gather(mean), rows.gather(log_variance), *drawings[1:])


@torch.no_grad()
def _tidied(model: DTGAN, target: Codes) -> Codes:
    """Codes without what lies by itself, where nothing is painted, and without what E makes of the image's edge."""
    size = target.c.shape[-1]
    painted = (model.generator.opacity_of(target.c) > 0.05).to(target.c.dtype)
    near = F.max_pool2d(F.adaptive_max_pool2d(painted, size), 2 * RIM + 1, stride=1, padding=RIM)
    return Codes(without_rim(target.c * near), target.s, target.defect)


@torch.no_grad()
def _centred(model: DTGAN, target: Codes, rows: Rows) -> Codes:
    """Codes moved to the middle, where M draws places apart; their strength and reach are noted."""
    observed = model.mapping.observed
    if observed is None:
        return target
    at = centres(model.generator.opacity_of(target.c))
    observed.notice(rows.gather(target.c), rows.gather(at), rows.gather(target.defect))
    cells = (at * target.c.shape[-1]).round().long()
    return Codes(moved(target.c, -cells), target.s, target.defect)


def gathered(codes: Codes, rows: Rows) -> Codes:
    """The codes of all processes."""
    return Codes(rows.gather(codes.c), rows.gather(codes.s), rows.gather(codes.defect))


def spread(m: Match) -> Tensor:
    """Shapes and styles of latent defects of a class differ as much as those of encoded ones."""
    shapes, true_shapes = (F.adaptive_avg_pool2d(d.opacity, PLACES) for d in (m.fresh, m.target))
    fresh, target = m.fresh.codes, m.target.codes
    return losses.excess_likeness(shapes, fresh.defect, true_shapes, target.defect) + losses.excess_likeness(
        fresh.s, fresh.defect, target.s, target.defect
    )


def cover(m: Match) -> Tensor:
    """M makes every encoded defect again from its own latent, which leaves no mode of the data out, as an adversary
    may."""
    target, near = m.target.codes, m.near.codes
    support = losses.emphasis(F.adaptive_max_pool2d(m.target.opacity.amax(1, keepdim=True), target.c.shape[-1]))
    # Squares, not magnitudes: the likeliest value of almost every cell is none at all.
    rebuilt = ((target.c - near.c).square() * support).mean() / (target.c.square() * support).mean().clamp(min=1e-8)
    truth, made = (d.opacity.flatten(0, 1)[:, None] for d in (m.target, m.near))
    # Presences too: no opacity, and no gradient through it, comes from a cell that is hardly there.
    coarse = losses.coarse_match(made, truth) + losses.coarse_match(presence(near.c), presence(target.c), (2, 4, 8))
    return rebuilt + (target.s - near.s).abs().mean() + losses.mask_match(made, truth) + coarse


def divergence(m: Match) -> Tensor:
    """Kullback-Leibler divergence of the posteriors from the standard normal distribution, in nats per defect."""
    return losses.kl_from_normal(m.mean, m.log_variance)


def critic_loss(model: DTGAN, m: Match, generator: torch.Generator) -> Tensor:
    """What the critic minimises: fresh latent drawings against encoded ones; with R1."""
    real = m.target.opacity.detach().requires_grad_(True)
    encoded = _judge(model, Drawn(m.target.codes, real), generator)
    latent = _judge(model, m.fresh.detach(), generator)
    return losses.adversarial_d(encoded, latent) + R1 * losses.r1(encoded, real)


def shape_loss(model: DTGAN, m: Match, generator: torch.Generator) -> Tensor:
    """What M minimises against the critic."""
    return losses.adversarial_g(_judge(model, m.fresh, generator))


def _judge(model: DTGAN, drawn: Drawn, generator: torch.Generator) -> Tensor:
    assert model.critic is not None
    return model.critic.judge(drawn.opacity, drawn.codes.s, drawn.codes.defect, generator)
