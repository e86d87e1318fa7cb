"""Backbones of the classifiers, chosen by name, and the weights that they start with.

A new family of networks, such as timm's, is one more entry of `FAMILIES`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torchvision import models

from defectaug.errors import ConfigError, nearest
from defectaug.nn.weights import MissingWeights, Published, WeightsFile, in_given, require

SMALL = "small"  # our own network; every other name is torchvision's
IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Small(nn.Module):
    """Five convolutions after a pixel-unshuffle by 2, global mean and maximum: seconds on two cores.

    The maximum is what tells a thin defect on a large part. Brightness and contrast of an image are taken out first.
    """

    def __init__(self, channels: int, width: int = 16) -> None:
        super().__init__()
        widths = [4 * channels, width, 2 * width, 3 * width, 4 * width, 4 * width]
        layers: list[nn.Module] = [nn.PixelUnshuffle(2)]
        for number, (inputs, outputs) in enumerate(pairwise(widths)):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(True)]
            layers += [nn.MaxPool2d(2)] if number < 3 else []
        self.layers = nn.Sequential(*layers)
        self.features = 2 * widths[-1]

    def forward(self, images: Tensor) -> Tensor:
        """Features (B, 128) of images (B, C, S, S) in [0, 1]."""
        mean = images.mean((1, 2, 3), keepdim=True)
        deviation = images.std((1, 2, 3), keepdim=True)
        flat = (images - mean) / (deviation + 0.02)
        maps = self.layers(flat.contiguous(memory_format=torch.channels_last))
        return torch.cat([maps.mean((2, 3)), maps.amax((2, 3))], 1)


class Normalised(nn.Module):
    """A network for colour images, normalised as ImageNet's were, that takes grey ones too, in [0, 1]."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN)[:, None, None], persistent=False)
        self.register_buffer("deviation", torch.tensor(IMAGENET_DEVIATION)[:, None, None], persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Features (B, F) of images (B, 1 or 3, S, S)."""
        colour = (images.expand(-1, 3, -1, -1) - self.mean) / self.deviation
        return self.network(colour.contiguous(memory_format=torch.channels_last))


@dataclass(frozen=True)
class InitialWeights:
    """What a backbone starts with.

    Args:
        file: its state dict; None: from scratch.
        origin: where it comes from, for people.
    """

    file: WeightsFile | None = None
    origin: str = "from scratch"

    @property
    def sha256(self) -> str | None:
        """Of the file; None from scratch."""
        return None if self.file is None else self.file.sha256


class Backbone(NamedTuple):
    """A network from images (B, C, S, S) in [0, 1] to features (B, F), and their number F."""

    network: nn.Module
    features: int


@dataclass(frozen=True)
class Family:
    """Networks that come from one place.

    Args:
        names: all of them.
        build: a new network by name, number of image channels and the weights to start with.
        published: the ImageNet weights of a network, and what they are called; None where there are none.
    """

    names: Callable[[], Sequence[str]]
    build: Callable[[str, int, InitialWeights], Backbone]
    published: Callable[[str], tuple[Published, str] | None]


def build_backbone(name: str, channels: int = 3, weights: InitialWeights | None = None) -> Backbone:
    """A new backbone.

    Args:
        name: `small`, or one of torchvision's classifiers.
        channels: of the images, 1 or 3.
        weights: what it starts with, from :func:`find_weights`; None: from scratch.

    Raises:
        ConfigError: no such network, one that does not end in a linear layer, or weights that do not fit it.
    """
    return _family(name).build(name, channels, weights or InitialWeights())


def find_weights(name: str, weights: str, log: Callable[[str], object]) -> InitialWeights:
    """The first weights of a backbone.

    Args:
        name: of the backbone.
        weights: `auto` (ImageNet, from scratch where they cannot be had), `imagenet` (an error where they cannot be
            had), `none` (from scratch), or a file or folder of weights.
        log: takes a line for the user.

    Raises:
        ConfigError: no such backbone; weights that were asked for and cannot be had.
    """
    found = _family(name).published(name)
    if weights == "none" or name == SMALL:
        return InitialWeights()
    kind, title = found or (Published(name, None, name), "ImageNet")
    if weights not in ("auto", "imagenet"):
        place = Path(weights).expanduser()
        file = in_given(kind, place)
        if file is None:
            raise ConfigError(f"--weights {place}: no file {name}*.pth, .pt or .safetensors in this folder")
        file.state()  # a damaged file is better known now than after an hour
        return InitialWeights(file, str(file.path))
    try:
        return InitialWeights(require(kind, None), f"ImageNet ({title})")
    except MissingWeights as error:
        if weights == "imagenet":
            raise ConfigError(f"{name}: ImageNet weights cannot be had ({error}), or train from scratch") from error
        log(f"{name}: ImageNet weights cannot be had ({error}): trained from scratch, which a paper's study is not")
        return InitialWeights(origin="from scratch, since ImageNet weights could not be had")


def _family(name: str) -> Family:
    known: list[str] = []
    for family in FAMILIES:
        names = family.names()
        if name in names:
            return family
        known += names
    raise ConfigError(f"classifier '{name}': torchvision has none of that name; {nearest(name, known)}")


def _small(name: str, channels: int, weights: InitialWeights) -> Backbone:
    network = Small(channels)
    return Backbone(network, network.features)


def _torchvision(name: str, channels: int, weights: InitialWeights) -> Backbone:
    """One of torchvision's classifiers without its last linear layer, whose classes are others."""
    network = models.get_model(name, weights=None)
    linear = [(path, part) for path, part in network.named_modules() if isinstance(part, nn.Linear)]
    if not linear or hasattr(network, "aux_logits"):
        raise ConfigError(f"classifier '{name}': cannot be used; it has no last linear layer alone; try resnet18")
    path, last = linear[-1]
    owner, _, leaf = path.rpartition(".")
    setattr(network.get_submodule(owner), leaf, nn.Identity())
    if weights.file is not None:
        state, wanted = weights.file.state(), network.state_dict()
        odd = [key for key, value in wanted.items() if key not in state or state[key].shape != value.shape]
        if odd:
            raise ConfigError(f"{weights.origin}: not the weights of {name} ({odd[0]} is missing or of another shape)")
        network.load_state_dict({key: state[key] for key in wanted})
    return Backbone(Normalised(network), last.in_features)


def _torchvision_weights(name: str) -> tuple[Published, str] | None:
    chosen = models.get_model_weights(name).DEFAULT  # type: ignore[attr-defined]
    return Published(name, chosen.url, name), str(chosen)


FAMILIES = (
    Family(lambda: [SMALL], _small, lambda name: None),
    Family(lambda: models.list_models(module=models), _torchvision, _torchvision_weights),
)
"""Where backbones come from; the first family that knows a name builds it."""
