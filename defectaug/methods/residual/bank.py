"""Defects that E has read from training images: what latent-guided synthesis warps, restyles and places."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from defectaug.methods.residual.defect import CLIP, Defect
from defectaug.methods.residual.native_structure import NativeStructure

STYLE_NOISE = 0.15  # of a category's deviation, around a mixture of two of its styles
FEW = 3  # styles of a category, with fewer of which the spread is that of the class
LEAST_SPREAD = 0.05  # else one defect would have one style
OUTLINES = ("masks", "structures", "contexts", "boxes", "ends", "pictures")  # what shows training images
# The first is as long as what it holds, older bundles lack some or hold the last.
UNSIZED = ("bank.pictures", "bank.boxes", "bank.ends", "bank.material")
OTHERS = 1  # defects of its own that a product's have the weight of, all others together
LEAST_AREA, MOST_AREA = 4, 0.6  # pixels; share of the image


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
    boxes: Tensor
    ends: Tensor
    pictures: Tensor

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
        self.register_buffer("boxes", torch.zeros(shown, 4))
        self.register_buffer("ends", torch.zeros(shown, dtype=torch.long))  # of each slot's part of the pictures
        self.register_buffer("pictures", torch.zeros(0, dtype=torch.uint8))  # native structures, one after the other

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

    def keep_native(self, structures: Mapping[int, NativeStructure]) -> None:
        """Keeps the native structures of slots in place of all that were there."""
        files = [structures[slot].encode() if slot in structures else b"" for slot in range(len(self.keys))]
        self.ends.copy_(torch.tensor([len(file) for file in files]).cumsum(0))
        content = np.frombuffer(b"".join(files), np.uint8).copy()
        self.pictures = torch.from_numpy(content).to(self.keys.device)
        for slot, structure in structures.items():
            self.boxes[slot] = torch.tensor(structure.box)

    def native(self, slot: int) -> NativeStructure | None:
        """The native structure of a slot, None where there is none."""
        start, end = int(self.ends[slot - 1]) if slot > 0 else 0, int(self.ends[slot])
        if slot < 0 or start == end:
            return None
        content = self.pictures[start:end].cpu().numpy().tobytes()
        return NativeStructure.decode(content, self.boxes[slot].tolist(), self.structures.shape[1])

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *rest: Any) -> None:
        """The pictures are as long as they are. Older banks held more."""
        state_dict.pop(f"{prefix}material", None)
        self.pictures = torch.zeros_like(state_dict.get(f"{prefix}pictures", self.pictures), device=self.keys.device)
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
        return Defect(mask, structure, self.styles[slots], self.contexts[slots].float() / 127.5 - 1, label)

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
        """Styles (N, C + 1) as those of the category are spread: between two of them, the first of which is the shape's
        ``own`` where ``from_own`` says so, with some noise; ``own`` where the category holds none."""
        rows = []
        for row, (number, owner, g) in enumerate(zip(label.tolist(), product.tolist(), generators, strict=True)):
            pick, noise = torch.rand(3, generator=g), torch.randn(2, generator=g)
            noise = noise.repeat_interleave(torch.tensor([own.shape[1] - 1, 1]))  # channels apart would tint
            known = self.known(number, owner) if number else self.keys[:0]
            if not len(known):
                rows.append(own[row])
                continue
            styles = self.styles[known]
            first, second = (styles[int(p * len(known))] for p in pick[:2])
            first = own[row] if from_own is not None and from_own[row] else first
            many = styles if len(styles) >= FEW else self.styles[self.known(number)]
            spread = many.std(0, correction=0).clamp(min=LEAST_SPREAD)
            rows.append(first.lerp(second, float(pick[2]) ** 2) + STYLE_NOISE * spread * noise.to(styles.device))
        return torch.stack(rows)
