"""Networks that classifiers are built on, and what they start with: EfficientNet-Lite1, frozen; others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torchvision import models

from defectaug.errors import ConfigError, nearest
from defectaug.nn.weights import EFFICIENTNET_LITE, MissingWeights, Published, WeightsFile, in_given, load, require

LITE = "efficientnet-lite1"  # frozen; timm's tf_efficientnet_lite1 is the same, trained as a whole
MOST_ADVICE = 200  # characters
IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class FrozenLite(nn.Module):
    """EfficientNet-Lite1 (Tan and Le, 2019) with its ImageNet weights, none of them trained.

    Args:
        file: its weights.

    Raises:
        ConfigError: they are another network's.
    """

    maps = (16, 24, 40, 80, 112, 192, 320, 1280)
    """Channels of the seven stages' and the last layer's maps, at strides 2, 4, 8, 16, 16, 32, 32 and 32."""
    features = 2 * sum(maps)

    def __init__(self, file: WeightsFile) -> None:
        super().__init__()
        import timm

        network: Any = timm.create_model("tf_efficientnet_lite1", pretrained=False, num_classes=0)
        load(network, file, EFFICIENTNET_LITE.name)
        self.stem = nn.Sequential(network.conv_stem, network.bn1)
        self.stages = nn.ModuleList([*network.blocks, nn.Sequential(network.conv_head, network.bn2)])
        self.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> FrozenLite:
        """Stays in evaluation mode: batch statistics are those of ImageNet."""
        return super().train(False) if self.training else self  # a step of the linear layer takes less than setting it

    @torch.no_grad()
    def levels(self, images: Tensor) -> list[Tensor]:
        """The maps of images (B, 1 or 3, S, S) in [0, 1], finest first."""
        h = (images.expand(-1, 3, -1, -1) * 255 - 127) / 128
        h = self.stem(h.contiguous(memory_format=torch.channels_last))
        found = []
        for stage in self.stages:
            h = stage(h)
            found.append(h.float())
        return found

    def forward(self, images: Tensor) -> Tensor:
        """Mean and maximum of each channel of each map, (B, features)."""
        return torch.cat([part for h in self.levels(images) for part in (h.mean((2, 3)), h.amax((2, 3)))], 1)


class Standardised(nn.Module):
    """Features by the means and deviations that :meth:`adapt` was shown."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("deviation", torch.ones(features))

    def adapt(self, features: Tensor) -> None:
        """Takes means and deviations over all but the last dimension."""
        rows = features.flatten(0, -2)
        self.mean, self.deviation = rows.mean(0), rows.std(0, correction=0) + 1e-3

    def forward(self, features: Tensor) -> Tensor:
        return (features - self.mean) / self.deviation


class Normalised(nn.Module):
    """A network for colour images, normalised as its training images were, that takes grey ones too, in [0, 1]."""

    mean: Tensor
    deviation: Tensor

    def __init__(
        self, network: nn.Module, mean: Sequence[float] = IMAGENET_MEAN, deviation: Sequence[float] = IMAGENET_DEVIATION
    ) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("deviation", torch.tensor(deviation)[:, None, None], persistent=False)

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
    """From images (B, C, S, S) in [0, 1] to features (B, F).

    Args:
        network: what is trained.
        features: their number F.
        frozen: what is not trained, and comes first; None: `network` takes the images themselves.
    """

    network: nn.Module
    features: int
    frozen: nn.Module | None = None


@dataclass(frozen=True)
class Family:
    """Networks that come from one place.

    Args:
        names: all of them.
        build: a new network by name and the weights to start with.
        published: the ImageNet weights of a network, and what they are called; None where there are none.
    """

    names: Callable[[], Sequence[str]]
    build: Callable[[str, InitialWeights], Backbone]
    published: Callable[[str], tuple[Published, str] | None]


def build_backbone(name: str, weights: InitialWeights | None = None) -> Backbone:
    """A new backbone.

    Args:
        name: `efficientnet-lite1` (frozen), or one of torchvision's or timm's classifiers.
        weights: what it starts with, from :func:`find_weights`; None: from scratch.

    Raises:
        ConfigError: no such network, one that does not end in a linear layer, or weights that do not fit it.
    """
    return _family(name).build(name, weights or InitialWeights())


def check_backbone(name: str, side: int, weights: InitialWeights | None = None) -> None:
    """Raises ConfigError as :func:`build_backbone`, or where it does not take images of side x side pixels."""
    backbone = build_backbone(name, weights)
    try:
        with torch.inference_mode():
            (backbone.frozen or backbone.network).eval()(torch.zeros(1, 3, side, side))
    except (RuntimeError, AssertionError, ValueError) as error:
        why = " ".join(str(error).split())[:120]
        raise ConfigError(f"classifier '{name}': does not take images of {side} x {side} pixels ({why})") from error


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
    if weights == "none":
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
        log(f"{name}: ImageNet weights cannot be had ({error}); trained from scratch, which users' classifiers are not")
        return InitialWeights(origin="from scratch, since ImageNet weights could not be had")


def _family(name: str) -> Family:
    known: list[str] = []
    for family in FAMILIES:
        names = family.names()
        if name in names:
            return family
        known += names
    advice = nearest(name, known)
    if len(advice) > MOST_ADVICE:  # nothing is near, and there are more than a thousand
        advice = "resnet18 is one, timm.list_models() lists the rest"
    raise ConfigError(f"classifier '{name}': neither torchvision nor timm has one of that name; {advice}")


def _lite(name: str, weights: InitialWeights) -> Backbone:
    """The frozen network; without weights, which would leave nothing to learn from, the same trained as a whole."""
    if weights.file is None:
        return _timm("tf_efficientnet_lite1", weights)
    return Backbone(Standardised(FrozenLite.features), FrozenLite.features, FrozenLite(weights.file))


@lru_cache(maxsize=1)
def frozen_lite(file: WeightsFile) -> FrozenLite:
    """The network, built once. Not for classifiers, whose seed fixes every random number that building takes."""
    return FrozenLite(file)


def _torchvision(name: str, weights: InitialWeights) -> Backbone:
    """One of torchvision's classifiers without its last linear layer, whose classes are others."""
    network = models.get_model(name, weights=None)
    linear = [(path, part) for path, part in network.named_modules() if isinstance(part, nn.Linear)]
    if not linear or hasattr(network, "aux_logits"):
        raise ConfigError(f"classifier '{name}': cannot be used; it has no last linear layer alone; try resnet18")
    path, last = linear[-1]
    owner, _, leaf = path.rpartition(".")
    setattr(network.get_submodule(owner), leaf, nn.Identity())
    if weights.file is not None:
        load(network, weights.file, name)
    return Backbone(Normalised(network), last.in_features)


def _timm(name: str, weights: InitialWeights) -> Backbone:
    """One of timm's networks without its last layer."""
    import timm

    network: Any = timm.create_model(name, pretrained=False, num_classes=0)
    if weights.file is not None:
        load(network, weights.file, name)
    known = network.pretrained_cfg
    features = getattr(network, "head_hidden_size", None) or network.num_features
    return Backbone(Normalised(network, known["mean"], known["std"]), features)


def _torchvision_weights(name: str) -> tuple[Published, str] | None:
    chosen = models.get_model_weights(name).DEFAULT  # type: ignore[attr-defined]
    return Published(name, chosen.url, name), str(chosen)


def _timm_names() -> Sequence[str]:
    import timm

    return timm.list_models()


def _timm_weights(name: str) -> tuple[Published, str] | None:
    import timm

    if name == "tf_efficientnet_lite1":
        return EFFICIENTNET_LITE, EFFICIENTNET_LITE.name
    known: Any = timm.get_pretrained_cfg(name, allow_unregistered=True)
    return (Published(name, known.url, name), f"timm's {name}.{known.tag}") if known and known.url else None


FAMILIES = (
    Family(lambda: [LITE], _lite, lambda name: (EFFICIENTNET_LITE, "EfficientNet-Lite1, frozen, below a linear layer")),
    Family(lambda: models.list_models(module=models), _torchvision, _torchvision_weights),
    Family(_timm_names, _timm, _timm_weights),
)
"""Where backbones come from; the first family that knows a name builds it."""
