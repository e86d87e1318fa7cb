"""Settings as frozen dataclasses, and what makes sense of them. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from defectaug.errors import ConfigError
from defectaug.io.yaml import BRIEF

GeneratorKind = Literal["layered", "separate", "joint", "styled"]
MappingKind = Literal["memory", "network"]


@dataclass(frozen=True)
class NetworkConfig:
    """Dimensions and parts of M, E, G and D.

    ``generator``: ``layered`` paints a defect layer over the source; ``separate`` is the paper's G with two
    decoders (Figure 3 d, e); ``joint`` decodes both in one (b, c); ``styled`` is StarGAN v2's (a).
    """

    image_size: int = 128
    channels: int = 1
    generator: GeneratorKind = "layered"
    fold: int = 2
    encoder_widths: tuple[int, ...] = (16, 48)
    encoder_blocks: int = 1
    generator_widths: tuple[int, ...] = (16, 48)
    generator_blocks: int = 1
    discriminator_widths: tuple[int, ...] = (16, 48, 96)
    discriminator_norm: bool = True
    code_channels: int = 16  # of decoded forms; the layered form's c is its opacities
    style_dim: int = 32
    latent_dim: int = 16
    mapping_width: int = 128
    mapping_layers: int = 3
    defect_width: int = 48
    norm: bool = False
    anchor: bool = True
    noise: bool = True
    defect_classifier: bool = True
    product_classifier: bool = True
    mapping: MappingKind = "memory"  # M draws from noise as in the paper (network), or bends shapes that E has read
    memory: int = 256  # shapes that are kept
    product_branches: bool = True  # D judges each defect on each product by a branch of its own


@dataclass(frozen=True)
class LossConfig:
    """Weights of the terms; a term of weight 0 is left out. Equation numbers are the paper's."""

    adversarial: float = 1.0  # Eq. 1
    code: float = 1.0  # Eq. 2
    split: float = 1.0  # Eq. 3
    diversity: float = 1.0  # Eq. 4, falls linearly to 0
    cycle: float = 1.0  # Eq. 5
    defect_class: float = 1.0  # Eq. 6
    product_class: float = 1.0  # Eq. 7
    r1: float = 1.0
    direct: float = 0.0  # G(x, E(x)) = x
    area: float = 0.0  # layered: a defect layer is small
    area_end: float = 0.0  # the same in the end; it rises once defects have been found
    mask: float = 0.0  # layered: what was painted is found again
    fill: float = 0.0  # layered: the fill is the normal image


@dataclass(frozen=True)
class ResidualConfig:
    """Weights of what G of the residual method minimises, of R1, and G's rate."""

    adversarial: float = 0.3  # Eq. 1, on crops around the defect, D's own trunk
    features: float = 0.1  # the same on frozen features
    rebuild: float = 5.0  # references painted again, L1 of pixels
    rebuild_features: float = 0.05  # and of features
    found: float = 0.2  # E finds the mask that was painted
    r1: float = 0.2
    rate: float = 5e-4


@dataclass(frozen=True)
class OptimizerConfig:
    """Adam; the mapping network learns at its own rate."""

    rate: float = 1e-4
    mapping_rate: float = 1e-6
    discriminator_rate: float = 1e-4
    beta1: float = 0.0
    beta2: float = 0.99
    weight_decay: float = 1e-4
    cooldown: float = 0.0  # last share of the run, in which all rates fall to 0
    ema: float = 0.999


@dataclass(frozen=True)
class DataConfig:
    """How images become batches. ``framing``: ``auto`` finds out; ``whole`` squeezes the image to the model's size;
    ``crop`` takes windows at native scale, the defective ones around true masks."""

    framing: Literal["auto", "whole", "crop"] = "whole"
    flips: Literal["none", "h", "v", "hv"] = "h"
    normal_target: float = 0.15
    min_images: int = 2  # a defect cell with fewer is refused
    cache_mb: int = 2048


@dataclass(frozen=True)
class RunConfig:
    """Length and rhythm of a training run, in steps."""

    seed: int = 0
    steps: int = 100_000
    batch_size: int = 8
    warmup: int = 0
    latent_share: float = 0.5  # share of a batch that latents guide, references the rest
    r1_every: int = 16
    sample_every: int = 500
    save_every: int = 500
    validate_every: int = 500
    log_every: int = 20
    augment: bool = True  # differentiable augmentation of what D sees


@dataclass(frozen=True)
class Config:
    """All settings of a run. ``method`` names what is trained (:mod:`defectaug.methods.base` lists the methods);
    where it is not given, ``network.generator`` tells."""

    recipe: str = "small"
    method: str = "layered"
    network: NetworkConfig = field(default_factory=NetworkConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    residual: ResidualConfig = field(default_factory=ResidualConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    data: DataConfig = field(default_factory=DataConfig)
    run: RunConfig = field(default_factory=RunConfig)


def check(config: Config) -> Config:
    """Refuses settings that no network can be built from.

    Raises:
        ConfigError: names the setting, its value and what is possible.
    """
    _check_ranges(config)
    net, run = config.network, config.run
    if not net.encoder_widths or len(net.discriminator_widths) < 2:
        raise ConfigError("network.encoder_widths needs a width, network.discriminator_widths two.")
    depth = max(len(net.encoder_widths), len(net.generator_widths), len(net.discriminator_widths))
    unit = net.fold * 2 ** (depth - 1)
    least = max(32, 4 * unit)  # D halves its last maps once more, and normalises them
    if net.image_size < least or net.image_size % unit or net.image_size > 1024:
        raise ConfigError(
            f"--image-size {net.image_size}: must be a multiple of {max(unit, 8)} from {least} to 1024 "
            "for this recipe."
        )
    if net.generator in ("separate", "joint") and net.code_channels >= net.generator_widths[-1]:
        raise ConfigError(
            f"network.code_channels is {net.code_channels}; it must be less than the last of "
            f"network.generator_widths, {net.generator_widths[-1]}, which it is a part of."
        )
    if len(net.encoder_widths) != len(net.generator_widths):
        raise ConfigError(
            "network.encoder_widths and network.generator_widths must be of one length: c is swapped."
        )
    if net.channels not in (1, 3):
        raise ConfigError(f"network.channels is {net.channels}; it must be 1 or 3.")
    if run.batch_size < 2:
        raise ConfigError(
            "run.batch_size is 1; it must be at least 2: half of a batch is guided by references."
        )
    if (config.method, net.generator == "layered") in (("layered", False), ("dtgan", True)):
        raise ConfigError(f"network.generator is {net.generator}, which method '{config.method}' does not have.")
    if net.mapping == "memory" and net.generator != "layered":
        raise ConfigError(
            f"network.mapping is memory; it must be network for generator '{net.generator}', whose c are features."
        )
    if net.mapping == "network" and not int(run.batch_size * run.latent_share):
        raise ConfigError(f"run.latent_share is {run.latent_share}; M would learn nothing.")
    return config


_FROM_ZERO = {"seed", "warmup", "encoder_blocks", "generator_blocks", "cache_mb"}
_SHARES = {"beta1", "beta2", "ema", "normal_target", "latent_share", "cooldown"}


_LAYERS, _WIDTH, _MOST_OF_ALL = 64, 1 << 14, (1 << 63) - 1
_MOST = dict.fromkeys(("encoder_blocks", "generator_blocks", "mapping_layers", "fold"), _LAYERS) | dict.fromkeys(
    ("encoder_widths", "generator_widths", "discriminator_widths", "code_channels", "style_dim", "latent_dim",
     "mapping_width", "defect_width", "memory", "batch_size"), _WIDTH,
)  # fmt: skip
"""Far above what any machine trains: with more, a file would fill the memory before its weights are looked at."""


def _check_ranges(config: Config) -> None:
    """Whole numbers are at least 1, others finite and not negative, but for those named above."""
    for section in ("network", "loss", "residual", "optimizer", "data", "run"):
        for name, value in vars(getattr(config, section)).items():
            for number in value if isinstance(value, tuple) else (value,):
                if isinstance(number, (bool, str)):
                    continue
                least = 0 if isinstance(number, float) or name in _FROM_ZERO else 1
                if name in _SHARES and not 0 <= number < 1:
                    raise ConfigError(f"{section}.{name} is {BRIEF.repr(number)}; it must be at least 0 and below 1.")
                if not least <= number < float("inf"):
                    raise ConfigError(f"{section}.{name} is {BRIEF.repr(number)}; it must be at least {least}.")
                _check_size(f"{section}.{name}", number, _MOST.get(name, _MOST_OF_ALL))
            if isinstance(value, tuple):
                _check_size(f"the length of {section}.{name}", len(value), _LAYERS)


def _check_size(name: str, number: float, most: int) -> None:
    if isinstance(number, int) and number > most:
        raise ConfigError(f"{name} is {BRIEF.repr(number)}; it must be at most {most}.")
