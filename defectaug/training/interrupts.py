"""Signals that end a run, kept back until a step is complete."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def termination_as_interrupt(repeats: bool = False) -> Iterator[threading.Event]:
    """Within, Ctrl-C, SIGTERM and the end of the terminal set the event: no step is cut in half. A second Ctrl-C raises
    KeyboardInterrupt at once, unless a launcher ``repeats`` what the terminal has sent already."""
    event = threading.Event()

    def note(number: int, frame: FrameType | None) -> None:
        if event.is_set() and number == signal.SIGINT and not repeats:
            raise KeyboardInterrupt
        event.set()

    if threading.current_thread() is not threading.main_thread():
        yield event  # signals reach the main thread alone
        return
    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    heeded = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]  # nohup ignores one
    previous = {number: signal.signal(number, note) for number in heeded}
    try:
        yield event
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
