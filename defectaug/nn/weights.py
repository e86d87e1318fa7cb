"""Pretrained weights: from `--weights`, from what an earlier run has fetched, or from the network."""

from __future__ import annotations

import contextlib
import hashlib
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError

from defectaug.errors import ConfigError

Say = Callable[[str], None]
PATIENCE = 20.0  # seconds that a server may keep silent
ENDINGS = (".pth", ".pt", ".bin")


@dataclass(frozen=True)
class Kind:
    """A network whose weights are wanted.

    Args:
        name: what people call it.
        url: where they are published, under a name that ends in the first digits of their hash.
        key: an entry that these weights have, and no other kind's.
    """

    name: str
    url: str
    key: str

    @property
    def file(self) -> str:
        return self.url.rsplit("/", 1)[-1]


@dataclass(frozen=True)
class WeightsFile:
    """A file of weights that was found, and its sha256."""

    path: Path
    sha256: str


def inception() -> Kind:
    """Inception-v3 as FID and KID were published with."""
    from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3

    return Kind("Inception-v3", URL_INCEPTION_V3, "Mixed_7c.branch_pool.conv.weight")


def alexnet() -> Kind:
    """AlexNet trained on ImageNet, the network under LPIPS."""
    from torchvision.models import AlexNet_Weights

    return Kind("AlexNet", AlexNet_Weights.IMAGENET1K_V1.url, "features.10.weight")


def find(kind: Kind, given: Path | None, *, network: bool = True) -> WeightsFile | None:
    """The weights of a kind, None where they cannot be had.

    Args:
        kind: what is wanted.
        given: file or folder that the user has named; a folder may hold several kinds, a file holds one.
        network: whether they may be fetched.

    Raises:
        ConfigError: `given` is not there, holds no weights at all, or a file that cannot be used.
    """
    check(given)
    if given is not None:
        found = _in_given(kind, given)
        if found is not None:
            return _hashed(found)
    from torch.hub import get_dir

    kept = Path(get_dir()) / "checkpoints" / kind.file
    if kept.is_file() or (network and _fetch(kind, kept)):
        return _hashed(kept)
    return None


def check(given: Path | None) -> None:
    """Raises ConfigError where the file or folder that the user has named is not there."""
    if given is not None and not given.exists():
        raise ConfigError(f"--weights {given}: no such file or folder")


def _in_given(kind: Kind, given: Path) -> Path | None:
    if given.is_file():
        return given if _holds(given, kind) else None
    files = sorted(path for path in given.iterdir() if path.suffix in ENDINGS)
    if not files:
        raise ConfigError(f"--weights {given}: no file of weights in it ({', '.join('*' + end for end in ENDINGS)})")
    named = [path for path in files if path.name == kind.file]
    return next((path for path in (named or files) if _holds(path, kind)), None)


def _holds(path: Path, kind: Kind) -> bool:
    import torch

    try:
        # Nothing but tensors is let in: a pickle can hold any program
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file makes the reader fail in any way: struct.error, UnpicklingError, ...
        raise ConfigError(f"--weights {path}: cannot be read as weights ({_first_line(error)})") from error
    return isinstance(state, dict) and kind.key in state


def _fetch(kind: Kind, target: Path) -> bool:
    from torch.hub import HASH_REGEX, download_url_to_file

    prefix = HASH_REGEX.search(kind.file)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _patience():
            download_url_to_file(kind.url, str(target), prefix.group(1) if prefix else None, progress=False)
    except (OSError, URLError, RuntimeError):  # no network, no such file there, or not what was published
        return False
    return True


@contextlib.contextmanager
def _patience() -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(PATIENCE)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _hashed(path: Path) -> WeightsFile:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return WeightsFile(path, digest.hexdigest())


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:120]
