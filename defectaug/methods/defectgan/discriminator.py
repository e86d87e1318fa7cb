"""D, after section 3.2: real or generated, patch by patch, and of which class; on the image and, ours, on its half."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from defectaug.config.schema import NetworkConfig
from defectaug.nn.blocks import Trunk, activate, pool_max_mean


@dataclass(frozen=True)
class Predictions:
    """``real`` (N, K), a logit for each of K patches of all scales; ``label`` (N, classes), class logits."""

    real: Tensor
    label: Tensor

    def __getitem__(self, rows: slice) -> Predictions:
        return Predictions(self.real[rows], self.label[rows])


class Scale(nn.Module):
    """StarGAN's D: a trunk, D_src on its patches, D_cls on all of them."""

    def __init__(self, net: NetworkConfig, classes: int) -> None:
        super().__init__()
        width = net.discriminator_widths[-1]
        self.trunk = Trunk(net.channels, net.discriminator_widths, fold=net.fold, norm=net.discriminator_norm)
        self.real, self.label = nn.Conv2d(width, 1, 1), nn.Linear(2 * width, classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = activate(self.trunk(x))
        return self.real(h).flatten(1).float(), self.label(pool_max_mean(h)).float()


class Discriminator(nn.Module):
    """One :class:`Scale` a size of the image; their class logits are averaged."""

    def __init__(self, net: NetworkConfig, classes: int) -> None:
        super().__init__()
        self.fine, self.coarse = Scale(net, classes), Scale(net, classes)

    @property
    def trunk(self) -> nn.Module:
        """Features of the whole image."""
        return self.fine.trunk

    def forward(self, x: Tensor) -> Predictions:
        """Images (N, C, S, S)."""
        (fine, label), (coarse, other) = self.fine(x), self.coarse(F.avg_pool2d(x, 2))
        return Predictions(torch.cat([fine, coarse], dim=1), (label + other) / 2)

    def name_defect(self, x: Tensor) -> Tensor:
        """Images to class numbers (N,)."""
        predicted: Predictions = self(x)
        return predicted.label.argmax(1)
