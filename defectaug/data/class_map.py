"""Class maps: rename, merge and drop the classes and products of a data folder (`defectaug.yaml`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from defectaug.errors import ConfigError, nearest
from defectaug.io.files import nfc
from defectaug.io.yaml import BRIEF, PlainLoader, load_yaml

MAP_NAME = "defectaug.yaml"
RESERVED = frozenset({"CON", "PRN", "AUX", "NUL", *(f"{port}{k}" for port in ("COM", "LPT") for k in range(10))})
KEYS = ("normal", "defects", "products")


@dataclass(frozen=True)
class ClassMap:
    """New names for folder names; None drops the class.

    Args:
        normal: the folder that holds the normal images.
        defects: old class name to new one or None. Several old names may share a new one.
        products: the same for products.
        origin: where the map comes from, for messages.
        lenient: whether it may name products and classes that the data lack.
    """

    normal: str | None = None
    defects: Mapping[str, str | None] = field(default_factory=dict)
    products: Mapping[str, str | None] = field(default_factory=dict)
    origin: str = field(default="class map", compare=False)
    lenient: bool = field(default=False, compare=False)

    def __post_init__(self) -> None:
        for kind in ("defects", "products"):
            names = {nfc(old): _target(new, kind, self.origin) for old, new in getattr(self, kind).items()}
            object.__setattr__(self, kind, names)
        if self.normal is not None:
            object.__setattr__(self, "normal", nfc(self.normal))

    def check_names(self, products: Iterable[str], classes: Iterable[str]) -> None:
        """Raises ConfigError where the map renames a product or class that the data lack."""
        if self.lenient:
            return
        for kind, old_names, known in (
            ("product", self.products, sorted(set(products))),
            ("class", self.defects, sorted(set(classes))),
        ):
            for old in old_names:
                if old not in known:
                    advice = nearest(old, known)
                    raise ConfigError(f"{self.origin}: no {kind} named '{old}' in the data; {advice}")

    def __bool__(self) -> bool:
        """Whether it says anything."""
        return bool(self.normal or self.defects or self.products)

    def content(self) -> dict[str, Any]:
        """What a file of it holds."""
        return {"normal": self.normal, "defects": dict(self.defects), "products": dict(self.products)}

    def product(self, name: str) -> str | None:
        """The product's new name; None where it is dropped."""
        return self.products.get(name, name)

    def defect(self, name: str) -> str | None:
        """The class's new name; None where it is dropped."""
        return self.defects.get(name, name)


def read_class_map(path: Path) -> ClassMap:
    """Reads a class map file.

    Raises:
        ConfigError: the file cannot be read, is no class map, or has unknown keys or unusable names.
    """
    return class_map_of(load_yaml(path, _NamesLoader), str(path))


def class_map_of(content: Any, path: str) -> ClassMap:
    """A class map from what its file holds.

    Args:
        content: None for an empty file.
        path: where it comes from, for messages.

    Raises:
        ConfigError: as `read_class_map`.
    """
    if content is None:
        return ClassMap(origin=path)
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: no class map, which has the keys {', '.join(KEYS)}")
    for key in content:
        if key not in KEYS:
            raise ConfigError(f"{path}: unknown key '{str(key)[:60]}'; {nearest(str(key)[:60], KEYS)}")
    normal = content.get("normal")
    if normal is not None and not isinstance(normal, str):
        raise ConfigError(f"{path}: 'normal' must be the name of one folder")
    return ClassMap(normal, _renames(content, "defects", path), _renames(content, "products", path), origin=path)


def check_folder_name(name: str) -> str | None:
    """Why `name` cannot be a folder's name, or None if it can."""
    if not name.strip():
        return "is empty"
    if "/" in name or "\\" in name:
        return "holds a slash"
    if name.startswith("."):
        return "starts with a dot"
    if name.split(".")[0].strip().upper() in RESERVED:
        return "is a name that Windows keeps for itself"
    if any(ord(letter) < 32 for letter in name):
        return "holds control characters"
    return None


class _NamesLoader(PlainLoader):
    """Safe YAML in which plain scalars are names: `01`, `no` and `on` stay text; only null is special."""


_NamesLoader.yaml_implicit_resolvers = {
    letter: [pair for pair in pairs if pair[0] == "tag:yaml.org,2002:null"]
    for letter, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _renames(content: Mapping[str, Any], key: str, path: str) -> dict[str, str | None]:
    renames = content.get(key) or {}
    if not isinstance(renames, dict):
        raise ConfigError(f"{path}: '{key}' must be a table of OLD: NEW lines")
    for old, new in renames.items():
        if not isinstance(old, str) or not (new is None or isinstance(new, str)):
            raise ConfigError(f"{path}: '{key}: {BRIEF.repr(old)}' must name one new class, or null to drop it")
    return renames


def _target(new: str | None, kind: str, origin: str) -> str | None:
    if new is None:
        return None
    reason = check_folder_name(new)
    if reason:
        raise ConfigError(f"{origin}: '{kind}' maps to {new!r}, which {reason}; it must be a folder name")
    return nfc(new.strip())
