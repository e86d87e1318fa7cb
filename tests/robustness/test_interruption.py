"""Runs stopped at any moment, or whose disk is full or gone: all is whole, and the same command finishes it."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import forked
import pytest
import torch
from fake_model import FakeModel, contents, data, defective, info, save, surface
from stops import Stop, stop_at

from defectaug.cli.failures import ExitCode, Session, guard
from defectaug.errors import OutputError
from defectaug.io import atomic as durable
from defectaug.io.lock import Lock
from defectaug.synthesis import transfer_jobs as unfinished
from defectaug.synthesis.api import synthesize
from defectaug.synthesis.transfer import transfer
from defectaug.training.checkpoint import load_state, save_state
from defectaug.training.log import MetricLog


def kill(place: Path, count: int, seed: int, *commands: str) -> None:
    """Lets `kills.py` do it, in a process of its own."""
    child = forked.start(place, kills_of, count, seed, *commands)
    printed, said = child.communicate()
    assert child.returncode == 0, said[-3000:]
    found = json.loads(printed.splitlines()[-1])
    assert found["faults"] == []
    assert found["kills"] >= count


def kills_of(count: int, seed: int, *commands: str) -> None:
    import kills  # changes the package, in that process alone

    kills.report(count, seed, *commands)


def test_runs_stopped_at_random_moments(tmp_path: Path) -> None:
    """Evaluations, the dearest, are of `test_evaluation_stopped.py`."""
    kill(tmp_path, 5, 0, "train", "synthesize", "transfer")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 5))
def test_many_runs_stopped_at_random_moments(tmp_path: Path, seed: int) -> None:
    kill(tmp_path, 60, seed)


# Every step of a save, one after the other


@pytest.fixture(scope="module")
def method() -> Any:
    """What is saved: networks of one layer, with the optimiser of a step."""
    torch.manual_seed(0)
    layers = {name: torch.nn.Linear(3, 2) for name in ("model", "average")}
    adam = torch.optim.Adam(layers["model"].parameters())
    layers["model"](torch.ones(1, 3)).sum().backward()
    adam.step()
    return SimpleNamespace(modules=layers, optimizers={"adam": adam})


@pytest.mark.parametrize("name", ["replace", "fsync", "rmdir", "unlink", "mkdir"])
@pytest.mark.parametrize("call", range(1, 7))
def test_a_save_cut_anywhere_costs_no_good_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: Any, name: str, call: int
) -> None:
    for step in (1, 2, 3):  # each save but the first is cut; a later one finds what the cut ones left
        try:
            with monkeypatch.context() as patch:
                if step > 1:
                    stop_at(patch, os, name, call)
                save_state(tmp_path / "state", method.modules, method.optimizers, {"step": step})
        except Stop:
            pass
        assert load_state(tmp_path / "state", method.modules, method.optimizers)["step"] >= 1
    save_state(tmp_path / "state", method.modules, method.optimizers, {"step": 4})
    assert load_state(tmp_path / "state", method.modules, method.optimizers) == {"step": 4}
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


def test_two_cuts_in_a_row_between_the_renames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: Any) -> None:
    """The first leaves `state.old` alone; the second must not take it for rubbish."""
    save_state(tmp_path / "state", method.modules, method.optimizers, {"step": 1})
    for call in (2, 1):
        with monkeypatch.context() as patch, pytest.raises(Stop):
            stop_at(patch, os, "replace", call)
            save_state(tmp_path / "state", method.modules, method.optimizers, {"step": 2})
        assert load_state(tmp_path / "state", method.modules, method.optimizers) == {"step": 1}


@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EIO, errno.ESTALE, errno.EROFS])
def test_a_state_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: Any, fault: int
) -> None:
    save_state(tmp_path / "state", method.modules, method.optimizers, {"step": 1})

    def fail(*arguments: object, **options: object) -> None:
        raise OSError(fault, os.strerror(fault))

    with monkeypatch.context() as patch, pytest.raises(OutputError, match=r"last good one is kept.*--resume"):
        patch.setattr("defectaug.training.checkpoint.save_file", fail)
        save_state(tmp_path / "state", method.modules, method.optimizers, {"step": 2})
    assert load_state(tmp_path / "state", method.modules, method.optimizers) == {"step": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


def test_metrics_of_a_run_stopped_at_its_end_are_written_once(tmp_path: Path) -> None:
    for step in (0, 2):
        log = MetricLog(tmp_path, step)
        log.write(2, {"score": 1.0})
        log.close()
    assert (tmp_path / "metrics.csv").read_text().split() == ["step,score", "2,1"]


def test_a_line_of_metrics_that_was_cut_short_is_dropped(tmp_path: Path) -> None:
    """It could pass for another step's."""
    (tmp_path / "metrics.csv").write_text("step,loss\n10,0.5\n20,0.7\n3")
    log = MetricLog(tmp_path, step=30)
    log.close()
    assert [row["step"] for row in log.rows] == ["10", "20"]


# Synthesis and transfer


@pytest.mark.parametrize("call", range(1, 6))
@pytest.mark.parametrize("name", ["replace", "fsync"])
def test_synthesis_cut_anywhere_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, call: int
) -> None:
    root = data(tmp_path / "data")
    options = {"model": FakeModel(info(root)), "product": "A", "defect": "spot", "n": 3, "masks": True}
    synthesize(out=tmp_path / "whole", **options)  # type: ignore[arg-type]
    out = tmp_path / "cut"
    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(Path, "unlink", lambda *_, **__: None)  # a killed run clears nothing away
        stop_at(patch, os, name, call)
        synthesize(out=out, **options)  # type: ignore[arg-type]
    synthesize(out=out, **options)  # type: ignore[arg-type]
    assert contents(out) == contents(tmp_path / "whole")
    assert contents(tmp_path / "cut.masks") == contents(tmp_path / "whole.masks")


def test_shards_stopped_while_they_are_joined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = data(tmp_path / "data")
    options = {"model": FakeModel(info(root)), "product": "A", "defect": "spot", "n": 6}
    synthesize(out=tmp_path / "whole", **options)  # type: ignore[arg-type]
    out = tmp_path / "out"
    synthesize(out=out, shard="1/2", **options)  # type: ignore[arg-type]
    with monkeypatch.context() as patch, pytest.raises(Stop):
        real = Path.unlink

        def unlink(path: Path, missing_ok: bool = False) -> None:
            if path.name == "manifest.2-of-2.jsonl":
                raise Stop
            real(path, missing_ok=missing_ok)

        patch.setattr(Path, "unlink", unlink)
        synthesize(out=out, shard="2/2", **options)  # type: ignore[arg-type]
    assert not (out / "manifest.1-of-2.jsonl").exists()
    summary = synthesize(out=out, shard="2/2", **options)  # type: ignore[arg-type]
    assert summary.complete and summary.kept == 3
    assert contents(out) == contents(tmp_path / "whole")


def test_a_drive_that_goes_away_under_synthesis_is_said(tmp_path: Path) -> None:
    root = data(tmp_path / "data")
    out = tmp_path / "out"

    def lose(done: int, total: int) -> None:
        if done == 3:
            out.rename(tmp_path / "elsewhere")

    options = {"model": FakeModel(info(root)), "product": "A", "defect": "spot", "n": 6, "batch_size": 1}
    with pytest.raises(OutputError, match="is the drive still there"):
        synthesize(out=out, progress=lose, **options)  # type: ignore[arg-type]
    for path in (tmp_path / "elsewhere").rglob("*.png"):
        assert path.stat().st_size


@pytest.fixture
def pairs(tmp_path: Path) -> tuple[Path, Path]:
    for number in range(4):
        save(tmp_path / "src" / f"{number}.png", surface(number))
        save(tmp_path / "scratch" / f"{number}.png", defective(number))
    return tmp_path / "src", tmp_path / "scratch"


def stopped_transfer(pairs: tuple[Path, Path], out: Path, **options: object) -> list[str]:
    """A transfer that Ctrl-C ends after two of four images; returns what it says."""
    said: list[str] = []

    def stop(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        transfer(*pairs, out=out, model=FakeModel(info()), progress=stop, log=said.append, **options)  # type: ignore[arg-type]
    return said


def test_a_stopped_transfer_is_finished_by_the_same_command(pairs: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    said = stopped_transfer(pairs, out)
    assert said == ["2 of 4 pairs are done; the same command does the rest"]
    before = {path: path.stat().st_mtime_ns for path in out.glob("*.png")}
    written = transfer(*pairs, out=out, model=FakeModel(info()))
    assert len(before) == 2 and len(written) == 4
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    assert sorted(out.iterdir()) == sorted(written)


def test_a_stopped_transfer_of_other_settings_is_left_alone(pairs: tuple[Path, Path], tmp_path: Path) -> None:
    stopped_transfer(pairs, tmp_path / "out")
    before = contents(tmp_path / "out")
    with pytest.raises(OutputError, match="is there already"):
        transfer(*pairs, out=tmp_path / "out", model=FakeModel(info()), defect="scratch")
    assert contents(tmp_path / "out") == before
    transfer(*pairs, out=tmp_path / "out", model=FakeModel(info()), defect="scratch", overwrite=True)
    assert unfinished.RECORD not in contents(tmp_path / "out")


def test_a_transfer_that_overwrites_starts_over(pairs: tuple[Path, Path], tmp_path: Path) -> None:
    """Images of before the run must not be taken for its own."""
    transfer(*pairs, out=tmp_path / "out", model=FakeModel(info()), n_styles=1, seed=1)
    stopped_transfer(pairs, tmp_path / "out", n_styles=1, seed=2, overwrite=True)
    transfer(*pairs, out=tmp_path / "out", model=FakeModel(info()), n_styles=1, seed=2, overwrite=True)
    transfer(*pairs, out=tmp_path / "fresh", model=FakeModel(info()), n_styles=1, seed=2)
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")


# Interrupts that Python drops


class Half:
    """Of a constructor that is interrupted, and a destructor that counts on it, as `zipfile.ZipFile`."""

    def __init__(self, error: type[Exception] | None) -> None:
        self.error = error
        raise KeyboardInterrupt

    def __del__(self) -> None:
        if self.error is not None:
            raise self.error
        print(self.never_made)  # type: ignore[attr-defined]


@pytest.mark.parametrize(("error", "said"), [(None, 0), (ValueError, 1)])
def test_an_interrupt_in_a_constructor_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: type[Exception] | None, said: int
) -> None:
    ignored: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda args: ignored.append(args.exc_type))

    def command() -> int:
        with suppress(KeyboardInterrupt):
            Half(error)
        return ExitCode.INTERRUPTED

    assert guard(command, Session()) == ExitCode.INTERRUPTED
    assert capsys.readouterr().err == "error: interrupted\n"
    assert len(ignored) == said


class Interrupted:
    """Of a class that is made while a library is imported."""

    def __set_name__(self, owner: type, name: str) -> None:
        raise KeyboardInterrupt


def test_an_interrupt_while_a_class_is_made_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Python 3.10 and 3.11 make a RuntimeError of it."""
    assert guard(lambda: type("Made", (), {"part": Interrupted()}), Session()) == ExitCode.INTERRUPTED
    assert capsys.readouterr().err == "error: interrupted\n"


# Files and locks


def test_a_file_is_on_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, name=name, real=real: (order.append(name), real(*a))[1])
    durable.write_atomic(tmp_path / "x", lambda file: file.write(b"x"))
    assert order == ["fsync", "replace"]


def test_what_a_kill_left_is_replaced(tmp_path: Path) -> None:
    durable.part_of(tmp_path / "x.png").write_bytes(b"half")
    durable.write_atomic(tmp_path / "x.png", lambda file: file.write(b"whole"))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"x.png": b"whole"}


def test_one_lock_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    first = Lock(path, "busy")
    code = "import sys; from pathlib import Path; from defectaug.io.lock import Lock; Lock(Path(sys.argv[1]), 'busy')"
    refused = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True)
    assert refused.returncode == 1 and refused.stderr.endswith("OutputError: busy\n")
    first.release()
    assert not path.exists()
    assert subprocess.run([sys.executable, "-c", code, str(path)]).returncode == 0


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from defectaug.io.lock import Lock; "
        "Lock(Path(sys.argv[1]), 'busy'); os._exit(0)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path / "lock")]).returncode == 0
    with Lock(tmp_path / "lock", "busy"):
        pass
    assert not (tmp_path / "lock").exists()


def test_a_lock_on_a_file_that_was_removed_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its owner removes the file between our opening and our locking it."""
    path = tmp_path / "lock"
    real, opened = os.open, []

    def open_and_lose(name: object, *arguments: object, **options: object) -> int:
        handle = real(name, *arguments, **options)  # type: ignore[arg-type]
        if str(name) == str(path):
            opened.append(handle)
            if len(opened) == 1:
                path.unlink()
        return handle

    monkeypatch.setattr(os, "open", open_and_lose)
    lock = Lock(path, "busy")
    assert len(opened) == 2 and path.exists()
    lock.release()


@pytest.mark.parametrize("fault", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_drive_without_locks_is_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: int) -> None:
    def fail(*arguments: object) -> None:
        raise OSError(fault, os.strerror(fault))

    monkeypatch.setattr("fcntl.flock", fail)
    with Lock(tmp_path / "lock", "busy"):
        pass
