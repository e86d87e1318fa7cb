"""Functions in processes of their own, which import nothing anew.

A server is forked from pytest's process as its session begins: with all that the test files import, but before a test
has used a GPU or computed gradients, whose threads a fork does not take along. Every child is forked from this server.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

_servers: list[Connection] = []


@dataclass
class Child:
    """A function in its own process; waited for as `subprocess.Popen` is."""

    pid: int
    said: Path
    returncode: int | None = None

    def poll(self) -> int | None:
        """Exit code, or minus the signal, once it has ended."""
        return self._ended(os.WNOHANG)

    def communicate(self) -> tuple[str, str]:
        """Waits for its end; what it printed, and what it said on standard error."""
        self._ended(0)
        printed, said = (self.said.with_suffix(ending).read_text() for ending in (".out", ".err"))
        return printed, said

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def _ended(self, how: int) -> int | None:
        if self.returncode is None:
            pid, status = _ask(("wait", self.pid, how))
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode


def start(place: Path, function: Callable[..., object], *arguments: object, **environment: str) -> Child:
    """Calls a function of a module in a child, with more environment variables; its output goes to files of a new name
    in `place`."""
    said = place / f"said-{sum(1 for _ in place.glob('said-*.out'))}"
    said.with_suffix(".out").touch()
    return Child(_ask(("start", said, environment, function, arguments)), said)


@contextmanager
def server() -> Iterator[None]:
    """Within, children can be started."""
    ours, theirs = Pipe()
    pid = os.fork()
    if pid == 0:
        ours.close()
        _serve(theirs)
    theirs.close()
    _servers.append(ours)
    try:
        yield
    finally:
        _servers.remove(ours)
        ours.close()
        os.waitpid(pid, 0)


def _ask(request: tuple[object, ...]) -> Any:
    _servers[-1].send(request)
    return _servers[-1].recv()


def _serve(requests: Connection) -> None:
    """The server, until pytest's process ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.freeze()  # else each child's first collection copies all memory
    try:
        while True:
            what, *rest = requests.recv()
            requests.send(os.waitpid(*rest) if what == "wait" else _fork(requests, *rest))
    except EOFError:
        os._exit(0)
    finally:
        os._exit(1)


def _fork(
    requests: Connection, said: Path, environment: Mapping[str, str], function: Callable[..., object], arguments: tuple
) -> int:
    """The process number of a child that calls a function, and ends as a program does."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        requests.close()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.environ.update(environment)
        for number, ending in ((1, ".out"), (2, ".err")):
            os.dup2(os.open(said.with_suffix(ending), os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        # A child that forks again may put others in their place, which must not close what has the same numbers.
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
        function(*arguments)
        code = 0
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else int(left.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code & 0xFF)
