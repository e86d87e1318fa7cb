"""What every test relies on, and fixtures that several folders use."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

# Before NumPy and PyTorch come: one thread in each of pytest's processes and in those that tests start.
os.environ["OMP_NUM_THREADS"] = "1"

from command_line import Run, run_here
from forked import server
from quick_lite import build_once


@pytest.fixture(autouse=True, scope="session")
def heeded_interrupts() -> Iterator[None]:
    """Ctrl-C is heeded, as in a terminal: a job in the background of a shell ignores it."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True, scope="session")
def children(heeded_interrupts: None) -> Iterator[None]:
    """Tests may call functions in processes of their own, by `forked.start`."""
    with server():
        yield


@pytest.fixture(autouse=True, scope="session")
def one_frozen_network(children: None) -> None:
    """A test that trains ten classifiers builds no ten networks."""
    build_once()


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command in this process: exit code, standard output, standard error."""
    return lambda *arguments: run_here(capsys, *arguments)


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights that are not on this machine cannot be fetched."""
    monkeypatch.setattr("defectaug.nn.weights._fetch", lambda kind, target: False)
