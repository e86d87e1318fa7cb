"""Headers of large folders, kept between runs."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from data_helpers import native, picture, save

from defectaug.data import header_cache as cache
from defectaug.data.index import index_folder
from defectaug.data.survey import survey
from defectaug.errors import DataError
from defectaug.io.images import Header, probe


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Files whose header is read; every folder counts as large."""
    files: list[Path] = []

    def watched(path: Path) -> Header:
        files.append(path)
        return probe(path)

    monkeypatch.setattr(cache, "probe", watched)
    monkeypatch.setattr(cache, "LEAST", 1)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return files


def test_only_what_has_changed_is_opened_again(tmp_path: Path, opened: list[Path]) -> None:
    index = index_folder(native(tmp_path / "parts"))
    first = survey(index)
    assert len(opened) == len(index)
    opened.clear()
    assert survey(index) == first
    assert opened == []

    changed = index.samples[2].path
    save(changed, picture(1, height=40, width=30))
    assert any(line.startswith("2 sizes") for line in survey(index).problems)
    assert opened == [changed]


def test_a_change_of_the_time_alone_counts(tmp_path: Path, opened: list[Path]) -> None:
    index = index_folder(native(tmp_path / "parts"))
    survey(index)
    opened.clear()
    touched = index.samples[0].path
    status = os.stat(touched)
    os.utime(touched, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    survey(index)
    assert opened == [touched]


@pytest.mark.parametrize("content", [b"", b"no array", b"\x93NUMPY\x01\x00"])
def test_a_damaged_cache_is_made_anew(tmp_path: Path, opened: list[Path], content: bytes) -> None:
    index = index_folder(native(tmp_path / "parts"))
    first = survey(index)
    (file,) = (tmp_path / "cache").rglob("*.npy")
    file.write_bytes(content)
    assert survey(index) == first
    assert len(opened) == 2 * len(index)
    assert len(np.load(file)) == len(index)


def test_a_cache_that_cannot_be_written_is_done_without(
    tmp_path: Path, opened: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path / "file.png")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file.png"))
    assert survey(index_folder(native(tmp_path / "parts"))).usual == (24, 20)


def test_unreadable_files_are_named_every_time(tmp_path: Path, opened: list[Path]) -> None:
    root = native(tmp_path / "parts")
    (root / "A" / "normal" / "000.png").write_bytes(b"\x89PNG cut short")
    for _ in range(2):
        ((path, _reason),) = survey(index_folder(root)).unreadable
        assert path.name == "000.png"


def test_small_folders_leave_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    survey(index_folder(native(tmp_path / "parts")))
    assert not (tmp_path / "cache").exists()
    headers = cache.Headers(tmp_path, cache.LEAST, tmp_path / "cache")
    with pytest.raises(DataError, match="gone"):
        headers[tmp_path / "gone.png"]


def test_files_that_differ_in_the_middle_alone(tmp_path: Path) -> None:
    root = native(tmp_path / "parts")
    for number in range(3):  # uncompressed, of one length, with equal beginnings and ends
        pixels = np.zeros((200, 200), np.uint8)
        pixels[100] = min(number, 1)
        save(root / "A" / "scratch" / f"large_{number}.bmp", pixels)
    groups = survey(index_folder(root)).duplicates
    assert [[path.name for path in group] for group in groups] == [["large_1.bmp", "large_2.bmp"]]
