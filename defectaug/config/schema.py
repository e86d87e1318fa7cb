"""Settings as frozen dataclasses whose types hold their ranges. Imports no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Annotated, Literal

from defectaug.errors import ConfigError
from defectaug.io.yaml import BRIEF


@dataclass(frozen=True)
class Range:
    """Bounds of a number, or of the length of a list; infinity and NaN are always refused.

    The upper ones lie far above what any machine trains. Without them a settings file would fill the memory before the
    weights beside it are looked at.
    """

    least: int = 0
    most: int | None = None
    below: int | None = None

    def check(self, name: str, number: float) -> None:
        """
        Raises:
            ConfigError: outside; names the setting, its value and the bound.
        """
        shown = f"{name} is {BRIEF.repr(number)}; it must be"
        if self.below is not None and not self.least <= number < self.below:
            raise ConfigError(f"{shown} at least {self.least} and below {self.below}.")
        if not self.least <= number < float("inf"):
            raise ConfigError(f"{shown} at least {self.least}.")
        if self.most is not None and number > self.most:
            raise ConfigError(f"{shown} at most {self.most}.")


_INT64 = (1 << 63) - 1
FromZero = Annotated[int, Range(0, _INT64)]
Count = Annotated[int, Range(1, _INT64)]
Layers = Annotated[int, Range(1, 64)]
Blocks = Annotated[int, Range(0, 64)]
Width = Annotated[int, Range(1, 1 << 14)]
Widths = Annotated[tuple[Width, ...], Range(1, 64)]
Share = Annotated[float, Range(below=1)]
Weight = Annotated[float, Range()]
Rate = Annotated[float, Range()]
Ratio = Annotated[float, Range(0, 1)]

GeneratorKind = Literal["layered", "separate", "joint", "styled"]
MappingKind = Literal["memory", "network"]
HeadsKind = Literal["flat", "pooled"]
FROM_NOISE = ("stylegan2", "biggan")
"""Methods that make whole images from noise: their networks have other sizes than those that paint."""


@dataclass(frozen=True)
class NetworkConfig:
    """Dimensions and parts of M, E, G and D.

    ``generator``: ``separate`` is the paper's G with two decoders (Figure 3 d, e); ``joint`` decodes both in one
    (b, c); ``styled`` is StarGAN v2's (a); ``layered`` is for methods that have none of these. ``heads`` and
    ``style_norm`` are looked at by methods that have D and s as the paper has them.
    """

    image_size: Count = 128
    channels: Count = 1
    generator: GeneratorKind = "layered"
    fold: Layers = 2
    encoder_widths: Widths = (16, 48)
    encoder_blocks: Blocks = 1
    generator_widths: Widths = (16, 48)
    generator_blocks: Blocks = 1
    discriminator_widths: Annotated[tuple[Width, ...], Range(2, 64)] = (16, 48, 96)
    discriminator_norm: bool = True
    code_channels: Width = 16
    style_dim: Width = 32
    latent_dim: Width = 16
    mapping_width: Width = 128
    mapping_layers: Layers = 3
    defect_width: Width = 48
    norm: bool = False
    anchor: bool = True
    noise: bool = True
    defect_classifier: bool = True
    product_classifier: bool = True
    mapping: MappingKind = "memory"  # M draws from noise as in the paper (network), or warps shapes that E has read
    memory: Width = 256  # shapes in M's bank
    product_branches: bool = True  # D has an output of its own for each defect on each product
    heads: HeadsKind = "pooled"  # D's: the paper's (flat), or such as find small defects soon (pooled)
    style_norm: bool = True  # s has a direction, but no size


@dataclass(frozen=True)
class LossConfig:
    """Weights of the terms; a term of weight 0 is left out. Equation numbers are the paper's."""

    adversarial: Weight = 1.0  # Eq. 1
    code: Weight = 1.0  # Eq. 2
    split: Weight = 1.0  # Eq. 3
    diversity: Weight = 1.0  # Eq. 4, falls linearly to 0
    cycle: Weight = 1.0  # Eq. 5
    defect_class: Weight = 1.0  # Eq. 6
    product_class: Weight = 1.0  # Eq. 7
    r1: Weight = 1.0
    direct: Weight = 0.0  # G(x, E(x)) = x


@dataclass(frozen=True)
class DefectGANConfig:
    """Weights of the terms of Defect-GAN, the paper's, and of R1."""

    adversarial: Weight = 1.0
    real_class: Weight = 2.0  # D names real images
    fake_class: Weight = 5.0  # D names what G makes
    cycle: Weight = 5.0  # there and back again
    mask_cycle: Weight = 5.0  # by the same places
    mask_area: Weight = 1.0  # that are small
    r1: Weight = 0.05


@dataclass(frozen=True)
class MokadyConfig:
    """Weights of the terms of masked content transfer, by their names in the paper (A is normal, B defective), those of
    an early version of the authors' code."""

    recon1_a: Weight = 5.0  # a normal image by D_A
    recon1_b: Weight = 7.0  # a defective one by D_B's layer over D_A's image
    focus: Weight = 0.0  # of recon1_b on what D_A cannot rebuild, D_A learning from A alone; 0: the paper, an even mean
    recon2_a: Weight = 0.7  # no defect laid over a normal image
    recon2_b: Weight = 0.7  # its own defect laid over a defective one
    cycle_common: Weight = 0.0
    cycle_separate: Weight = 0.001
    confusion: Weight = 0.005


@dataclass(frozen=True)
class StyleGAN2Config:
    """StyleGAN2; the weight of R1 is ``loss.r1``, widths are ``network.generator_widths`` and ``discriminator_widths``,
    ``style_dim``, ``latent_dim``, ``mapping_width`` and ``mapping_layers``."""

    augment: Literal["none", "diffaugment", "ada"] = "diffaugment"  # what D sees
    ada_target: Ratio = 0.6  # mean sign of D at real images that the chance of augmentation is steered to
    ada_images: Count = 500_000  # images in which this chance can go from 0 to 1
    path_length: Weight = 2.0
    path_every: Count = 4
    mixing: Ratio = 0.9  # share of images whose coarse and fine layers have different styles in training
    truncation: Ratio = 1.0  # in synthesis; 0: the mean image of each product and defect


@dataclass(frozen=True)
class BigGANConfig:
    """BigGAN; widths as of StyleGAN2, ``network.latent_dim`` components of noise go to each block."""

    augment: Literal["none", "diffaugment"] = "diffaugment"  # what D sees
    embedding: Width = 128  # of a product and defect
    attention: FromZero = 32  # side of the maps with self-attention; 0: none
    discriminator_steps: Layers = 2  # a step of G
    orthogonal: Weight = 1e-4
    truncation: Annotated[float, Range(0, 10)] = 10.0  # in synthesis: the most a component of the noise can be


@dataclass(frozen=True)
class OptimizerConfig:
    """Adam; the mapping network learns at its own rate."""

    rate: Rate = 1e-4
    mapping_rate: Rate = 1e-6
    discriminator_rate: Rate = 1e-4
    beta1: Share = 0.0
    beta2: Share = 0.99
    weight_decay: Rate = 1e-4
    cooldown: Share = 0.0  # last share of the run, in which all rates fall to 0
    ema: Share = 0.999


@dataclass(frozen=True)
class DataConfig:
    """How images become batches. ``framing``: ``auto`` finds out for each product; ``whole`` squeezes the image to the
    model's size; ``crop`` takes windows at native scale, the defective ones around true masks."""

    framing: Literal["auto", "whole", "crop"] = "whole"
    flips: Literal["none", "h", "v", "hv"] = "h"
    normal_target: Share = 0.15
    min_images: Count = 2  # a category with fewer defects is refused
    cache_mb: FromZero = 2048


@dataclass(frozen=True)
class RunConfig:
    """Length and intervals of a training run, in steps."""

    seed: FromZero = 0
    steps: Count = 100_000
    batch_size: Width = 8
    warmup: FromZero = 0
    latent_share: Share = 0.5  # share of a batch that latents guide, references the rest
    r1_every: Count = 16
    sample_every: Count = 500
    save_every: Count = 500
    validate_every: Count = 500
    log_every: Count = 20
    augment: bool = True  # differentiable augmentation of what D sees
    hide: bool = False  # frozen features find the defect and hide it from G in G(x, E(x)) = x
    detail: bool = False  # D sees the source with G's change of it, as synthesis paints it, not G's image


@dataclass(frozen=True)
class Config:
    """All settings of a run. ``method`` names what is trained (:mod:`defectaug.methods.base` lists the methods);
    where it is not given, it follows from ``network.generator``."""

    recipe: str = "small"
    method: str = "residual"
    network: NetworkConfig = field(default_factory=NetworkConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    defectgan: DefectGANConfig = field(default_factory=DefectGANConfig)
    mokady: MokadyConfig = field(default_factory=MokadyConfig)
    stylegan2: StyleGAN2Config = field(default_factory=StyleGAN2Config)
    biggan: BigGANConfig = field(default_factory=BigGANConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    data: DataConfig = field(default_factory=DataConfig)
    run: RunConfig = field(default_factory=RunConfig)


BY_FEATURES = ("residual", "cutpaste")
"""Methods that find defects by frozen features and keep them."""


def check(config: Config) -> Config:
    """Refuses settings whose values are fine each and do not go together.

    Raises:
        ConfigError: names the setting, its value and what is possible.
    """
    if config.method in FROM_NOISE:
        _check_levels(config.network)
    else:
        _check_sizes(config)
        _check_method(config)
    if config.network.channels not in (1, 3):
        raise ConfigError(f"network.channels is {config.network.channels}; it must be 1 or 3.")
    if config.run.batch_size < 2:
        raise ConfigError("run.batch_size is 1; it must be at least 2: half of a batch is guided by references.")
    return config


def _check_sizes(config: Config) -> None:
    net, by_features = config.network, config.method in BY_FEATURES
    depth = max(len(net.encoder_widths), len(net.generator_widths), len(net.discriminator_widths))
    unit = 16 if by_features else net.fold * 2 ** (depth - 1)  # features have a stride of 16
    if config.method == "mokady":  # each width halves
        unit = max(unit, 2 ** len(net.encoder_widths))
    least = 32 if by_features else max(32, 4 * unit)  # D halves its last maps once more, and normalises them
    if config.run.hide:
        unit = math.lcm(unit, 16)
    if net.image_size < least or net.image_size % unit or net.image_size > 1024:
        raise ConfigError(
            f"--image-size {net.image_size}: must be a multiple of {max(unit, 8)} from {least} to 1024 for this recipe."
        )
    if net.generator in ("separate", "joint") and net.code_channels >= net.generator_widths[-1]:
        raise ConfigError(
            f"network.code_channels is {net.code_channels}; it must be less than the last of "
            f"network.generator_widths, {net.generator_widths[-1]}, which it is a part of."
        )
    if len(net.encoder_widths) != len(net.generator_widths):
        raise ConfigError("network.encoder_widths and network.generator_widths must be of one length: c is swapped.")


def _check_levels(net: NetworkConfig) -> None:
    """A generator from noise starts with maps of 4 x 4 or more, and doubles them once a width."""
    levels = len(net.generator_widths)
    if len(net.discriminator_widths) != levels:
        raise ConfigError("network.generator_widths and network.discriminator_widths must be of one length here.")
    unit = net.fold * 2 ** (levels - 1)
    if not 4 * unit <= net.image_size <= 1024 or net.image_size % unit:
        raise ConfigError(
            f"--image-size {net.image_size}: must be a multiple of {unit} from {4 * unit} to 1024 with the {levels} "
            "widths of this recipe; give network.generator_widths and discriminator_widths one more for a doubled size."
        )


def _check_method(config: Config) -> None:
    net, run = config.network, config.run
    if (config.method, net.generator == "layered") in (("layered", False), ("dtgan", True)):
        raise ConfigError(f"network.generator is {net.generator}, which method '{config.method}' does not have.")
    if config.method == "cutpaste" and net.mapping == "network":
        raise ConfigError(
            f"network.mapping is network; method '{config.method}' draws from the defects it has read (memory)."
        )
    if net.mapping == "memory" and net.generator != "layered":
        raise ConfigError(
            f"network.mapping is memory; it must be network for generator '{net.generator}', whose c are features."
        )
    if net.mapping == "network" and not int(run.batch_size * run.latent_share):
        raise ConfigError(f"run.latent_share is {run.latent_share}; M would learn nothing.")
