"""Separate codes of training images: what is drawn where no reference is given."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class CodeBank(nn.Module):
    """Up to ``kept`` codes, an even share for each defect class. Buffers alone, no weights.

    Args:
        shape: of one code.
        classes: number of classes, the normal one included.
        kept: how many in all.
    """

    codes: Tensor
    products: Tensor
    keys: Tensor

    def __init__(self, shape: tuple[int, int, int], classes: int, kept: int) -> None:
        super().__init__()
        self.share = max(1, kept // (classes - 1))
        slots = self.share * (classes - 1)
        self.register_buffer("codes", torch.zeros(slots, *shape))
        self.register_buffer("products", torch.full((slots,), -1))
        self.register_buffer("keys", torch.full((slots,), -1))  # training image; -1 for an empty slot

    @torch.no_grad()
    def remember(self, codes: Tensor, label: Tensor, product: Tensor, key: Tensor) -> None:
        """Keeps codes (N, ...) of defects and products, read from training images ``key`` (N,): the latest of each
        image; where a class has more images than its share, the first come stay."""
        for code, number, owner, image in zip(codes, label.tolist(), product.tolist(), key.tolist(), strict=True):
            start = (number - 1) * self.share
            own = self.keys[start : start + self.share]
            free = torch.cat([(own == image).nonzero(), (own < 0).nonzero()]).flatten()
            if len(free):
                slot = start + int(free[0])
                self.codes[slot], self.products[slot], self.keys[slot] = code, owner, image

    def known(self, label: int, product: int = -1) -> Tensor:
        """Filled slots of a class, of the product where it has any."""
        start = (label - 1) * self.share
        slots = start + (self.keys[start : start + self.share] >= 0).nonzero().flatten()
        own = slots[self.products[slots] == product]
        return own if len(own) else slots

    def draw(self, label: Tensor, product: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """A code a generator, of classes (N,) for products (N,), -1 where it is not known: between two of the
        category, nearer to the first; zeros, which paint nothing, where none is known."""
        rows = []
        for number, owner, g in zip(label.tolist(), product.tolist(), generators, strict=True):
            first, second, part = torch.rand(3, generator=g).tolist()
            known = self.known(number, owner) if number else self.keys[:0]
            if not len(known):
                rows.append(torch.zeros_like(self.codes[0]))
                continue
            codes = self.codes[known]
            rows.append(codes[int(first * len(known))].lerp(codes[int(second * len(known))], part / 2))
        return torch.stack(rows)
