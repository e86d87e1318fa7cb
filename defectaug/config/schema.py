"""Settings: frozen dataclasses, and their resolution from recipe < file < flags. Imports no torch."""

from __future__ import annotations

import dataclasses
import difflib
import reprlib
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml

from defectaug.errors import ConfigError

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
    """How images become batches. ``framing``: ``whole`` squeezes the image to the model's size; ``crop``
    takes windows at native scale, the defective ones around true masks."""

    framing: Literal["whole", "crop"] = "whole"
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
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    data: DataConfig = field(default_factory=DataConfig)
    run: RunConfig = field(default_factory=RunConfig)


T = TypeVar("T")
MAX_YAML = 4 << 20
LONGEST_REASON = 400
BRIEF = reprlib.Repr()
"""How wrong values are shown: YAML's aliases let a short file stand for gigabytes."""
BRIEF.maxlevel = 2


def recipe_names() -> list[str]:
    """Names of the recipes that ship with the package."""
    files = resources.files("defectaug.config").joinpath("recipes").iterdir()
    return sorted(f.name.removesuffix(".yaml") for f in files if f.name.endswith(".yaml"))


# YAML's own, and what its constructors raise on values such as the 13th month or a number of 5,000 digits.
_YAML_ERRORS = (
    yaml.YAMLError, RecursionError, ArithmeticError, LookupError, ValueError, TypeError, AttributeError,
)  # fmt: skip


class PlainLoader(yaml.SafeLoader):
    """Safe YAML without merge keys, by which a short file grows without bound while it is read."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                raise yaml.constructor.ConstructorError(None, None, "merge keys (<<) are not read", key.start_mark)


def load_yaml(path: Path, loader: type[yaml.SafeLoader] = PlainLoader) -> Any:
    """What a YAML file holds.

    Raises:
        ConfigError: the file is missing, too long, or is not YAML.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_YAML + 1)
        if len(content) > MAX_YAML:
            raise ConfigError(f"{path}: is longer than {MAX_YAML >> 20} MB; that is no settings file.")
        return yaml.load(content.decode("utf-8-sig"), Loader=loader)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}).") from error
    except _YAML_ERRORS as error:
        reason = "too deep" if isinstance(error, RecursionError) else " ".join(str(error).split())
        reason = reason if len(reason) <= LONGEST_REASON else f"{reason[:LONGEST_REASON]} ..."  # it may quote a value
        raise ConfigError(f"{path}: is not valid YAML: {reason}") from error


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file as a mapping.

    Raises:
        ConfigError: the file is missing, is not YAML, or holds no mapping.
    """
    loaded = load_yaml(path)
    if loaded is None:
        return {}
    if not isinstance(loaded, dict):
        raise ConfigError(f"{path}: must hold settings as 'key: value' lines.")
    return loaded


def recipe_settings(name: str) -> dict[str, Any]:
    """The settings of a shipped recipe, its ``base`` recipe's first.

    Raises:
        ConfigError: no recipe of that name; the message lists the known ones.
    """
    if name not in recipe_names():
        raise ConfigError(f"--preset {name}: no such recipe; known: {', '.join(recipe_names())}.")
    path = Path(str(resources.files("defectaug.config").joinpath("recipes", f"{name}.yaml")))
    settings = read_yaml(path)
    base = settings.pop("base", None)
    return overlay(recipe_settings(base), settings) if base else settings


def overlay(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Nested mappings: what ``above`` sets beats ``below``."""
    merged = dict(below)
    for key, value in above.items():
        if isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
            merged[key] = overlay(merged[key], value)
        else:
            merged[key] = value
    return merged


def resolve(
    preset: str = "small", file: Path | None = None, flags: Mapping[str, Any] | None = None
) -> Config:
    """Recipe < file < flags.

    Args:
        preset: name of a recipe.
        file: YAML file with any settings.
        flags: nested settings; ``None`` values are taken as not given.

    Raises:
        ConfigError: an unknown key (the message names the nearest known one) or a value of the wrong kind.
    """
    settings = recipe_settings(preset)
    if file is not None:
        settings = overlay(settings, read_yaml(file))
    settings = overlay(settings, _given(flags or {}))
    return config_from(settings | {"recipe": preset}, str(file) if file else f"recipe {preset}")


def config_from(settings: Mapping[str, Any], where: str) -> Config:
    """Checked settings from a nested mapping, also of a version that had no ``method``.

    Raises:
        ConfigError: as :func:`resolve`.
    """
    config = from_mapping(Config, settings, where)
    if "method" not in settings:
        config = dataclasses.replace(config, method="layered" if config.network.generator == "layered" else "dtgan")
    return check(config)


def _given(flags: Mapping[str, Any]) -> dict[str, Any]:
    nested = {k: _given(v) if isinstance(v, Mapping) else v for k, v in flags.items()}
    return {k: v for k, v in nested.items() if v is not None}


def from_mapping(kind: type[T], settings: Mapping[str, Any], where: str, prefix: str = "") -> T:
    """A dataclass from a nested mapping, every key and value checked.

    Raises:
        ConfigError: as :func:`resolve`.
    """
    hints = typing.get_type_hints(kind)
    names = [f.name for f in dataclasses.fields(kind)]  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for key, value in settings.items():
        if key not in names:
            shown = BRIEF.repr(key).strip("'") if len(str(key)) > 60 else str(key)
            near = difflib.get_close_matches(shown, names, n=1, cutoff=0.0) or names[:1]
            raise ConfigError(f"{where}: unknown setting '{prefix}{shown}'; did you mean '{prefix}{near[0]}'?")
        values[key] = _value(hints[key], value, where, f"{prefix}{key}")
    return kind(**values)


def _value(hint: Any, value: Any, where: str, name: str) -> Any:
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise ConfigError(f"{where}: '{name}' must hold settings of its own.")
        return from_mapping(typing.cast(type, hint), value, where, f"{name}.")
    origin = typing.get_origin(hint)
    if origin is Literal:
        if value not in typing.get_args(hint):
            known = ", ".join(map(str, typing.get_args(hint)))
            raise ConfigError(f"{where}: '{name}' is {BRIEF.repr(value)}; it must be one of {known}.")
        return value
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise ConfigError(f"{where}: '{name}' is {BRIEF.repr(value)}; it must be a list.")
        return tuple(_value(typing.get_args(hint)[0], v, where, name) for v in value)
    if origin is types.UnionType:
        if value is None:
            return None
        hint = next(a for a in typing.get_args(hint) if a is not type(None))
    if hint is float and isinstance(value, (int, float, str)) and not isinstance(value, bool):
        try:
            return float(value)  # YAML reads 1e-4 as text
        except (ValueError, OverflowError):
            pass
    elif isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
        return value
    raise ConfigError(f"{where}: '{name}' is {BRIEF.repr(value)}; it must be of kind {hint.__name__}.")


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
    for section in ("network", "loss", "optimizer", "data", "run"):
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


def to_mapping(config: Any) -> dict[str, Any]:
    """Plain nested mapping of a settings dataclass, tuples as lists, for YAML."""
    plain = dataclasses.asdict(config)

    def lists(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: lists(v) for k, v in value.items()}
        return list(value) if isinstance(value, tuple) else value

    return lists(plain)
