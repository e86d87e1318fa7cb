"""E: from an image to the shape map and the style of its defect, per domain."""

from __future__ import annotations

from torch import Tensor, nn

from defectaug.config.schema import NetworkConfig
from defectaug.methods.dtgan.anchor import anchored
from defectaug.methods.dtgan.codes import CodeForm, Codes, FeatureForm, LayerForm, code_form, normalised
from defectaug.nn.blocks import Detail, ResBlock, Trunk, pool_max_mean, unfold_alike
from defectaug.nn.branches import BranchedConv1x1, BranchedLinear

YOUNG = 0.1  # CHOICE: size of the first responses of fine shapes; much more covers everything


class CoarseShape(nn.Module):
    """Response of a shape map from the trunk's last features."""

    def __init__(self, net: NetworkConfig, form: FeatureForm, domains: int) -> None:
        super().__init__()
        self.out = BranchedConv1x1(net.encoder_widths[-1], form.channels, domains, gain=0.5)

    def forward(self, levels: list[Tensor], defect: Tensor) -> Tensor:
        return self.out(levels[-1], defect)


class FineShape(nn.Module):
    """Response of a shape map as fine as the image, from all of the trunk's features."""

    def __init__(self, net: NetworkConfig, form: LayerForm, domains: int) -> None:
        super().__init__()
        self.detail = Detail(net.encoder_widths)
        self.out = BranchedConv1x1(net.encoder_widths[0], form.channels, domains, gain=YOUNG)
        unfold_alike(self.out.conv, form.fold)

    def forward(self, levels: list[Tensor], defect: Tensor) -> Tensor:
        return self.out(self.detail(levels), defect)


def shape_head(net: NetworkConfig, form: CodeForm, domains: int) -> CoarseShape | FineShape:
    """The head that a form of c calls for."""
    return FineShape(net, form, domains) if isinstance(form, LayerForm) else CoarseShape(net, form, domains)


class Encoder(nn.Module):
    """(c, s) = E_y(x): a shared trunk, then a shape head and a style head per domain."""

    def __init__(self, net: NetworkConfig, domains: int) -> None:
        super().__init__()
        self.anchor = net.anchor
        self.form = code_form(net)
        width = net.encoder_widths[-1]
        self.trunk = Trunk(
            net.channels, net.encoder_widths, fold=net.fold, blocks=net.encoder_blocks, norm=net.norm
        )
        self.shape = shape_head(net, self.form, domains)
        # CHOICE: maximum and mean pooling, since most of a defective image is not defect.
        self.style_trunk = ResBlock(width, width, "down")
        self.style = BranchedLinear(2 * width, net.style_dim, domains)

    def forward(self, x: Tensor, defect: Tensor) -> Codes:
        """Image (N, channels, S, S) and its class (N,) to codes."""
        levels = self.trunk.levels(x)
        h = levels[-1]
        c = self.form.read(self.shape(levels, defect))
        s = normalised(self.style(pool_max_mean(self.style_trunk(h)), defect).float())
        codes = Codes(c, s, defect)
        return anchored(codes) if self.anchor else codes
