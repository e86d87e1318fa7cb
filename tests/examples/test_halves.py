"""The better, a random and the worse half of what synthesis has left."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
from data_helpers import save
from fake_model import surface

from defectaug.io.manifest import NAME, read_lines, write_lines
from defectaug.metrics.folders import read_synthetic


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("halves", Path(__file__).parents[2] / "examples/halves.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_each_half_has_as_many_of_a_category_and_the_better_ones_are_better(script: ModuleType, tmp_path: Path) -> None:
    folder, lines = tmp_path / "out", []
    for index in range(17):
        defect = ("scratch", "spot", "normal")[index % 3]
        file = f"A/{defect}/{index}.png"
        save(folder / file, surface(index))
        line = {"file": file, "index": index, "product": "A", "defect": defect, "synthetic": defect != "normal"}
        lines.append(line | {"source": None, "model": None} | ({"score": index / 20} if defect != "normal" else {}))
    write_lines(folder / NAME, lines)
    script.main([str(folder)])
    scores = {}
    for name in ("better", "random", "worse"):
        half = tmp_path / f"out-{name}"
        assert len(read_synthetic(half)) == 6 and all(record.synthetic for record in read_synthetic(half))
        found = read_lines(half / NAME)
        assert sorted(line["defect"] for line in found) == ["scratch"] * 3 + ["spot"] * 3
        scores[name] = sorted(line["score"] for line in found)
    assert min(scores["better"]) > max(scores["worse"])
    assert scores["random"] not in (scores["better"], scores["worse"])
    with pytest.raises(FileExistsError):
        script.main([str(folder)])
    with pytest.raises(SystemExit):
        script.main([str(tmp_path)])
