"""G: adds a defect to a clean image, and corrects what its structure and style alone get wrong."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from defectaug.methods.residual.defect import Defect, compose, masked_mean
from defectaug.nn.blocks import ResBlock, StyledResBlock, blur3, conv3, dilated

MOST = 0.1  # that the correction changes, in units of [-1, 1]; without a bound it turned what lay on a table yellow
RIM = 2  # pixels around the mask that the correction may change


@dataclass(frozen=True)
class Painting:
    """Result of G: ``image`` (N, C, S, S), ``draft`` before the ``correction``, ``opacity`` (N, 1, S, S) of the
    defect, ``reach`` (N, 1, S, S) of both."""

    image: Tensor
    draft: Tensor
    correction: Tensor
    opacity: Tensor
    reach: Tensor


class Painter(nn.Module):
    """G(x, c, s) = (1 - opacity) x + opacity (filled + structure at the style's contrast + tone) + rim * correction.

    ``filled`` is x with what lies under the mask filled in: material is replaced, as its reference was taken apart;
    added to x, two textures would lie one upon the other.

    The correction is a small network over the clean image and the draft; the style reaches each of its layers by AdaIN,
    with the class, and noise gives texture that no structure holds. It starts at zero, so that the first images are cut
    and paste with a fitted tone, and whatever it adds can be measured.

    Args:
        channels: of the images.
        defects: number of defect classes, the normal one not counted.
        width: of the finest level, at half the image's size.
        style_dim: of the vector that AdaIN takes.
    """

    def __init__(self, channels: int, defects: int, width: int = 24, style_dim: int = 32) -> None:
        super().__init__()
        wide = 2 * width
        self.label = nn.Embedding(defects, style_dim)
        self.style = nn.Sequential(nn.Linear(2 * channels + 1, style_dim), nn.SiLU(), nn.Linear(style_dim, style_dim))
        self.stem = conv3(4 * (2 * channels + 2), width)
        self.down1, self.down2 = ResBlock(width, wide, "down"), ResBlock(wide, wide, "down")
        self.middle = StyledResBlock(wide, wide, style_dim)
        self.up2, self.up1 = StyledResBlock(wide, wide, style_dim, "up"), StyledResBlock(wide, width, style_dim, "up")
        self.out = conv3(width, 4 * channels)
        nn.init.zeros_(self.out.weight)

    def forward(self, x: Tensor, filled: Tensor, defect: Defect, noise: Tensor) -> Painting:
        """Images and filled ones (N, C, S, S), as many defects, and noise (N, 1, S, S)."""
        pasted = paste(x, filled, defect)
        draft, opacity = pasted.draft, pasted.opacity
        rim = blur3(dilated(defect.mask, RIM))
        level = masked_mean(filled, defect.mask).flatten(1)
        style = self.style(torch.cat([defect.style, level], dim=1)) + self.label(defect.label - 1)
        h = self.stem(F.pixel_unshuffle(torch.cat([filled, draft, defect.mask, noise], dim=1), 2))
        a = self.down1(h)
        a = a + self.up2(self.middle(self.down2(a), style), style)
        h = h + self.up1(a, style)
        correction = rim * MOST * torch.tanh(F.pixel_shuffle(self.out(F.leaky_relu(h, 0.2)), 2).float() / MOST)
        return Painting((draft + correction).clamp(-1, 1), draft, correction, opacity, torch.maximum(opacity, rim))


def paste(x: Tensor, filled: Tensor, defect: Defect) -> Painting:
    """Cut and paste: (1 - opacity) x + opacity (filled + structure at the style's contrast + tone)."""
    opacity = opacity_of(defect.mask)
    added = compose(defect.structure, defect.style, defect.mask, filled)
    image = (x + opacity * (filled - x + added)).clamp(-1, 1)
    return Painting(image, image, torch.zeros_like(image), opacity, opacity)


def opacity_of(mask: Tensor) -> Tensor:
    """Masks (N, 1, S, S) with an edge a pixel wide, as optics makes it."""
    return torch.maximum(blur3(mask), mask * (mask > 0.5))
