"""Model folders: written whole or not at all, read and verified. Safe YAML and safetensors; no pickle."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from defectaug import __version__
from defectaug.config.resolve import config_from
from defectaug.config.schema import Config
from defectaug.data.class_map import ClassMap, class_map_of
from defectaug.data.framing import Framing
from defectaug.data.holdout import Holdout
from defectaug.data.sample import Category
from defectaug.errors import BundleError, ConfigError
from defectaug.io.atomic import write_atomic
from defectaug.io.files import expanded, real
from defectaug.io.images import MAX_PIXELS
from defectaug.io.yaml import BRIEF, read_yaml
from defectaug.methods.base import BundleInfo, MethodSpec, Model, check_method, method_spec

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = 1
"""Version of the bundle's layout. Newer ones are refused, with the version of the package that wrote them."""

MAX_CATEGORIES = 1 << 16
CONFIG, WEIGHTS = "config.yaml", "model.safetensors"
RETIRED = ("residual",)  # settings of older bundles that nothing uses any more
STORE = Path("models")


@dataclass(frozen=True)
class TrainedOn:
    """What the training data was: class names in the networks' order, counts, how to read it again, which of its files
    were held out for tests, or for which folder of test images (`data/holdout.py`), the width and height that most
    images have, and how images of each product were framed (older files: all alike, by ``data.framing``)."""

    products: tuple[str, ...]
    defects: tuple[str, ...]
    counts: dict[str, int]
    layout: str
    white: int = 255
    root: str | None = None
    class_map: str | None = None
    normal: str | None = None
    holdout: Sequence[str] = ()
    test: str | None = None
    classes: ClassMap = field(default_factory=ClassMap)
    size: tuple[int, int] | None = None
    framings: dict[str, Framing] = field(default_factory=dict)


def write_config(folder: Path, config: Config, data: TrainedOn) -> None:
    """Writes ``config.yaml``, before the first step of a run.

    Raises:
        OutputError: no permission or no space.
    """
    import torch

    content = {
        "format": FORMAT,
        "defectaug": __version__,
        "versions": {"python": platform.python_version(), "torch": str(torch.__version__)},
        "data": asdict(data) | {"holdout": list(data.holdout), "classes": data.classes.content()},
        "settings": asdict(config),
    }
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    if not text.replace("\n", "").isprintable():  # letters that end a line for YAML do not come back as they went
        text = yaml.safe_dump(content, sort_keys=False)
    write_atomic(folder / CONFIG, lambda file: file.write(text.encode()))


def write_weights(folder: Path, weights: dict[str, Tensor]) -> None:
    """Writes ``model.safetensors``.

    Raises:
        OutputError: no permission or no space; the previous weights stay.
    """
    from safetensors.torch import save

    plain = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    content = save(plain, metadata={"format": str(FORMAT)})
    write_atomic(folder / WEIGHTS, lambda file: file.write(content))


def find_bundle(path: Path | str | None = None, store: Path = STORE) -> Path:
    """The named bundle, else the only one in the store, else the newest.

    Raises:
        BundleError: none there, or several of equal standing; the message lists them.
    """
    if path is not None:
        given = expanded(path)
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


def bundle_of(weights_sha256: str, places: Iterable[Path] = ()) -> Path | None:
    """The bundle with these weights, among `places` and those in the store; None where it is not there."""
    for folder in dict.fromkeys([*places, *_bundles(STORE)]):
        with suppress(OSError):
            if hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest() == weights_sha256:
                return folder
    return None


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
                f"{path}: bundle format {BRIEF.repr(version)}, written by defectaug {_brief(wrote)}; this is defectaug "
                f"{__version__}, which reads format {FORMAT}."
            )
        settings = {name: value for name, value in _mapping(content, "settings").items() if name not in RETIRED}
        config = config_from(settings, str(path))
        check_method(config.method)
        return config, _trained_on(_mapping(content, "data"))
    except (ConfigError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise BundleError(f"{path}: damaged, or not a bundle of defectaug: {error}") from error


def framings_of(config: Config, data: TrainedOn) -> dict[str, Framing]:
    """How images of each product were framed; files that do not say it of each have one for all."""
    side = config.network.image_size if config.data.framing == "crop" else None
    return data.framings or dict.fromkeys(data.products, Framing(side))


def held_out(folder: Path) -> Holdout:
    """What the training of a bundle has not seen.

    Raises:
        BundleError: as `read_config`.
    """
    data = read_config(folder)[1]
    test = _resolved(data.test, folder)
    return Holdout(tuple(data.holdout), None if test is None else Path(test))


def _mapping(content: dict[str, Any], key: str) -> dict[str, Any]:
    value = content.get(key)
    if not isinstance(value, dict):
        raise ValueError(f"'{key}' is missing")
    return value


def _trained_on(raw: dict[str, Any]) -> TrainedOn:
    products, defects = (tuple(raw[key]) for key in ("products", "defects"))
    if len(products) * len(defects) > MAX_CATEGORIES:
        raise ValueError(f"{len(products)} products of {len(defects)} classes are more than a model can tell apart")
    for name in (*products, *defects):
        if not isinstance(name, str):
            raise ValueError(f"class name {BRIEF.repr(name)} is no text")
        if not name or name in (".", "..") or "/" in name or "\\" in name or "\0" in name:
            raise ValueError(f"class name {name!r} cannot be a folder name")
    if not products or len(defects) < 2:
        raise ValueError("it needs a product, the normal class and a defect")
    if len(set(products)) < len(products) or len(set(defects)) < len(defects):
        raise ValueError("a class name is there twice")
    white = int(raw.get("white", 255))
    if not 0 < white <= 65535:
        raise ValueError(f"white level {BRIEF.repr(white)} is not one of 8 or 16 bits")
    texts = {key: _text(raw, key) for key in ("root", "class_map", "normal", "test")}
    holdout = raw.get("holdout") or ()
    if not isinstance(holdout, list | tuple) or not all(isinstance(file, str) for file in holdout):
        raise ValueError("'holdout' is no list of files")
    classes = replace(class_map_of(raw.get("classes"), "the model's class map"), lenient=True)
    counts = {str(k): int(v) for k, v in dict(raw.get("counts") or {}).items()}
    layout, size = _text(raw, "layout") or "", _size(raw.get("size"))
    framings = {str(name): _framing(dict(entry)) for name, entry in dict(raw.get("framings") or {}).items()}
    if framings and framings.keys() != set(products):
        raise ValueError("'framings' are of other products")
    return TrainedOn(
        products, defects, counts, layout, white, holdout=tuple(holdout), classes=classes, size=size, framings=framings,
        **texts,
    )  # fmt: skip


def _framing(raw: dict[str, Any]) -> Framing:
    window = raw.get("window")
    if window is not None and not 0 < int(window) ** 2 <= MAX_PIXELS:
        raise ValueError(f"window {BRIEF.repr(window)} is that of no image")
    return Framing(None if window is None else int(window), _size(raw.get("size")))


def _size(value: Any) -> tuple[int, int] | None:
    if value is None:
        return None
    width, height = (int(side) for side in value)
    if not 0 < width * height <= MAX_PIXELS or min(width, height) < 1:
        raise ValueError(f"size {BRIEF.repr(value)} is that of no image")
    return width, height


def _text(raw: dict[str, Any], key: str) -> str | None:
    value = raw.get(key)
    if not (value is None or isinstance(value, str)) or "\0" in (value or ""):
        raise ValueError(f"'{key}' is {BRIEF.repr(value)}; it must be text")
    return value


def _brief(value: object) -> str:
    return value if isinstance(value, str) and len(value) < 40 else BRIEF.repr(value)


@contextmanager
def _errors_of(path: Path) -> Iterator[None]:
    """Turns what reading a file of weights raises into a BundleError."""
    from safetensors import SafetensorError

    try:
        yield
    except FileNotFoundError as error:
        raise BundleError(f"{path}: missing; copy {CONFIG} and {WEIGHTS} together.") from error
    except (OSError, SafetensorError, ValueError, LookupError) as error:
        raise BundleError(f"{path}: cut short or damaged ({error}); copy it again.") from error


def read_weights(folder: Path) -> tuple[dict[str, Tensor], str]:
    """Weights and their sha256.

    Raises:
        BundleError: missing, cut short, damaged, or not finite.
    """
    import torch
    from safetensors.torch import load

    path = folder / WEIGHTS
    with _errors_of(path):
        content = path.read_bytes()
        weights = load(content)
    for name, value in weights.items():
        if value.dtype not in (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.uint8):
            raise BundleError(f"{path}: '{name}' holds {value.dtype}, which is no kind of weights.")
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise BundleError(f"{path}: '{name}' holds values that are not finite; the model is unusable.")
    return weights, hashlib.sha256(content).hexdigest()


def _check_shapes(folder: Path, spec: MethodSpec, config: Config, data: TrainedOn) -> None:
    """Compares the names and shapes in the file's header with those of the networks, before either takes memory.

    Raises:
        BundleError: missing, damaged, or of other networks.
    """
    from safetensors import safe_open

    from defectaug.nn.shapes import shapes_alone

    path = folder / WEIGHTS
    with shapes_alone():
        networks = spec.networks(config, len(data.defects), len(data.products))
    state = networks.state_dict()
    wanted = {name: list(value.shape) for name, value in state.items()}
    with _errors_of(path), safe_open(path, "pt") as file:
        parts = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
        found = {name: list(part.get_shape()) for name, part in parts.items()}
        kinds = {name: part.get_dtype() for name, part in parts.items()}
    for name in sorted(wanted.keys() | found.keys()):
        if name in spec.unsized or name.startswith(spec.retired):
            continue
        if wanted.get(name) != found.get(name):
            raise BundleError(
                f"{path}: does not fit {CONFIG}: '{_brief(name)}' is {found.get(name, 'missing')} there and "
                f"{wanted.get(name, 'unknown')} here."
            )
        if kinds[name] in ("U8", "I64") and state[name].is_floating_point():
            raise BundleError(f"{path}: '{_brief(name)}' holds {kinds[name]}, which is no kind of weights.")


def load_model(path: Path | str | None = None, device: str = "auto") -> Model:
    """Loads a trained model for synthesis.

    Args:
        path: bundle folder, or its name under ``./models``; None for the only or newest one there.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.

    Raises:
        BundleError: none found, damaged, or of another version.
        ConfigError: the device is not there.
    """
    from defectaug.device import choose

    folder = find_bundle(path)
    config, data = read_config(folder)
    spec = method_spec(config.method)
    _check_shapes(folder, spec, config, data)
    weights, digest = read_weights(folder)
    info = BundleInfo(
        path=folder,
        name=real(folder).name,
        products=data.products,
        defects=data.defects,
        image_size=config.network.image_size,
        channels=config.network.channels,
        white=data.white,
        framings=framings_of(config, data),
        data_root=_resolved(data.root, folder),
        class_map=_resolved(data.class_map, folder),
        normal_name=data.normal,
        weights_sha256=digest,
        references=spec.references,
        styles=spec.styles,
        holdout=tuple(data.holdout),
        layout=data.layout,
        classes=data.classes,
        sources=spec.sources,
        categories=tuple(Category(*name.split("/", 1)) for name, count in data.counts.items() if count),
        native_size=data.size,
    )
    try:
        return spec.load(config, info, weights, choose(device))
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise BundleError(f"{folder / WEIGHTS}: does not fit {CONFIG}: {reason}") from error


def as_model(model: Path | str | Model | None, device: str = "auto") -> Model:
    """A model that is loaded already, as it is; else as :func:`load_model`."""
    return load_model(model, device) if model is None or isinstance(model, str | Path) else model


def _resolved(path: str | None, folder: Path) -> str | None:
    """A path of the bundle; relative ones start at its folder."""
    return None if path is None else os.path.normpath(folder / path)
