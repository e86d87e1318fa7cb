"""G: what its forms share, and the choice among them.

Every form reads a source once (:meth:`Generator.background`) and then paints any number of defects on it
(:meth:`Generator.render`), so that several renders of one source share the work.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from torch import Tensor, nn

from defectaug.methods.dtgan.codes import Codes


@dataclass(frozen=True)
class Background:
    """What G takes from a source image.

    Attributes:
        source: the image x (N, C, S, S).
        features: background part of the bottleneck (N, B, h, w).
        code: the defect part that is cut away, FG_G(x), in the form of c.
        removed: layered form: opacity of the source's own defect (N, 1, S, S), else None.
        clean: layered form: the source without its defect (N, C, S, S), else None.
        fill: layered form: what the background decoder puts in its place (N, C, S, S), else None.
    """

    source: Tensor
    features: Tensor
    code: Tensor
    removed: Tensor | None = None
    clean: Tensor | None = None
    fill: Tensor | None = None

    def __getitem__(self, rows: slice | Tensor) -> Background:
        picked: dict[str, Any] = {}
        for f in fields(self):
            value = getattr(self, f.name)
            picked[f.name] = None if value is None else value[rows]
        return Background(**picked)


@dataclass(frozen=True)
class Rendered:
    """An image with a defect painted: ``image`` (N, C, S, S) in [-1, 1], and in the layered form the
    ``opacity`` (N, 1, S, S) in [0, 1) of the defect and its ``paint`` (N, C, S, S), colours times opacities."""

    image: Tensor
    opacity: Tensor | None = None
    paint: Tensor | None = None


class Generator(nn.Module):
    """Base of the forms of G.

    Attributes:
        splits: whether defect and background are apart in it; if not, the code decides on all of the image.
    """

    splits = True

    def background(self, x: Tensor) -> Background:
        """Reads the source (N, C, S, S)."""
        raise NotImplementedError

    def render(self, background: Background, codes: Codes) -> Rendered:
        """Paints the defects on the sources."""
        raise NotImplementedError

    def repaint(self, background: Background, codes: Codes, rendered: Rendered) -> Rendered:
        """Paints what ``rendered`` shows (made from ``codes``) on other backgrounds; layers are used again."""
        return self.render(background, codes)

    def forward(self, x: Tensor, codes: Codes) -> Rendered:
        """G(x, c, s)."""
        return self.render(self.background(x), codes)
