"""From recipes, files and flags to settings: recipe < file < flags. Imports no torch."""

from __future__ import annotations

import dataclasses
import difflib
import typing
from collections.abc import Mapping
from contextlib import suppress
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from defectaug.config.schema import Config, check
from defectaug.errors import ConfigError
from defectaug.io.yaml import BRIEF, read_yaml

T = TypeVar("T")

NO_LONGER_TRAINED = {"layered": "small", "layered_tiny": "tiny"}
"""Recipes of old, and those to take in their place."""
RETIRED = {"loss": ("area", "area_end", "mask", "fill")}
"""Settings of files of old that nothing uses any more, by their sections."""


def recipe_names() -> list[str]:
    """Names of the recipes that ship with the package."""
    files = resources.files("defectaug.config").joinpath("recipes").iterdir()
    return sorted(f.name.removesuffix(".yaml") for f in files if f.name.endswith(".yaml"))


def recipe_settings(name: str) -> dict[str, Any]:
    """The settings of a shipped recipe, its ``base`` recipe's first.

    Raises:
        ConfigError: no recipe of that name, or one that is no longer trained; the message tells the known ones.
    """
    if name in NO_LONGER_TRAINED:
        raise ConfigError(
            f"--preset {name}: this recipe is no longer trained, but its models are still read; take "
            f"--preset {NO_LONGER_TRAINED[name]}."
        )
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


def resolve(preset: str = "small", file: Path | None = None, flags: Mapping[str, Any] | None = None) -> Config:
    """Recipe < file < flags.

    Args:
        preset: name of a recipe.
        file: YAML file with any settings.
        flags: nested settings; ``None`` values are taken as not given.

    Raises:
        ConfigError: an unknown key (the message names the nearest known one), a value of the wrong kind or out of
            range, or values that do not go together.
    """
    settings = recipe_settings(preset)
    if file is not None:
        settings = overlay(settings, read_yaml(file))
    settings = overlay(settings, _given(flags or {}))
    return config_from(settings | {"recipe": preset}, str(file) if file else f"recipe {preset}")


def resolve_again(before: Config, flags: Mapping[str, Any], where: str) -> Config:
    """Settings of an earlier run, and flags that beat them; arguments and errors as of :func:`resolve`."""
    return config_from(overlay(dataclasses.asdict(before), _given(flags)), where)


def config_from(settings: Mapping[str, Any], where: str) -> Config:
    """Checked settings from a nested mapping, also of a version that had no ``method``.

    Raises:
        ConfigError: as :func:`resolve`.
    """
    config = from_mapping(Config, _without_retired(settings), where)
    if "method" not in settings:
        config = dataclasses.replace(config, method="layered" if config.network.generator == "layered" else "dtgan")
    return check(config)


def _without_retired(settings: Mapping[str, Any]) -> dict[str, Any]:
    kept = dict(settings)
    for name, retired in RETIRED.items():
        if isinstance(section := kept.get(name), Mapping):
            kept[name] = {key: value for key, value in section.items() if key not in retired}
    return kept


def _given(flags: Mapping[str, Any]) -> dict[str, Any]:
    nested = {k: _given(v) if isinstance(v, Mapping) else v for k, v in flags.items()}
    return {k: v for k, v in nested.items() if v is not None}


def from_mapping(kind: type[T], settings: Mapping[str, Any], where: str, prefix: str = "") -> T:
    """A dataclass from a nested mapping, every key and value checked.

    Raises:
        ConfigError: as :func:`resolve`.
    """
    hints = typing.get_type_hints(kind, include_extras=True)
    values: dict[str, Any] = {}
    for key, value in settings.items():
        if key not in hints:
            shown = BRIEF.repr(key).strip("'") if len(str(key)) > 60 else str(key)
            near = _elsewhere(kind, shown) or prefix + _nearest(shown, list(hints))
            raise ConfigError(f"{where}: unknown setting '{prefix}{shown}'; did you mean '{near}'?")
        values[key] = _value(hints[key], value, where, f"{prefix}{key}")
    return kind(**values)


def _nearest(name: str, known: list[str]) -> str:
    return (difflib.get_close_matches(name, known, n=1, cutoff=0.0) or known)[0]


def _elsewhere(kind: type, name: str) -> str | None:
    """The full name of a setting that was given in another section than its own, or in none."""
    sections = {key: hint for key, hint in typing.get_type_hints(Config).items() if dataclasses.is_dataclass(hint)}
    if kind is not Config and kind not in sections.values():
        return None
    found = (f"{key}.{name}" for key, section in sections.items() if name in typing.get_type_hints(section))
    return next(found, name if kind is not Config and name in typing.get_type_hints(Config) else None)


def _value(hint: Any, value: Any, where: str, name: str) -> Any:
    """A setting of the annotated kind; whole numbers and texts such as YAML's 1e-4 become floats."""
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise ConfigError(f"{where}: '{name}' must hold settings of its own.")
        return from_mapping(typing.cast(type, hint), value, where, f"{name}.")
    shown = f"{where}: '{name}' is {BRIEF.repr(value)}; it must be"
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        checked = _value(arguments[0], value, where, name)
        if isinstance(checked, tuple):
            arguments[1].check(f"the length of {name}", len(checked))
        else:
            arguments[1].check(name, checked)
        return checked
    if origin is Literal:
        if value not in arguments:
            raise ConfigError(f"{shown} one of {', '.join(arguments)}.")
        return value
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise ConfigError(f"{shown} a list.")
        return tuple(_value(arguments[0], item, where, name) for item in value)
    if isinstance(value, bool) != (hint is bool):
        raise ConfigError(f"{shown} of kind {hint.__name__}.")
    if hint is float and isinstance(value, (int, float, str)):
        with suppress(ValueError, OverflowError):
            return float(value)
    elif isinstance(value, hint):
        return value
    raise ConfigError(f"{shown} of kind {hint.__name__}.")
