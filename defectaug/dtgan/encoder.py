"""E: from an image to the shape map and the style of its defect, per domain."""

from __future__ import annotations

from torch import Tensor, nn

from defectaug.config import NetworkConfig
from defectaug.dtgan.anchor import anchored
from defectaug.dtgan.codes import Codes, dense, normalised, sparse
from defectaug.nn.blocks import Detail, ResBlock, Trunk, pool_max_mean
from defectaug.nn.branches import BranchedConv1x1, BranchedLinear


class Encoder(nn.Module):
    """(c, s) = E_y(x): a shared trunk, then a shape head and a style head per domain."""

    def __init__(self, net: NetworkConfig, domains: int) -> None:
        super().__init__()
        self.anchor = net.anchor
        self.to_code = sparse if net.sparse_codes else dense
        width = net.encoder_widths[-1]
        self.trunk = Trunk(
            net.channels, net.encoder_widths, fold=net.fold, blocks=net.encoder_blocks, norm=net.norm
        )
        fine = net.encoder_widths[0 if net.fine_codes else -1]
        self.detail = Detail(net.encoder_widths) if net.fine_codes else None
        self.shape = BranchedConv1x1(fine, net.code_channels + 1, domains, gain=0.5)
        # CHOICE: maximum and mean pooling, since most of a defective image is not defect.
        self.style_trunk = ResBlock(width, width, "down")
        self.style = BranchedLinear(2 * width, net.style_dim, domains)

    def forward(self, x: Tensor, defect: Tensor) -> Codes:
        """Image (N, channels, S, S) and its class (N,) to codes."""
        levels = self.trunk.levels(x)
        h = levels[-1]
        c = self.to_code(self.shape(h if self.detail is None else self.detail(levels), defect))
        s = normalised(self.style(pool_max_mean(self.style_trunk(h)), defect).float())
        codes = Codes(c, s, defect)
        return anchored(codes) if self.anchor else codes
