"""A data folder, and a stand-in for a model that was trained on it."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_model import FakeModel, data, info


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return data(tmp_path / "data")


@pytest.fixture
def model(root: Path) -> FakeModel:
    return FakeModel(info(root))
