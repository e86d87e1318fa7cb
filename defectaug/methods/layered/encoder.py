"""The shape head that E has in the layered form."""

from __future__ import annotations

from torch import Tensor, nn

from defectaug.config.schema import NetworkConfig
from defectaug.methods.layered.codes import LayerForm
from defectaug.nn.blocks import Detail, unfold_evenly
from defectaug.nn.branches import BranchedConv1x1

FIRST_GAIN = 0.1  # CHOICE: size of the first responses; much more covers everything


class FineShape(nn.Module):
    """Response of a shape map as fine as the image, from all of the trunk's features."""

    def __init__(self, net: NetworkConfig, form: LayerForm, domains: int) -> None:
        super().__init__()
        self.detail = Detail(net.encoder_widths)
        self.out = BranchedConv1x1(net.encoder_widths[0], form.channels, domains, gain=FIRST_GAIN)
        unfold_evenly(self.out.conv.weight, form.fold)

    def forward(self, levels: list[Tensor], defect: Tensor) -> Tensor:
        return self.out(self.detail(levels), defect)
