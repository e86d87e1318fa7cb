"""The full objective: one pass of the networks, and the terms of D and of M, E, G on it.

Part of a batch is guided by latents, the rest by references; the images are rendered once and serve both steps.
Where several processes share a batch, a term is what this one contributes to it: they add up.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from defectaug.config.schema import LossConfig
from defectaug.methods.dtgan import losses
from defectaug.methods.dtgan.anchor import NORMAL, anchor_like, is_defective
from defectaug.methods.dtgan.codes import Codes
from defectaug.methods.dtgan.discriminator import Verdict
from defectaug.methods.dtgan.generator import Background, Rendered
from defectaug.methods.dtgan.guides import LatentGuide, ReferenceGuide
from defectaug.methods.dtgan.mapping import Latent
from defectaug.methods.dtgan.model import DTGAN
from defectaug.nn.augment import differentiable_augment
from defectaug.nn.frozen import held
from defectaug.nn.rows import Rows
from defectaug.nn.schedules import rising

Terms = dict[str, Tensor]


@dataclass(frozen=True)
class TrainingBatch:
    """Sources with their classes and products, targets, and references of the target classes (all (N, ...)).

    Attributes:
        reference_index: names the references' images, (N,).
        guided, referred: the parts of the whole batch that latents and references guide; this process holds its rows
            of the one, then of the other.
        defects, targets: classes of the whole batch, on the CPU.
    """

    image: Tensor
    defect: Tensor
    product: Tensor
    target: Tensor
    reference: Tensor
    reference_product: Tensor
    reference_index: Tensor
    guided: Rows
    referred: Rows
    defects: Tensor
    targets: Tensor

    @property
    def rows(self) -> Rows:
        """The whole batch."""
        return self.guided + self.referred

    @property
    def at_home(self) -> Tensor:
        """(N,) 1 where the reference is of the source's product, 0 elsewhere. CHOICE: from one product to another the
        layered form lets a look change, as D's branches by product demand; Eq. (2) would hold a dark scratch dark where
        all scratches are bright."""
        guided = torch.arange(len(self.product), device=self.product.device) < len(self.guided.mine)
        return ((self.reference_product == self.product) & ~guided).float()


@dataclass(frozen=True)
class Pass:
    """One pass of M, E and G over a batch, its graph kept."""

    background: Background
    codes: Codes
    fake: Rendered
    own: Codes  # E_y(x)
    restored: Tensor  # G(x, anchor) of the rows below
    rows: Tensor  # half of the sources, the defective ones first
    restoring: Rows  # the set of these
    defective: Tensor  # (N,) booleans
    latent: Latent | None  # of the first rows of the whole batch, where any are guided by latents


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

    def __init__(self, weights: LossConfig, augment: bool) -> None:
        self.weights = weights
        self.augment = augment

    def run(self, model: DTGAN, batch: TrainingBatch, generator: torch.Generator) -> Pass:
        """Renders every source with its target defect, the first rows latent-guided, the others by reference."""
        count, whole, device = len(batch.guided.mine), batch.guided.count, batch.image.device
        latent = model.mapping.draw(whole, generator, device) if whole else None
        parts = [ReferenceGuide(model.encoder, batch.reference[count:]).codes(batch.target[count:])]
        if latent is not None:
            mine = latent if batch.rows.processes == 1 else latent[batch.guided.mine.to(device)]
            parts.insert(0, LatentGuide(model.mapping, mine, batch.product[:count]).codes(batch.target[:count]))
        codes = Codes.cat(parts)
        background = model.generator.background(batch.image)
        fake = model.generator.render(background, codes)
        own = model.encoder(batch.image, batch.defect)
        defective = is_defective(batch.defects)
        # Always as many rows: a new shape costs the CPU's convolution library a compilation.
        # Decoded forms paint normal targets like any other, as the paper has it; they need no such rows.
        half = batch.rows.count // 2 if background.clean is not None else 0
        chosen = (~defective).to(torch.uint8).argsort(stable=True)[:half]
        restoring, rows = batch.rows.pick(chosen)
        rows = rows.to(device)
        restored = batch.image[rows] if background.clean is None else background.clean[rows]
        return Pass(background, codes, fake, own, restored, rows, restoring, is_defective(batch.defect), latent)

    def seen(self, x: Tensor, generator: torch.Generator, rows: Rows) -> Tensor:
        """Images, a process's part of a set, as D sees them."""
        return differentiable_augment(x, generator, rows=rows) if self.augment else x

    # --- D ---------------------------------------------------------------------------------------------------

    def discriminator_terms(
        self, model: DTGAN, batch: TrainingBatch, made: Pass, generator: torch.Generator
    ) -> Terms:
        """Eq. (1), and Eqs. (6), (7) on real images alone: D's classifiers must not learn from fakes."""
        count, rows = len(batch.image), batch.rows
        made_rows = rows + made.restoring
        fakes = torch.cat([made.fake.image, made.restored]).detach()
        seen = self.seen(torch.cat([batch.image, fakes]), generator, rows + made_rows)
        verdict = model.discriminator(seen)
        real, fake = verdict[:count], verdict[count:]
        terms = {
            "d_adversarial": losses.adversarial_d(
                real.of(batch.defect, batch.product), fake.of(*self._aims(batch, made)), rows.share, made_rows.share
            )
        }
        terms |= self.class_terms(real, batch.defect, batch.product, rows.share, "d_")
        return terms

    def class_terms(
        self, verdict: Verdict, defect: Tensor, product: Tensor, share: float, prefix: str = ""
    ) -> Terms:
        """Eqs. (6) and (7) where D has the classifier."""
        terms: Terms = {}
        if verdict.defect is not None:
            terms[f"{prefix}defect_class"] = share * losses.classification(verdict.defect, defect)
        if verdict.product is not None:
            terms[f"{prefix}product_class"] = share * losses.classification(verdict.product, product)
        return terms

    def r1_term(self, model: DTGAN, batch: TrainingBatch, generator: torch.Generator) -> Tensor:
        """R1 on augmented real images, in full precision."""
        x = self.seen(batch.image, generator, batch.rows).detach().requires_grad_(True)
        return batch.rows.share * losses.r1(model.discriminator(x).of(batch.defect, batch.product), x)

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
        rows = batch.rows + made.restoring
        seen = self.seen(torch.cat([made.fake.image, made.restored]), generator, rows)
        verdict = model.discriminator(seen)
        aims, products = self._aims(batch, made)
        terms = {"adversarial": rows.share * losses.adversarial_g(verdict.of(aims, products))}
        terms |= self.class_terms(verdict, aims, products, rows.share)
        share = batch.rows.share
        terms |= {name: share * value for name, value in self._consistency_terms(model, batch, made).items()}
        if made.latent is not None and self.weights.diversity:
            terms |= self._diversity_terms(model, batch, made, made.latent)
        return terms

    def _consistency_terms(self, model: DTGAN, batch: TrainingBatch, made: Pass) -> Terms:
        """Eqs. (2), (3), (5), G(x, E(x)) = x, and the layered form's terms."""
        size = made.codes.c.shape[-1]
        layered = made.fake.opacity is not None
        # A layer's E does not follow what it has read itself: its codes would shrink to one constant.
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
        focus = self.focus(batch.image, made, direct, size)
        terms = {
            "code": losses.code_reconstruction(
                made.codes.detach(), again, focus.code, batch.at_home if layered else None
            ),
            "cycle": losses.weighted_l1(batch.image, cycle.image, focus.cycle),
        }
        if self.weights.split:
            # A layer's E does not follow G's code: they would agree on nothing.
            encoded = made.own.c.detach() if layered else made.own.c
            terms["split"] = losses.split_consistency(made.background.code, encoded, focus.own_code)
            terms["split"] = terms["split"] + losses.split_consistency(back.code, again.c.detach(), focus.code)
        if direct is not None:
            terms["direct"] = losses.weighted_l1(batch.image, direct.image, focus.image)
            terms |= self._layer_terms(batch, made, back, direct)
        return terms

    @staticmethod
    def focus(x: Tensor, made: Pass, direct: Rendered | None, size: int) -> Focus:
        """Where the layered form looks closely; nowhere in particular without layers."""
        painted, removed = made.fake.opacity, made.background.removed
        own = None if direct is None else direct.opacity
        if painted is None or own is None or removed is None:
            return Focus()
        taken = torch.maximum(own, removed)
        assert direct is not None and made.background.clean is not None
        # By what the defect changes: under a wide opacity a thin line would count for little.
        changed = taken * losses.contrast(made.background.clean, x, direct.image)
        repainted = painted * losses.contrast(made.background.clean, made.fake.image)
        return Focus(
            image=losses.emphasis(changed),
            cycle=losses.emphasis(torch.maximum(changed, repainted)),
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

    def _diversity_terms(self, model: DTGAN, batch: TrainingBatch, made: Pass, latent: Latent) -> Terms:
        """Eq. (4) on a quarter of the batch: the four renders of two latents on one source."""
        count = len(latent.z) // 2
        chosen = is_defective(batch.targets[:count]).nonzero().flatten()
        if not len(chosen):
            return {}  # normal targets have no defect to differ in
        diverse, rows = batch.guided.pick(chosen)
        if not len(rows):
            return {"diversity": made.fake.image.new_zeros(())}  # all of them lie on other processes
        device = made.fake.image.device
        rows, others = rows.to(device), (chosen[diverse.mine] + count).to(device)
        first, source = made.codes[rows], made.background[rows]
        other = LatentGuide(model.mapping, latent[others], batch.product[rows]).codes(first.defect)
        mixed = [other, first.with_style(other), other.with_style(first)]
        renders = [made.fake.image[rows]] + [model.generator.render(source, codes).image for codes in mixed]
        return {"diversity": diverse.share * losses.diversity(renders)}

    # --- warm-up and sum -------------------------------------------------------------------------------------

    def warmup_terms(self, model: DTGAN, batch: TrainingBatch, generator: torch.Generator) -> tuple[Terms, Terms]:
        """D learns to tell classes, G to give normal images back, before they play against each other."""
        verdict = model.discriminator(self.seen(batch.image, generator, batch.rows))
        theirs = self.class_terms(verdict, batch.defect, batch.product, batch.rows.share, "d_")
        normals, normal = batch.rows.pick((~is_defective(batch.defects)).nonzero().flatten())
        layered = model.net.generator == "layered"
        if not normals.count:
            return theirs, {}
        if not len(normal):  # all of them lie on other processes
            return theirs, dict.fromkeys(("fill", "area") if layered else ("direct",), batch.image.new_zeros(()))
        normal = normal.to(batch.image.device)
        source, share = batch.image[normal], normals.share
        background = model.generator.background(source)
        if background.fill is not None and background.removed is not None:
            return theirs, {
                "fill": share * losses.weighted_l1(source, background.fill),
                "area": share * background.removed.mean(),
            }
        codes = anchor_like(model.encoder(source, batch.defect[normal]))
        made = model.generator.render(background, codes).image
        return theirs, {"direct": share * losses.weighted_l1(source, made)}

    def total(self, terms: Terms, done: float = 0.0) -> Tensor:
        """Weighted sum, when a share ``done`` of the game of D and G is over: Eq. (4)'s weight falls to 0, that of the
        opacities' area rises once defects have been found."""
        parts = []
        for name, value in terms.items():
            weight = getattr(self.weights, name.removeprefix("d_"))
            if name == "diversity":
                weight = -weight * (1 - done)
            elif name == "area":
                weight = rising(done, weight, self.weights.area_end)
            if weight:
                parts.append(weight * value)
        return torch.stack(parts).sum() if parts else torch.zeros((), requires_grad=True)
