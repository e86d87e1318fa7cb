"""The full objective: one pass of the networks, and the terms of D and of M, E, G on it.

Half of a batch is guided by latents, half by references; the images are rendered once and serve both steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from defectaug.config import LossConfig
from defectaug.dtgan import losses, prior
from defectaug.dtgan.anchor import NORMAL, anchor_like, is_defective
from defectaug.dtgan.codes import Codes
from defectaug.dtgan.discriminator import Verdict
from defectaug.dtgan.generator import Background, Rendered
from defectaug.dtgan.guides import LatentGuide, ReferenceGuide
from defectaug.dtgan.mapping import Latent
from defectaug.dtgan.model import DTGAN
from defectaug.nn.augment import differentiable_augment, mirror_and_shift
from defectaug.nn.held import held

Terms = dict[str, Tensor]


@dataclass(frozen=True)
class TrainingBatch:
    """Sources with their classes and products, targets, and references of the target classes (all (N, ...))."""

    image: Tensor
    defect: Tensor
    product: Tensor
    target: Tensor
    reference: Tensor


@dataclass(frozen=True)
class Pass:
    """One pass of M, E and G over a batch, its graph kept."""

    background: Background
    codes: Codes
    fake: Rendered
    own: Codes  # E_y(x)
    restored: Tensor  # G(x, anchor) of the rows below
    rows: Tensor  # half of the sources, the defective ones first
    defective: Tensor  # (N,) booleans
    latent: Latent | None  # of the first rows, where any are guided by latents
    pool: prior.Match | None  # layered: latent codes beside encoded ones


@dataclass(frozen=True)
class Focus:
    """Weights, of mean about 1, that the terms give to the surroundings of a defect: on images (N, 1, S, S) and
    on shape maps (N, 1, h, w). None: everywhere alike."""

    image: Tensor | None = None
    cycle: Tensor | None = None
    code: Tensor | None = None
    own_code: Tensor | None = None


class Objective:
    """Eqs. (1) to (7) with R1, and the layered form's terms, each present only if its weight is not 0."""

    def __init__(self, weights: LossConfig, augment: bool, latent_share: float = 0.5) -> None:
        self.weights = weights
        self.augment = augment
        self.latent_share = latent_share

    def run(self, model: DTGAN, batch: TrainingBatch, generator: torch.Generator) -> Pass:
        """Renders every source with its target defect, the first rows latent-guided, the others by reference."""
        half, count = len(batch.image) // 2, int(len(batch.image) * self.latent_share)
        latent = model.mapping.draw(count, generator, batch.image.device) if count else None
        parts = [ReferenceGuide(model.encoder, batch.reference[count:]).codes(batch.target[count:])]
        if latent is not None:
            parts.insert(0, LatentGuide(model.mapping, latent, self.weights.to_mapping).codes(batch.target[:count]))
        codes = Codes.cat(parts)
        background = model.generator.background(batch.image)
        fake = model.generator.render(background, codes)
        own = model.encoder(batch.image, batch.defect)
        defective = is_defective(batch.defect)
        # Always as many rows: a new shape costs the CPU's convolution library a compilation.
        # Decoded forms paint normal targets like any other, as the paper has it; they need no such rows.
        rows = (~defective).to(torch.uint8).argsort(stable=True)[: half if background.clean is not None else 0]
        restored = batch.image[rows] if background.clean is None else background.clean[rows]
        pool = None
        fitted = self.weights.spread or self.weights.cover or self.weights.shape
        if 0 < count < len(codes) and fake.opacity is not None and fitted:
            pool = prior.match(model, codes[count:], fake.opacity[count:], generator)
        return Pass(background, codes, fake, own, restored, rows, defective, latent, pool)

    def prior_terms(self, model: DTGAN, pool: prior.Match, generator: torch.Generator) -> Terms:
        """What fits M's codes to E's."""
        terms = {"spread": prior.spread(pool), "cover": prior.cover(pool), "kl": prior.divergence(pool)}
        if model.critic is not None and self.weights.shape:
            terms["shape"] = prior.shape_loss(model, pool, generator)
        return terms

    def mapping_terms(self, model: DTGAN, batch: TrainingBatch, generator: torch.Generator) -> tuple[Terms, Terms]:
        """The last phase, of the layered form: the critic's terms and M's, which alone learns to draw as E reads; a
        fraction of the work of a full step."""
        with torch.no_grad():
            seen = mirror_and_shift(batch.reference, generator, shift=1 / 16)  # tens of references make few places
            encoded = model.encoder(seen, batch.target)
            opacity, _ = model.generator.opacity(encoded.c)  # type: ignore[operator]
        pool = prior.match(model, encoded, opacity, generator)
        judged = model.critic is not None and self.weights.shape
        theirs = {"d_shape": prior.critic_loss(model, pool, generator)} if judged else {}
        return theirs, self.prior_terms(model, pool, generator)

    def seen(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """An image as D sees it."""
        return differentiable_augment(x, generator) if self.augment else x

    # --- D ---------------------------------------------------------------------------------------------------

    def discriminator_terms(
        self, model: DTGAN, batch: TrainingBatch, made: Pass, generator: torch.Generator
    ) -> Terms:
        """Eq. (1), and Eqs. (6), (7) on real images alone: D's classifiers must not learn from fakes."""
        count = len(batch.image)
        fakes = torch.cat([made.fake.image, made.restored]).detach()
        seen = self.seen(torch.cat([batch.image, fakes]), generator)
        verdict = model.discriminator(seen)
        real, fake = verdict[:count], verdict[count:]
        terms = {
            "d_adversarial": losses.adversarial_d(
                real.of(batch.defect, batch.product), fake.of(*self._aims(batch, made))
            )
        }
        terms |= self.class_terms(real, batch.defect, batch.product, "d_")
        if made.pool is not None and model.critic is not None:
            terms["d_shape"] = prior.critic_loss(model, made.pool, generator)
        return terms

    def class_terms(self, verdict: Verdict, defect: Tensor, product: Tensor, prefix: str = "") -> Terms:
        """Eqs. (6) and (7) where D has the classifier."""
        terms: Terms = {}
        if verdict.defect is not None:
            terms[f"{prefix}defect_class"] = losses.classification(verdict.defect, defect)
        if verdict.product is not None:
            terms[f"{prefix}product_class"] = losses.classification(verdict.product, product)
        return terms

    def r1_term(self, model: DTGAN, batch: TrainingBatch, generator: torch.Generator) -> Tensor:
        """R1 on augmented real images, in full precision."""
        x = self.seen(batch.image, generator).detach().requires_grad_(True)
        return losses.r1(model.discriminator(x).of(batch.defect, batch.product), x)

    @staticmethod
    def _aims(batch: TrainingBatch, made: Pass) -> tuple[Tensor, Tensor]:
        """What the fakes should show: defects and products."""
        return (
            torch.cat([batch.target, torch.full_like(made.rows, NORMAL)]),
            torch.cat([batch.product, batch.product[made.rows]]),
        )

    # --- M, E, G ---------------------------------------------------------------------------------------------

    def generator_terms(
        self, model: DTGAN, batch: TrainingBatch, made: Pass, generator: torch.Generator
    ) -> Terms:
        """What M, E and G minimise (diversity enters with a minus in :meth:`total`)."""
        seen = self.seen(torch.cat([made.fake.image, made.restored]), generator)
        verdict = model.discriminator(seen)
        aims, products = self._aims(batch, made)
        terms = {"adversarial": losses.adversarial_g(verdict.of(aims, products))}
        terms |= self.class_terms(verdict, aims, products)
        if made.pool is not None:
            terms |= self.prior_terms(model, made.pool, generator)
        terms |= self._consistency_terms(model, batch, made)
        if made.latent is not None and self.weights.diversity:
            terms |= self._diversity_terms(model, made, made.latent)
        return terms

    def _consistency_terms(self, model: DTGAN, batch: TrainingBatch, made: Pass) -> Terms:
        """Eqs. (2), (3), (5), G(x, E(x)) = x, and the layered form's terms."""
        size = made.codes.c.shape[-1]
        layered = made.fake.opacity is not None
        # M's codes of a layer follow E's; if E followed M's as well, both would shrink to one constant code.
        read = partial(held, model.encoder) if layered else model.encoder
        again = read(made.fake.image, batch.target)
        # The way back of a layer starts from the finished image: through it, G would hide notes to itself.
        back = model.generator.background(made.fake.image.detach() if layered else made.fake.image)
        direct = None
        if layered or self.weights.direct:
            direct = model.generator.render(made.background, made.own)
        if direct is not None:
            cycle = model.generator.repaint(back, made.own, direct)
        else:
            cycle = model.generator.render(back, made.own)
        focus = self._focus(made, direct, size)
        terms = {
            "code": losses.code_reconstruction(made.codes.detach(), again, focus.code),
            "cycle": losses.weighted_l1(batch.image, cycle.image, focus.cycle),
        }
        if self.weights.split:
            terms["split"] = losses.split_consistency(made.background.code, made.own.c, focus.own_code)
            terms["split"] = terms["split"] + losses.split_consistency(back.code, again.c.detach(), focus.code)
        if direct is not None:
            terms["direct"] = losses.weighted_l1(batch.image, direct.image, focus.image)
            terms |= self._layer_terms(batch, made, back, direct)
        return terms

    @staticmethod
    def _focus(made: Pass, direct: Rendered | None, size: int) -> Focus:
        """Where the layered form looks closely; nowhere in particular without layers."""
        painted, removed = made.fake.opacity, made.background.removed
        own = None if direct is None else direct.opacity
        if painted is None or own is None or removed is None:
            return Focus()
        taken = torch.maximum(own, removed)
        return Focus(
            image=losses.emphasis(taken),
            cycle=losses.emphasis(torch.maximum(painted, own)),
            code=losses.emphasis(F.adaptive_max_pool2d(painted, size)),
            own_code=losses.emphasis(F.adaptive_max_pool2d(taken, size)),
        )

    def _layer_terms(self, batch: TrainingBatch, made: Pass, back: Background, direct: Rendered) -> Terms:
        first, painted, own = made.background, made.fake.opacity, direct.opacity
        if painted is None or own is None:
            return {}
        assert first.removed is not None and back.removed is not None and first.clean is not None
        assert first.fill is not None and back.fill is not None
        normal = (~made.defective).to(own.dtype)[:, None, None, None]
        found = losses.mask_match(back.removed, painted.detach())
        agreed = losses.mask_match(first.removed, own.detach()) + losses.mask_match(own, first.removed.detach())
        area = painted.mean() + own.mean() + 2 * (first.removed * normal).mean()
        fill = losses.weighted_l1(batch.image, first.fill, 1 - own.detach()) + losses.weighted_l1(
            first.clean.detach(), back.fill, losses.emphasis(painted)
        )
        return {"mask": found + 0.5 * agreed, "area": area, "fill": fill}

    def _diversity_terms(self, model: DTGAN, made: Pass, latent: Latent) -> Terms:
        """Eq. (4) on a quarter of the batch: the four renders of two latents on one source."""
        count = len(latent.z) // 2
        rows = is_defective(made.codes.defect[:count]).nonzero().flatten()
        if not len(rows):
            return {}  # normal targets have no defect to differ in
        first, source = made.codes[rows], made.background[rows]
        other = LatentGuide(model.mapping, latent[rows + count], self.weights.to_mapping).codes(first.defect)
        mixed = [other, first.with_style(other), other.with_style(first)]
        renders = [made.fake.image[rows]] + [model.generator.render(source, codes).image for codes in mixed]
        return {"diversity": losses.diversity(renders)}

    # --- warm-up and sum -------------------------------------------------------------------------------------

    def warmup_terms(self, model: DTGAN, batch: TrainingBatch, generator: torch.Generator) -> tuple[Terms, Terms]:
        """D learns to tell classes, G to give normal images back, before they play against each other."""
        verdict = model.discriminator(self.seen(batch.image, generator))
        theirs = self.class_terms(verdict, batch.defect, batch.product, "d_")
        normal = ~is_defective(batch.defect)
        source = batch.image[normal]
        if not len(source):
            return theirs, {}
        background = model.generator.background(source)
        if background.fill is not None and background.removed is not None:
            return theirs, {
                "fill": losses.weighted_l1(source, background.fill),
                "area": background.removed.mean(),
            }
        codes = anchor_like(model.encoder(source, batch.defect[normal]))
        return theirs, {"direct": losses.weighted_l1(source, model.generator.render(background, codes).image)}

    def total(self, terms: Terms, diversity_left: float = 1.0) -> Tensor:
        """Weighted sum; ``diversity_left`` is the schedule of Eq. (4)'s weight, 1 at the start, 0 at the end."""
        parts = []
        for name, value in terms.items():
            weight = getattr(self.weights, name.removeprefix("d_"))
            if name == "diversity":
                weight = -weight * diversity_left
            if weight:
                parts.append(weight * value)
        return torch.stack(parts).sum() if parts else torch.zeros((), requires_grad=True)
