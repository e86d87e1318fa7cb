"""Long runs take no more memory, files or threads at their end than near their start."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from fake_model import FakeModel, data, info, save, surface
from small_networks import SMALL, train_small

from defectaug.synthesis.api import synthesize

COUNTS = {"A/normal": 6, "A/scratch": 4, "B/normal": 4, "B/spot": 3}


def resident_mb() -> float:
    """Memory of this process that is in use now, not at its peak."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


@dataclass
class Watch:
    """A progress bar that notes memory, open files and threads."""

    every: int
    notes: list[tuple[float, int, int]] = field(default_factory=list)

    def __call__(self, done: int, total: int) -> None:
        if done % self.every == 0:
            self.notes.append((resident_mb(), len(os.listdir("/proc/self/fd")), threading.active_count()))

    def check(self, megabytes: float) -> None:
        """The last third against the second; the first one fills caches."""
        third = len(self.notes) // 3
        middle, end = self.notes[third : 2 * third], self.notes[2 * third :]
        for number, most in enumerate((megabytes, 2, 2)):
            grown = max(note[number] for note in end) - max(note[number] for note in middle)
            assert grown <= most, (number, grown, self.notes[:: max(1, third // 3)])
        print(f"{len(self.notes)} notes, last {self.notes[-1]}, middle {self.notes[third]}")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return data(tmp_path / "data", COUNTS)


def train_long(root: Path, place: Path, steps: int) -> None:
    run = {"batch_size": 4, "warmup": 1, "save_every": 6, "sample_every": 6, "validate_every": 6, "log_every": 1}
    watch = Watch(max(1, steps // 60))
    train_small(root, place / "m", {**SMALL, "run": run}, steps=steps, progress=watch)
    watch.check(megabytes=30)


def synthesize_long(root: Path, place: Path, count: int) -> None:
    for path in (root / "A/normal").iterdir():
        save(path, surface(1, (32, 32)))
    watch = Watch(max(1, count // 60))
    synthesize(
        model=FakeModel(info(root)), product="A", defect="spot", n=count, out=place / "out", masks=True, progress=watch
    )
    watch.check(megabytes=30)


def test_training_stays_flat(root: Path, tmp_path: Path) -> None:
    train_long(root, tmp_path, 36)


def test_synthesis_stays_flat(root: Path, tmp_path: Path) -> None:
    synthesize_long(root, tmp_path, 600)


@pytest.mark.slow
def test_a_long_training_stays_flat(root: Path, tmp_path: Path) -> None:
    train_long(root, tmp_path, 3_000)


@pytest.mark.slow
def test_fifty_thousand_images_stay_flat(root: Path, tmp_path: Path) -> None:
    synthesize_long(root, tmp_path, 50_000)


def test_a_worker_that_fails_is_noticed(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads write the images: their failure ends the run at once, and does not wait for the rest."""
    written: list[int] = []

    def broken(*arguments: object) -> None:
        written.append(1)
        raise ZeroDivisionError

    monkeypatch.setattr("defectaug.synthesis.write.write_png", broken)
    done: Callable[..., object] = synthesize
    with pytest.raises(ZeroDivisionError):
        done(model=FakeModel(info(root)), product="A", defect="spot", n=2000, out=tmp_path / "out")
    assert len(written) < 200
