"""Backbones of the classifiers, and the weights that they start with."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import cast
from urllib.error import URLError

import torch
from torch import Tensor, nn

from defectaug.data.class_map import nearest
from defectaug.errors import ConfigError

SMALL = "small"  # our own network; every other name is torchvision's
IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
WEIGHT_SUFFIXES = (".safetensors", ".pth", ".pt")


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


class Coloured(nn.Module):
    """A network for colour images that takes grey ones too, in [0, 1]."""

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
class Weights:
    """What a torchvision network starts with.

    Args:
        state: its state dict; None: from scratch.
        origin: where it comes from, for people.
        sha256: of the values.
    """

    state: Mapping[str, Tensor] | None
    origin: str
    sha256: str | None = None


def find_weights(name: str, weights: str, say: Callable[[str], object]) -> Weights:
    """The first weights of a classifier; see `StudySettings.weights`.

    Raises:
        ConfigError: no such classifier; weights that were asked for and cannot be had.
    """
    if name == SMALL or weights == "none":
        return Weights(None, "from scratch")
    check_name(name)
    if weights not in ("auto", "imagenet"):
        return _from_file(_weights_file(name, Path(weights).expanduser()))
    try:
        return _imagenet(name)
    except (URLError, OSError, RuntimeError) as error:
        why = " ".join(str(error).split())
        if weights == "imagenet":
            raise ConfigError(
                f"{name}: ImageNet weights cannot be had ({why}); name a file with --weights, or train from scratch"
            ) from error
        say(f"{name}: ImageNet weights cannot be had ({why}): trained from scratch, which a paper's study is not")
        return Weights(None, "from scratch, since ImageNet weights could not be had")


def check_name(name: str) -> None:
    """Raises ConfigError where torchvision has no classifier of that name."""
    from torchvision import models

    known = [SMALL, *models.list_models(module=models)]
    if name not in known:
        raise ConfigError(f"classifier '{name}': torchvision has none of that name; {nearest(name, known)}")


def torchvision_backbone(name: str, weights: Weights | None = None) -> tuple[nn.Module, int]:
    """One of torchvision's classifiers without its last linear layer, and the number of its features.

    Raises:
        ConfigError: no such classifier, one that does not end in a linear layer, or weights that do not fit it.
    """
    from torchvision import models

    check_name(name)
    network = models.get_model(name, weights=None)
    linear = [(path, part) for path, part in network.named_modules() if isinstance(part, nn.Linear)]
    if not linear or hasattr(network, "aux_logits"):
        raise ConfigError(f"classifier '{name}': cannot be used; it has no last linear layer alone; try resnet18")
    path, last = linear[-1]
    if weights is not None and weights.state is not None:
        _load(network, weights, path, name)
    owner, _, leaf = path.rpartition(".")
    setattr(network.get_submodule(owner), leaf, nn.Identity())
    return Coloured(network), last.in_features


def _load(network: nn.Module, weights: Weights, last: str, name: str) -> None:
    """All weights but the last layer's, which knows other classes."""
    assert weights.state is not None
    state = {key: value for key, value in weights.state.items() if not key.startswith(f"{last}.")}
    wanted = {key: value for key, value in network.state_dict().items() if not key.startswith(f"{last}.")}
    odd = [key for key, value in wanted.items() if key not in state or state[key].shape != value.shape]
    if odd:
        raise ConfigError(f"{weights.origin}: not the weights of {name} ({odd[0]} is missing or of another shape)")
    network.load_state_dict(state, strict=False)


def _imagenet(name: str) -> Weights:
    from torchvision import models

    chosen = models.get_model_weights(name).DEFAULT  # type: ignore[attr-defined]
    state = chosen.get_state_dict(progress=False, check_hash=True)
    return Weights(state, f"ImageNet ({chosen})", _digest(state))


def _weights_file(name: str, path: Path) -> Path:
    """The file itself, or the one in a folder that is named after the classifier."""
    if path.is_file():
        return path
    if not path.is_dir():
        raise ConfigError(f"--weights {path}: no such file or folder")
    found = sorted(file for file in path.iterdir() if file.suffix in WEIGHT_SUFFIXES and file.stem.startswith(name))
    if not found:
        raise ConfigError(f"--weights {path}: no file {name}*.pth, .pt or .safetensors in this folder")
    return found[0]


def _from_file(path: Path) -> Weights:
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state = load_file(path)
        else:
            state = cast("dict[str, Tensor]", torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # the readers raise a dozen kinds on damaged files
        raise ConfigError(f"{path}: cannot be read as weights ({' '.join(str(error).split())[:200]})") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ConfigError(f"{path}: no weights of a network (a state dict: names and tensors)")
    return Weights(state, str(path), _digest(state))


def _digest(state: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(name.encode())
        digest.update(state[name].detach().contiguous().cpu().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
