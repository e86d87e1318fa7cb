"""E: from an image to the shape map and the style of its defect, per domain."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from torch import Tensor, nn

from defectaug.config.schema import NetworkConfig
from defectaug.methods.dtgan.anchor import anchored
from defectaug.methods.dtgan.codes import CodeForm, Codes, style_form
from defectaug.nn.blocks import ResBlock, Trunk, pool_max_mean
from defectaug.nn.branches import BranchedConv1x1, BranchedLinear

F = TypeVar("F", bound=CodeForm)


class CoarseShape(nn.Module):
    """Response of a shape map from the trunk's last features."""

    def __init__(self, net: NetworkConfig, form: CodeForm, domains: int) -> None:
        super().__init__()
        self.out = BranchedConv1x1(net.encoder_widths[-1], form.channels, domains, gain=0.5)

    def forward(self, levels: list[Tensor], defect: Tensor) -> Tensor:
        return self.out(levels[-1], defect)


class Encoder(nn.Module):
    """(c, s) = E_y(x): a shared trunk, then a shape head and a style head per domain.

    Args:
        net: dimensions.
        form: of c.
        domains: number of defect classes, the normal one included.
        shape_head: makes the module that takes the trunk's levels, finest first, and classes (N,) to responses.
    """

    def __init__(
        self,
        net: NetworkConfig,
        form: F,
        domains: int,
        shape_head: Callable[[NetworkConfig, F, int], nn.Module] = CoarseShape,
    ) -> None:
        super().__init__()
        self.anchor = net.anchor
        self.form = form
        width = net.encoder_widths[-1]
        self.trunk = Trunk(
            net.channels, net.encoder_widths, fold=net.fold, blocks=net.encoder_blocks, norm=net.norm
        )
        self.shape = shape_head(net, form, domains)
        # CHOICE: maximum and mean pooling, since most of a defective image is not defect.
        self.style_trunk = ResBlock(width, width, "down")
        self.style = BranchedLinear(2 * width, net.style_dim, domains)
        self.style_form = style_form(net)

    def forward(self, x: Tensor, defect: Tensor) -> Codes:
        """Image (N, channels, S, S) and its class (N,) to codes."""
        levels = self.trunk.levels(x)
        c = self.form.activate(self.shape(levels, defect))
        s = self.style_form(self.style(pool_max_mean(self.style_trunk(levels[-1])), defect).float())
        codes = Codes(c, s, defect)
        return anchored(codes) if self.anchor else codes
