"""Pretrained weights are found in one place, and are what was published."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch

from defectaug.nn.weights import MissingWeights, Published, find, require


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


def test_missing_weights_are_said_in_one_line(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **options: object) -> None:
        raise OSError("no route\nto host")

    monkeypatch.setattr("defectaug.nn.weights.download_url_to_file", refuse)
    with pytest.raises(MissingWeights, match=r"^net's weights \(net-01234567.pth\) cannot be fetched \(no route to"):
        require(Published("net", "https://example.org/net-01234567.pth", "net"), None)


def test_a_folder_may_hold_the_weights_of_several_networks(kept: Path, tmp_path: Path, no_network: None) -> None:
    for name in ("net18_wide.pth", "net18-1.pth", "net18.pt", "other.pth"):
        torch.save({name: torch.zeros(1)}, tmp_path / name)
    by_name = find(Published("net18", None, "net18"), tmp_path)
    by_entry = find(Published("other", None, "weights-other", "other.pth"), tmp_path)
    assert by_name is not None and by_name.path.name == "net18-1.pth"
    assert by_entry is not None and by_entry.path.name == "other.pth"
    assert find(Published("third", None, "third"), tmp_path) is None
