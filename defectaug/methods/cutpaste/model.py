"""The residual method's networks, and plain cut and paste after them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from defectaug.methods.residual.cutout import Floats, Pasting
from defectaug.methods.residual.model import Residual


class PlainPasting(Pasting):
    """Pixels as they were, within the mask: in the light of their own image, without a rim."""

    def cover(self, there: Floats, away: Floats) -> Floats:
        """The mask."""
        return there

    def light(self, surface: Floats, brought: Floats, around: NDArray[np.bool_]) -> Floats:
        """That of the defect's own image."""
        return np.ones(brought.shape[2], np.float32)

    def restyled(self, share: Floats, there: Floats) -> Floats:
        """In its own style."""
        return self.strength * share


class CutPaste(Residual):
    """E, inpainter and bank; arguments as of :class:`Residual`."""

    pasting = PlainPasting
