"""An evaluation that is stopped leaves whole files, and the same command finishes it; a second one is refused."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_model import FakeModel, contents, data, info
from stops import Stop, stop_at

from defectaug.errors import OutputError
from defectaug.io import atomic as durable
from defectaug.metrics.naming import NamingSettings
from defectaug.reporting.api import evaluate
from defectaug.reporting.output import Outputs, only_run
from defectaug.synthesis.api import synthesize

PARTS = ("counts", "fidelity", "correctness")
EVALUATED = ["numbers.json", "report.html"]
pytestmark = pytest.mark.xdist_group("evaluation stopped")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """A real and a synthetic folder; no network."""
    place = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("defectaug.nn.weights._fetch", lambda kind, target: False)
        root = data(place / "data")
        synthesize(model=FakeModel(info(root)), n=3, masks=True, out=place / "made")
        yield root, place / "made"


@pytest.fixture(scope="module")
def whole(made: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What an evaluation of them leaves that nothing stops."""
    out = tmp_path_factory.mktemp("whole")
    assert len(evaluated(made, out)) == 6  # features of both folders, two classifiers' words, numbers and page
    return out


@pytest.fixture
def out(whole: Path, tmp_path: Path) -> Path:
    """A copy of that."""
    return shutil.copytree(whole, tmp_path / "out")


def evaluated(folders: tuple[Path, Path], out: Path, **options: object) -> dict[str, bytes]:
    """What an evaluation leaves."""
    naming = NamingSettings(folds=2, steps=2, batch_size=4, image_size=32)
    files = {"json": out / "numbers.json", "report": out / "report.html", "cache": out / "cache"}
    evaluate(*folders, **{"only": PARTS, "naming": naming, "device": "cpu", **files, **options})  # type: ignore[arg-type]
    return contents(out)


@pytest.mark.parametrize("call", range(1, 7))
def test_an_evaluation_cut_anywhere_is_finished(
    made: tuple[Path, Path], whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    wanted = contents(whole)
    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(Path, "unlink", lambda *_, **__: None)  # a killed run clears nothing away
        stop_at(patch, os, "replace", call)
        evaluated(made, tmp_path / "cut")
    left = contents(tmp_path / "cut")
    assert any(name.endswith(".part") for name in left) and any(name.endswith(".lock") for name in left)
    assert all(wanted[name] == content for name, content in left.items() if name in wanted)
    assert evaluated(made, tmp_path / "cut") == wanted


def test_what_a_killed_evaluation_of_other_images_left_goes_away(made: tuple[Path, Path], tmp_path: Path) -> None:
    part = durable.part_of(tmp_path / "out/cache/features-0/0.npz")
    part.parent.mkdir(parents=True)
    part.write_bytes(b"half")
    (tmp_path / "out/cache/.mine.part").mkdir()
    evaluated(made, tmp_path / "out")
    assert not part.exists() and (tmp_path / "out/cache/.mine.part").is_dir()


@pytest.mark.parametrize("taken", ["json", "report", "cache"])
def test_a_second_evaluation_into_the_same_place_is_refused(
    made: tuple[Path, Path], out: Path, tmp_path: Path, taken: str
) -> None:
    names = {"json": "numbers.json", "report": "report.html", "cache": "cache"}
    other, before = out / names[taken], contents(out)
    here = {option: tmp_path / "new" / name for option, name in names.items()} | {taken: other}
    cache = other if taken == "cache" else None
    with (
        only_run(Outputs(*(other if taken == name else None for name in ("json", "report"))), cache),
        pytest.raises(OutputError, match=f"--{taken} .*another run is writing there"),
    ):
        evaluated(made, out, **here)
    assert contents(out) == before and not contents(tmp_path / "new")
    evaluated(made, out, **here)
    assert set(contents(out)) == set(before)


def test_a_place_that_cannot_be_written_is_said_before_the_evaluation(
    made: tuple[Path, Path], out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, busy: str) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("defectaug.reporting.output.Lock", refuse)
    said: list[str] = []
    with pytest.raises(OutputError, match=r"--json .*no write permission"):
        evaluated(made, out, log=said.append)
    assert said == []
    evaluated(made, out, json=None, report=None)  # all is in the cache, which is only read


def test_an_evaluation_leaves_no_empty_cache(made: tuple[Path, Path], tmp_path: Path) -> None:
    assert sorted(evaluated(made, tmp_path / "out", only=["counts"])) == EVALUATED
    assert not (tmp_path / "out/cache").exists()
    (tmp_path / "mine").mkdir()
    evaluated(made, tmp_path / "out", only=["counts"], cache=tmp_path / "mine")
    assert (tmp_path / "mine").is_dir()
