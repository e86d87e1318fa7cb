"""Images are decoded once an evaluation, and kept within a bound."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from evaluation_data import real, save, synthetic
from PIL import Image

from defectaug.benchmark.settings import StudySettings
from defectaug.data.index import index_folder
from defectaug.errors import DataError
from defectaug.io import images as decoding
from defectaug.metrics.folders import records_of
from defectaug.metrics.images import ImageStore
from defectaug.metrics.naming import NamingSettings
from defectaug.reporting.api import evaluate


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Counter[Path]:
    """How often each file was decoded."""
    found: Counter[Path] = Counter()
    native = decoding._native

    def counted(image: Image.Image, path: Path) -> decoding.NativeImage:
        found[path] += 1
        return native(image, path)

    monkeypatch.setattr(decoding, "_native", counted)
    return found


def test_an_evaluation_decodes_every_image_and_mask_once(
    tmp_path: Path, decoded: Counter[Path], no_network: None
) -> None:
    root = real(tmp_path / "data", {"A/normal": 12, "A/scratch": 9, "A/spot": 9})
    out = synthetic(tmp_path / "out", root)
    test = real(tmp_path / "test", {"A/normal": 3, "A/scratch": 3, "A/spot": 3})
    quick = StudySettings(image_size=32, steps=2, batch_size=8, checks=1)
    evaluate(root, out, test=test, seeds=1, naming=NamingSettings(2, 2, 8, 32), study=quick)
    masks = 18 + 8 + 3  # of the real and of the synthetic defects, and of the test's that are beside these
    assert len(decoded) == 30 + 8 + 9 + masks
    assert {path: count for path, count in decoded.items() if count > 1} == {}


def test_what_does_not_fit_into_the_memory_is_decoded_again(tmp_path: Path, decoded: Counter[Path]) -> None:
    for number in range(3):
        save(tmp_path / "A/normal" / f"{number}.png", np.full((8, 8), number, np.uint8))
    (tmp_path / "A/normal/bad.png").write_bytes(b"no image")
    records = sorted(records_of(index_folder(tmp_path, require_defects=False)), key=lambda record: record.path)
    store = ImageStore(max_bytes=2 * 64)
    for _ in range(2):
        *found, bad = store.each(records, lambda image: int(image.pixels[0, 0]))
        assert found == [0, 1, 2] and isinstance(bad, DataError)
    assert sum(decoded.values()) > 3
    with pytest.raises(DataError, match=r"bad\.png"):
        store.all(records, lambda image: image.size)
