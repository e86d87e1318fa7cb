"""Model folders: written whole or not at all, read and verified. Safe YAML and safetensors; no pickle."""

from __future__ import annotations

import hashlib
import os
import platform
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

import defectaug
from defectaug.config import Config, check, from_mapping, read_yaml, to_mapping
from defectaug.errors import BundleError, ConfigError, OutputError
from defectaug.model import BundleInfo

if TYPE_CHECKING:
    from torch import Tensor

    from defectaug.model import DefectModel

FORMAT = 1
"""Version of the bundle's layout. Newer ones are refused, with the version of the package that wrote them."""

CONFIG, WEIGHTS = "config.yaml", "model.safetensors"
STORE = Path("models")


@dataclass(frozen=True)
class TrainedOn:
    """What the training data was: class names in the networks' order, counts, and how to read it again."""

    products: tuple[str, ...]
    defects: tuple[str, ...]
    counts: dict[str, int]
    layout: str
    white: int = 255
    root: str | None = None
    class_map: str | None = None
    normal: str | None = None


def write_config(folder: Path, config: Config, data: TrainedOn) -> None:
    """Writes ``config.yaml``, before the first step of a run.

    Raises:
        OutputError: no permission or no space.
    """
    import torch

    content = {
        "format": FORMAT,
        "defectaug": defectaug.__version__,
        "versions": {"python": platform.python_version(), "torch": str(torch.__version__)},
        "data": {k: list(v) if isinstance(v, tuple) else v for k, v in vars(data).items()},
        "settings": to_mapping(config),
    }
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    _write_whole(folder / CONFIG, text.encode())


def write_weights(folder: Path, weights: dict[str, Tensor]) -> None:
    """Writes ``model.safetensors``.

    Raises:
        OutputError: no permission or no space; the previous weights stay.
    """
    from safetensors.torch import save

    plain = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    _write_whole(folder / WEIGHTS, save(plain, metadata={"format": str(FORMAT)}))


def _write_whole(path: Path, content: bytes) -> None:
    fresh = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh.write_bytes(content)
        os.replace(fresh, path)
    except OSError as error:
        with suppress(OSError):  # there may be no such folder
            fresh.unlink(missing_ok=True)
        raise OutputError(f"{path}: cannot be written ({error.strerror}).") from error


def find_bundle(path: Path | str | None = None, store: Path = STORE) -> Path:
    """The named bundle, else the only one in the store, else the newest.

    Raises:
        BundleError: none there, or several of equal standing; the message lists them.
    """
    if path is not None:
        given = Path(path)
        for folder in (given, store / given):
            if (folder / CONFIG).is_file():
                return folder
        raise BundleError(f"{given}: no bundle there (no {CONFIG}){_listed(store)}.")
    found = _bundles(store)
    if not found:
        raise BundleError(
            f"{store}: no trained model there; run 'defectaug train DATA', or name one with --model DIR."
        )
    if len(found) == 1:
        return found[0]
    times = [(folder / WEIGHTS).stat().st_mtime for folder in found]
    newest = [folder for folder, time in zip(found, times, strict=True) if max(times) - time < 1]
    if len(newest) > 1:
        # A fresh clone gives all files one time: no bundle is newer than another.
        names = ", ".join(folder.name for folder in newest)
        raise BundleError(f"{store}: several models of equal standing: {names}; name one with --model DIR.")
    return newest[0]


def _bundles(store: Path) -> list[Path]:
    if not store.is_dir():
        return []
    return sorted(f for f in store.iterdir() if (f / CONFIG).is_file() and (f / WEIGHTS).is_file())


def _listed(store: Path) -> str:
    names = [folder.name for folder in _bundles(store)]
    return f"; in {store} there are: {', '.join(names)}" if names else ""


def read_config(folder: Path) -> tuple[Config, TrainedOn]:
    """Reads and checks ``config.yaml``.

    Raises:
        BundleError: missing, damaged, or of a newer version.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise BundleError(f"{folder}: no bundle there (no {CONFIG}).")
    try:
        content = read_yaml(path)
        version = content.get("format")
        if version != FORMAT:
            wrote = content.get("defectaug", "unknown")
            raise BundleError(
                f"{path}: bundle format {version!r}, written by defectaug {wrote}; this is defectaug "
                f"{defectaug.__version__}, which reads format {FORMAT}."
            )
        config = check(from_mapping(Config, _mapping(content, "settings"), str(path)))
        return config, _trained_on(_mapping(content, "data"))
    except (ConfigError, KeyError, TypeError, ValueError) as error:
        raise BundleError(f"{path}: damaged or not ours: {error}") from error


def _mapping(content: dict[str, Any], key: str) -> dict[str, Any]:
    value = content.get(key)
    if not isinstance(value, dict):
        raise ValueError(f"'{key}' is missing")
    return value


def _trained_on(raw: dict[str, Any]) -> TrainedOn:
    products, defects = (tuple(str(name) for name in raw[key]) for key in ("products", "defects"))
    for name in (*products, *defects):
        if not name or name in (".", "..") or "/" in name or "\\" in name or "\0" in name:
            raise ValueError(f"class name {name!r} cannot be a folder name")
    if not products or len(defects) < 2:
        raise ValueError("it needs a product, the normal class and a defect")
    texts = {key: None if raw.get(key) is None else str(raw[key]) for key in ("root", "class_map", "normal")}
    counts = {str(k): int(v) for k, v in dict(raw.get("counts") or {}).items()}
    return TrainedOn(
        products, defects, counts, str(raw.get("layout", "")), int(raw.get("white", 255)), **texts
    )


def read_weights(folder: Path) -> tuple[dict[str, Tensor], str]:
    """Weights and their sha256.

    Raises:
        BundleError: missing, cut short, damaged, or not finite.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load

    path = folder / WEIGHTS
    try:
        content = path.read_bytes()
        weights = load(content)
    except FileNotFoundError as error:
        raise BundleError(f"{path}: missing; copy {CONFIG} and {WEIGHTS} together.") from error
    except (OSError, SafetensorError) as error:
        raise BundleError(f"{path}: cut short or damaged ({error}); copy it again.") from error
    for name, value in weights.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise BundleError(f"{path}: '{name}' holds values that are not finite; the model is unusable.")
    return weights, hashlib.sha256(content).hexdigest()


def load_model(path: Path | str | None = None, device: str = "auto") -> DefectModel:
    """Loads a trained model for synthesis.

    Args:
        path: bundle folder, or its name under ``./models``; None for the only or newest one there.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.

    Raises:
        BundleError: none found, damaged, or of another version.
        ConfigError: the device is not there.
    """
    from defectaug.dtgan.painter import Painter
    from defectaug.training.device import choose

    folder = find_bundle(path)
    config, data = read_config(folder)
    weights, digest = read_weights(folder)
    info = BundleInfo(
        path=folder,
        name=folder.resolve().name,
        products=data.products,
        defects=data.defects,
        image_size=config.network.image_size,
        channels=config.network.channels,
        white=data.white,
        framing=config.data.framing,
        data_root=_resolved(data.root, folder),
        class_map=_resolved(data.class_map, folder),
        normal_name=data.normal,
        weights_sha256=digest,
    )
    try:
        return Painter.build(config.network, info, weights, choose(device))
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise BundleError(f"{folder / WEIGHTS}: does not fit {CONFIG}: {reason}") from error


def _resolved(path: str | None, folder: Path) -> str | None:
    """A path of the bundle; relative ones start at its folder."""
    return None if path is None else os.path.normpath(folder / path)
