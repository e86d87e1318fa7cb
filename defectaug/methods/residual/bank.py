"""Defects that E has read from training images: what latent-guided synthesis warps, restyles and places."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from defectaug.io.recent import Recent
from defectaug.io.windows import Box
from defectaug.methods.residual.cutout import Cutout
from defectaug.methods.residual.defect import CLIP, Defect

ALIKE = 5  # styles that are nearest to one, between which and it new ones are drawn
FEW = 3  # styles of a category, with fewer of which there is noise
STYLE_NOISE = 0.15  # of the class's deviation
LEAST_SPREAD = 0.05  # else one defect would have one style
CUTOUTS = ("cutouts", "cut_boxes", "cut_levels", "cut_ends", "seen_in")
OUTLINES = ("masks", "structures", "contexts", *CUTOUTS)  # what shows training images
OLD = ("material", "pictures", "boxes", "ends", "crops")  # of older bundles
# Of any length, or not in all bundles.
UNSIZED = tuple(f"bank.{name}" for name in (*CUTOUTS, *OLD))
OTHERS = 1  # defects of its own that a product's have the weight of, all others together
LEAST_AREA, MOST_AREA = 4, 0.6  # pixels; share of the image
DECODED = 64 << 20  # bytes of cut-outs that are kept decoded


class DefectBank(nn.Module):
    """Up to ``kept`` defects, an even share for each class. Buffers alone, no weights.

    Args:
        size, channels: of the images.
        defects: number of classes, the normal one included.
        context: side of the surroundings that are kept.
        kept: how many in all.
        outlines: whether masks, structures and surroundings have room, or styles, products and keys alone.
    """

    masks: Tensor
    structures: Tensor
    styles: Tensor
    contexts: Tensor
    products: Tensor
    keys: Tensor
    cutouts: Tensor
    cut_boxes: Tensor
    cut_levels: Tensor
    cut_ends: Tensor
    seen_in: Tensor

    def __init__(self, size: int, channels: int, defects: int, context: int, kept: int, outlines: bool = True) -> None:
        super().__init__()
        self.share = max(1, kept // (defects - 1))
        slots = self.share * (defects - 1)
        shown = slots if outlines else 0
        self.register_buffer("masks", torch.zeros(shown, 1, size, size, dtype=torch.uint8))
        self.register_buffer("structures", torch.zeros(shown, channels, size, size, dtype=torch.uint8))
        self.register_buffer("styles", torch.zeros(slots, channels + 1))
        self.register_buffer("contexts", torch.zeros(shown, channels, context, context, dtype=torch.uint8))
        self.register_buffer("products", torch.full((slots,), -1))
        self.register_buffer("keys", torch.full((slots,), -1))  # training image; -1 for an empty slot
        self.register_buffer("cutouts", torch.zeros(0, dtype=torch.uint8))  # files, one after the other
        self.register_buffer("cut_boxes", torch.zeros(shown, 4))
        self.register_buffer("cut_levels", torch.zeros(shown, channels))
        self.register_buffer("cut_ends", torch.zeros(shown, dtype=torch.long))  # of each slot's file
        self.register_buffer("seen_in", torch.full((shown, 4), -1.0))  # part of the photograph that was shown; -1: none
        self._decoded: Recent[int, Cutout] = Recent(DECODED)

    @torch.no_grad()
    def remember(self, defect: Defect, product: Tensor, key: Tensor) -> int:
        """Keeps defects of products (N,), read from training images ``key`` (N,); a later reading replaces an earlier
        one. Empty masks and those of nearly the whole image are left out; each image has one slot at most, and where a
        class has more than its share the first come stay. Returns how many were kept."""
        kept = 0
        areas = (defect.mask > 0.5).sum((1, 2, 3)).tolist()
        for row, (number, image) in enumerate(zip(defect.label.tolist(), key.tolist(), strict=True)):
            if not LEAST_AREA <= areas[row] <= MOST_AREA * defect.mask[0].numel():
                continue
            own = slice((number - 1) * self.share, number * self.share)
            same = (self.keys[own] == image).nonzero().flatten()
            empty = (self.keys[own] < 0).nonzero().flatten()
            free = same if len(same) else empty
            if not len(free):
                continue
            slot = own.start + int(free[0])
            self.masks[slot] = (defect.mask[row] * 255).round().to(torch.uint8)
            self.structures[slot] = ((defect.structure[row] / CLIP + 1) * 127.5).round().to(torch.uint8)
            self.styles[slot] = defect.style[row]
            self.contexts[slot] = ((defect.context[row] + 1) * 127.5).round().to(torch.uint8)
            self.products[slot], self.keys[slot] = product[row], image
            kept += 1
        return kept

    def keep_cutouts(self, cutouts: Mapping[int, Cutout]) -> None:
        """Keeps the cut-outs of slots in place of all that were there."""
        files = [cutouts[slot].encode() if slot in cutouts else b"" for slot in range(len(self.keys))]
        self.cut_ends.copy_(torch.tensor([len(file) for file in files]).cumsum(0))
        content = np.frombuffer(b"".join(files), np.uint8).copy()
        self.cutouts, self._decoded = torch.from_numpy(content).to(self.keys.device), Recent(DECODED)
        for slot, cutout in cutouts.items():
            self.cut_boxes[slot], self.cut_levels[slot] = torch.tensor(cutout.box), cutout.level

    def cutout(self, slot: int) -> Cutout | None:
        """The cut-out of a slot, None where there is none."""
        start, end = int(self.cut_ends[slot - 1]) if slot > 0 else 0, int(self.cut_ends[slot])
        if slot < 0 or start == end:
            return None
        if slot in self._decoded:
            return self._decoded.get(slot)
        content = self.cutouts[start:end].cpu().numpy().tobytes()
        level, style = self.cut_levels[slot].float().cpu(), self.styles[slot].float().cpu()
        return self._decoded.put(slot, Cutout.decode(content, self.cut_boxes[slot].tolist(), level, style))

    def box(self, slot: int) -> Box | None:
        """Part of its photograph in which a slot's defect was seen: top, left, bottom, right, as shares of height and
        width; None where that is not known."""
        if not 0 <= slot < len(self.seen_in) or bool(self.seen_in[slot, 0] < 0):
            return None
        top, left, bottom, right = self.seen_in[slot].tolist()
        return top, left, bottom, right

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *rest: Any) -> None:
        """Cut-outs are as many as they are. Older banks held other things."""
        for name in OLD:
            state_dict.pop(f"{prefix}{name}", None)
        for name in CUTOUTS:
            state_dict.setdefault(f"{prefix}{name}", getattr(self, name))
        self.cutouts = torch.zeros_like(state_dict[f"{prefix}cutouts"], device=self.keys.device)
        self._decoded = Recent(DECODED)
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def known(self, label: int, product: int = -1) -> Tensor:
        """Filled slots of a class, of the product where it has any."""
        start = (label - 1) * self.share
        slots = start + (self.keys[start : start + self.share] >= 0).nonzero().flatten()
        own = slots[self.products[slots] == product]
        return own if len(own) else slots

    def get(self, slots: Tensor, label: Tensor) -> Defect:
        """Defects in slots (N,); empty ones for -1."""
        there = (slots >= 0).float()[:, None, None, None]
        slots = slots.clamp(min=0)
        mask = self.masks[slots].float() / 255 * there
        structure = (self.structures[slots].float() / 127.5 - 1) * CLIP * (mask > 0)
        edges = self.seen_in[slots] == self.seen_in.new_tensor([0.0, 0.0, 1.0, 1.0])
        return Defect(mask, structure, self.styles[slots], self.contexts[slots].float() / 127.5 - 1, label, edges)

    def draw(
        self, label: Tensor, product: Tensor, generators: Sequence[torch.Generator]
    ) -> tuple[Defect, list[int]]:
        """One defect a generator, of classes (N,) for products (N,), -1 where it is not known; of another product the
        more often, the fewer there are of the own. Its style is near its own, or for another product's shape one of
        the category. And the slots that they are of, -1 for none."""
        slots = self.pick(label, product, generators)
        return self.restyled(self.get(slots, label), slots, product, generators), slots.tolist()

    def pick(self, label: Tensor, product: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """The slots (N,) that :meth:`draw` takes, -1 for none."""
        slots = []
        for number, owner, g in zip(label.tolist(), product.tolist(), generators, strict=True):
            chance, place = torch.rand(2, generator=g).tolist()
            known = self.known(number, owner) if number else self.keys[:0]
            known = self.known(number) if chance < OTHERS / (OTHERS + len(known)) else known
            slots.append(int(known[int(place * len(known))]) if len(known) else -1)
        return torch.tensor(slots, device=label.device)

    def restyled(self, defect: Defect, slots: Tensor, product: Tensor, generators: Sequence[torch.Generator]) -> Defect:
        """Defects that come from slots (N,), in styles for the products (N,)."""
        owners = torch.where(product < 0, product, self.products[slots])
        own = (owners == product) & (slots >= 0)
        return defect.with_style(self.draw_styles(defect.label, product, generators, defect.style, own.tolist()))

    def nearest_product(self, label: Tensor, style: Tensor) -> Tensor:
        """Products (N,) whose styles of the classes (N,) are most like the given ones (N, C + 1), on average; -1 where
        nothing of a class is known."""
        nearest = torch.full_like(label, -1)
        for row, number in enumerate(label.tolist()):
            known = self.known(number) if number else self.keys[:0]
            owners = self.products[known].unique()
            if len(owners):
                means = torch.stack([self.styles[known[self.products[known] == owner]].mean(0) for owner in owners])
                nearest[row] = owners[(means - style[row]).square().sum(1).argmin()]
        return nearest

    def draw_styles(
        self,
        label: Tensor,
        product: Tensor,
        generators: Sequence[torch.Generator],
        own: Tensor,
        from_own: Sequence[bool] | None = None,
    ) -> Tensor:
        """Styles (N, C + 1) as those of the category are spread (SMOTE, Chawla et al. 2002): between one of them, the
        shape's ``own`` where ``from_own`` says so, and one of those that are most like it. Between any two, a blue and
        a green one would make cyan, which no defect has, and a dark and a bright one nothing to be seen. A category of
        fewer than three adds noise of the class's spread; ``own`` where it holds none."""
        rows = []
        for row, (number, owner, g) in enumerate(zip(label.tolist(), product.tolist(), generators, strict=True)):
            pick, noise = torch.rand(3, generator=g), torch.randn(2, generator=g).tolist()
            known = self.known(number, owner) if number else self.keys[:0]
            if not len(known):
                rows.append(own[row])
                continue
            styles = self.styles[known]
            kept = from_own is not None and from_own[row]
            first = own[row] if kept else styles[int(pick[0] * len(known))]
            near = alike(styles, first, self.spread(number))
            style = first.lerp(near[int(pick[1] * len(near))], float(pick[2]))
            if len(known) < FEW:
                common = style.new_tensor([noise[0]] * (len(style) - 1) + noise[1:])  # channels apart would tint
                style = style + STYLE_NOISE * self.spread(number) * common
            rows.append(style)
        return torch.stack(rows)

    def strengths(self, label: int, product: int) -> tuple[float, float]:
        """How strong, by all that they differ by from the surface, the faintest and the strongest defect of a category
        are beside its median: 1 at most and at least. The fewer are known, the more beyond them is likely."""
        known = self.known(label, product) if label else self.keys[:0]
        if len(known) < FEW:
            return 0.0, math.inf
        tone, contrast = self.styles[known, :-1], self.styles[known, -1]
        strength = (tone.square().mean(1) + (2 * contrast).exp()).log() / 2
        low, middle, high = strength.min(), strength.median(), strength.max()
        beyond = (high - low) / (len(known) - 1)  # either way, as of numbers that are spread evenly
        return float((low - beyond - middle).exp()), float((high + beyond - middle).exp())

    def spread(self, label: int) -> Tensor:
        """Standard deviations (C + 1,) of a class's styles."""
        return self.styles[self.known(label)].std(0, correction=0).clamp(min=LEAST_SPREAD)


def alike(styles: Tensor, style: Tensor, spread: Tensor) -> Tensor:
    """Those (up to ALIKE, C + 1) of styles (N, C + 1) that are most like one (C + 1,), itself left out where it is one
    of several."""
    distance = ((styles - style) / spread).square().sum(1)
    order = distance.argsort()
    others = order[distance[order] > 0][:ALIKE]
    return styles[others if len(others) else order[:1]]
