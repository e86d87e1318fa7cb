"""The residual method's networks without a game: defects are pasted as they were found."""

from __future__ import annotations

from torch import Tensor, nn

from defectaug.methods.residual.defect import Defect
from defectaug.methods.residual.model import Residual
from defectaug.methods.residual.painter import Painting, paste


class Paste(nn.Module):
    """G without weights, and without a correction."""

    def forward(self, x: Tensor, filled: Tensor, defect: Defect, noise: Tensor) -> Painting:
        """Images and filled ones (N, C, S, S), as many defects; the noise has no effect."""
        return paste(x, filled, defect)


class CutPaste(Residual):
    """E, inpainter and bank; arguments as of :class:`Residual`."""

    def __init__(self, size: int, channels: int, defects: int, products: int, kept: int = 96) -> None:
        super().__init__(size, channels, defects, products, kept)
        self.painter, self.discriminator = Paste(), nn.Identity()  # type: ignore[assignment]
