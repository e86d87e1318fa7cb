"""A defect taken apart: where it is (mask), its structure without tone, and its style.

``clean`` is the image with the masked part filled in; d is ``x - clean`` as a signed share of the range that is left
from the surface's level, channel by channel: towards black below 0, towards white above. The style holds, per channel,
the *tone* (mean of d in the mask) and, in common, the logarithm of the *contrast* (standard deviation of d about it).
The structure is d without these two. A style can therefore be exchanged, sampled and strengthened; a dark crack stays
dark on a dark surface without clipping, and on an orange one, where red has further to fall than blue, without tint.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from defectaug.nn.blocks import blur3

CLIP = 3.0  # standard deviations that a structure keeps
EPSILON = 1e-4
FAINTEST = 0.01  # contrast: about a grey level on a grey surface


@dataclass(frozen=True)
class Defect:
    """A batch of defects.

    Attributes:
        mask: (N, 1, S, S) in [0, 1].
        structure: (N, C, S, S) in [-CLIP, CLIP], zero outside the mask.
        style: (N, C + 1), tone per channel and log-contrast.
        context: (N, C, h, h), what surrounds the defect: the clean image, small, in [-1, 1].
        label: (N,) class numbers; 0 is normal.
        edges: (N, 4) booleans, whether the photograph ended at top, left, bottom, right of what was seen.
    """

    mask: Tensor
    structure: Tensor
    style: Tensor
    context: Tensor
    label: Tensor
    edges: Tensor

    def __len__(self) -> int:
        return len(self.label)

    def __getitem__(self, rows: slice | Tensor) -> Defect:
        return Defect(*(getattr(self, one.name)[rows] for one in fields(self)))

    def with_style(self, style: Tensor) -> Defect:
        """The same shapes in another style (N, C + 1)."""
        return replace(self, style=style)

    def within(self, region: Tensor) -> Defect:
        """What of the defects lies in regions (N, 1, S, S) of ones."""
        return replace(self, mask=self.mask * region, structure=self.structure * region)


def stronger(style: Tensor, factor: Tensor) -> Tensor:
    """Styles (N, C + 1) with tone and contrast times factors (N,)."""
    return torch.cat([style[:, :-1] * factor[:, None], style[:, -1:] + factor[:, None].log()], dim=1)


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Mean of x (N, C, H, W) in the mask (N, 1, H, W), as (N, C, 1, 1); 0 where the mask is empty."""
    return (x * mask).sum((2, 3), keepdim=True) / mask.sum((2, 3), keepdim=True).clamp(min=EPSILON)


def decompose(x: Tensor, clean: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Structure (N, C, S, S) and style (N, C + 1) of what images show in their masks (N, 1, S, S)."""
    difference = x - clean
    share = difference / light_left(difference, masked_mean(clean, mask))
    tone = masked_mean(share, mask)
    deviation = (masked_mean((share - tone).square(), mask).mean(1, keepdim=True) + EPSILON**2).sqrt()
    deviation = deviation.clamp(min=FAINTEST)
    structure = ((share - tone) / deviation).clamp(-CLIP, CLIP) * (mask > 0)
    return structure, torch.cat([tone.clamp(-1.5, 1.5), deviation.log()], dim=1).flatten(1)


def compose(structure: Tensor, style: Tensor, mask: Tensor, clean: Tensor) -> Tensor:
    """What a defect adds to a clean image (N, C, S, S): its structure at the style's contrast about the style's
    tone."""
    tone, contrast = style[:, :-1, None, None], style[:, -1, None, None, None].exp()
    return offset_of(structure * contrast + tone, masked_mean(clean, mask))


def offset_of(share: Tensor, level: Tensor) -> Tensor:
    """A share of the range that is left, as a difference to the level; shapes that broadcast."""
    return share * light_left(share, level)


def light_left(sign: Tensor, level: Tensor) -> Tensor:
    """What is left from a level to black where ``sign`` is negative, to white elsewhere."""
    return torch.where(sign < 0, level + 1, 1 - level).clamp(min=0.05)


def paste(x: Tensor, filled: Tensor, defect: Defect) -> tuple[Tensor, Tensor]:
    """(1 - opacity) x + opacity (filled + structure at the style's contrast + tone), and the opacity.

    Args:
        x: images (N, C, S, S).
        filled: the same with what lies under the masks filled in: material is replaced, as the defect was taken apart.
    """
    opacity = opacity_of(defect.mask)
    added = compose(defect.structure, defect.style, defect.mask, filled)
    return (x + opacity * (filled - x + added)).clamp(-1, 1), opacity


def opacity_of(mask: Tensor) -> Tensor:
    """Masks (N, 1, S, S) with an edge a pixel wide, as optics makes it."""
    return torch.maximum(blur3(mask), mask * (mask > 0.5))
