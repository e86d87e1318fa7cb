"""YAML files in: safe, bounded, with messages for people. No torch."""

from __future__ import annotations

import reprlib
from pathlib import Path
from typing import Any

import yaml

from defectaug.errors import ConfigError

MAX_YAML = 4 << 20
LONGEST_REASON = 400
BRIEF = reprlib.Repr()
"""How wrong values are shown: YAML's aliases let a short file stand for gigabytes."""
BRIEF.maxlevel = 2


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
