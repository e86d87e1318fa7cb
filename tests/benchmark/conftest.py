"""The folders that studies compare."""

from __future__ import annotations

from pathlib import Path

import pytest
from study_helpers import MORE, REAL, folder


@pytest.fixture
def real(tmp_path: Path) -> Path:
    return folder(tmp_path / "real", REAL)


@pytest.fixture
def test(tmp_path: Path) -> Path:
    return folder(tmp_path / "test", dict.fromkeys(REAL, 10), stream=1)


@pytest.fixture
def made(tmp_path: Path) -> Path:
    return folder(tmp_path / "made", MORE, stream=2)
