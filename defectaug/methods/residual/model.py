"""The networks of the method, and how they take a defect off one image and put it on another."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from defectaug.device import Compute
from defectaug.methods.outline import outlined, touching
from defectaug.methods.placement import Seen
from defectaug.methods.residual.bank import DefectBank
from defectaug.methods.residual.cutout import Cutout, Pasting
from defectaug.methods.residual.defect import Defect, decompose, paste
from defectaug.methods.residual.encoder import Encoder, own_logits
from defectaug.methods.residual.fill import Inpainter
from defectaug.nn.blocks import blur3, dilated

CONTEXT = 32  # side of what is kept of the surroundings
MARGIN = 2  # pixels around the mask that are filled too: a soft edge would tint the fill
RIM = 5  # pixels at the edge of a mask that are left out
GAP = 3  # and those further within that are so far from any that is not
FAINT = 0.35  # where they differ less than this from the clean image, as a share of the change
LOW = 0.1  # share of the clearest probability that a mask goes on in
PEAK = 0.1  # that a tenth of the mask's pixels exceed


class Residual(nn.Module):
    """E, the inpainter and the bank.

    Attributes:
        pasting: how defects come into images at the scale of these.

    Args:
        size, channels: of the images.
        defects: number of classes, the normal one (0) included.
        products: number of products.
        kept: defects in the bank.
        outlines: as of :class:`DefectBank`.
    """

    pasting = Pasting

    def __init__(
        self, size: int, channels: int, defects: int, products: int, kept: int = 96, outlines: bool = True
    ) -> None:
        super().__init__()
        self.size, self.defects, self.products = size, defects, products
        self.encoder = Encoder(channels, defects - 1)
        self.inpainter = Inpainter(channels)
        self.bank = DefectBank(size, channels, defects, CONTEXT, kept, outlines)

    def category(self, defect: Tensor, product: Tensor) -> Tensor:
        """(N,) numbers of product and defect (at least 1) pairs."""
        return product * (self.defects - 1) + defect - 1

    def drawn(
        self, label: Tensor, product: Tensor, generators: Sequence[torch.Generator]
    ) -> tuple[Defect, tuple[Cutout | None, ...], tuple[bool, ...]]:
        """One defect a generator, of classes (N,) for products (N,), -1 where it is not known; their cut-outs, None for
        those that have none; and whether they come from that product."""
        defect, slots = self.bank.draw(label, product, generators)
        alike = self.bank.products[slots] == product
        return defect, tuple(self.bank.cutout(slot) for slot in slots), tuple(alike.tolist())

    def seen_in(self, label: Tensor, product: Tensor, generator: torch.Generator) -> Seen | None:
        """Where on its product (1,) the defect of class (1,) that :meth:`drawn` draws was seen; None where it comes
        from another product, or that is not known."""
        slot = int(self.bank.pick(label, product, [generator])[0])
        box = self.bank.box(slot) if slot >= 0 and bool(self.bank.products[slot] == product) else None
        if box is None:
            return None
        around = self.bank.contexts[slot].float() / 127.5 - 1
        return Seen(box, around.permute(1, 2, 0).cpu().numpy())

    def learn(self, flips: str, generator: torch.Generator, compute: Compute) -> None:
        """What is left to learn once the bank is full: nothing."""

    def kept(self) -> dict[str, Tensor]:
        """What a bundle holds."""
        return self.state_dict()

    def clean(self, x: Tensor, mask: Tensor) -> Tensor:
        """Images without what lies in the masks (N, 1, S, S)."""
        known = 1 - dilated((mask > 0.5).to(x.dtype), MARGIN)
        return x * known + self.inpainter(x, known).clamp(-1, 1) * (1 - known)

    def take(self, x: Tensor, mask: Tensor, label: Tensor) -> tuple[Defect, Tensor]:
        """The defects in the masks of images, and the images without them."""
        with torch.no_grad():
            clean = self.clean(x, mask)
        structure, style = decompose(x, clean, mask)
        edges = torch.zeros(len(label), 4, dtype=torch.bool, device=label.device)
        return Defect(mask, structure, style, F.adaptive_avg_pool2d(clean, CONTEXT), label, edges), clean

    def paint(self, x: Tensor, defect: Defect) -> tuple[Tensor, Tensor]:
        """The defects on images (N, C, S, S) without any, and their opacity (N, 1, S, S)."""
        with torch.no_grad():
            filled = self.clean(x, defect.mask)
        return paste(x, filled, defect)

    @torch.no_grad()
    def tightened(self, x: Tensor, mask: Tensor) -> Tensor:
        """Masks (N, 1, S, S) without the rim in which nothing is to be seen, and without wide gaps, for E to learn
        from: however sure E is, or what it has found too wide would be learnt ever wider."""
        there = (mask > 0.5).to(mask.dtype)
        change = blur3(blur3((x - self.clean(x, there)).abs().amax(1, keepdim=True))).float()
        ranked = (change * there).flatten(1).sort(1, descending=True).values
        peak = ranked.gather(1, (PEAK * there.flatten(1).sum(1)).long()[:, None])[..., None, None]
        seen = there * (change > FAINT * peak)
        within = eroded(there, RIM) * closed(seen, GAP)
        return mask * torch.maximum(closed(seen, 1), within).to(mask.dtype)

    @torch.no_grad()
    def read(self, x: Tensor, label: Tensor) -> tuple[Defect, Tensor]:
        """The defects of classes (N,) that images show, as E finds them, and the images without them."""
        found = torch.sigmoid(own_logits(self.encoder(x), label))
        return self.take(x, outlined(x, continued(confident(found), found), found), label)


def eroded(x: Tensor, reach: int) -> Tensor:
    """Least of the values in [0, 1] within ``reach`` pixels, squarely, within the image."""
    return 1 - dilated(1 - x, reach)


def closed(x: Tensor, reach: int) -> Tensor:
    """Masks of 0 and 1 with gaps up to twice ``reach`` pixels wide closed, by squares."""
    return eroded(dilated(x, reach), reach)


def continued(mask: Tensor, found: Tensor) -> Tensor:
    """Masks (N, 1, S, S) with what E's probabilities ``found`` show less clearly but connected to them: the
    rest of a crack, the dull side of a break."""
    low = found >= LOW * found.amax((2, 3), keepdim=True)
    kept = []
    for seeds, likely in zip((mask[:, 0] > 0.5).cpu().numpy(), low[:, 0].cpu().numpy(), strict=True):
        kept.append(torch.from_numpy(touching(likely | seeds, seeds)))
    return torch.maximum(mask, torch.stack(kept)[:, None].to(mask.device, mask.dtype))


def confident(mask: Tensor) -> Tensor:
    """Masks (N, 1, S, S) as nearly 0 or 1; relative to the clearest place where nothing is clear."""
    level = (0.5 * mask.amax((2, 3), keepdim=True)).clamp(min=0.02, max=0.5)
    return (((mask - level) * 8) + 0.5).clamp(0, 1)
