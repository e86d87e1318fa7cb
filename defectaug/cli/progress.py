"""Progress of long jobs on standard error: a bar in a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections import deque
from types import TracebackType
from typing import Any

from defectaug.cli.failures import printable


class Progress:
    """Callable `(done, total)`; use as a context manager. Plain lines come every `every` seconds at most; what is done
    within `patience` seconds shows nothing."""

    def __init__(self, what: str, *, every: float = 10.0, unit: str = "img", patience: float = 0.0) -> None:
        self._what = what
        self._every = every
        self._unit = unit
        self._patience = patience
        self._bar: Any = None
        self.finished = False
        self._recent: deque[tuple[float, int]] = deque(maxlen=100)
        self._last = 0.0
        self._begun: float | None = None

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """The bar stays as it is; lines that come after it no longer draw it again."""
        if self._bar is not None:
            self._bar.close()

    def __call__(self, done: int, total: int) -> None:
        self.finished = done >= total
        if self._patience:
            now = time.monotonic()
            self._begun = now if self._begun is None else self._begun
            if now - self._begun < self._patience:
                return
        if sys.stderr.isatty():
            self._show_bar(done, total)
        else:
            self._show_line(done, total)

    def log(self, line: str) -> None:
        """Print one line without breaking the bar."""
        line = printable(line)
        if self._bar is None:
            print(line, file=sys.stderr, flush=True)
        else:
            self._bar.write(line, file=sys.stderr)

    def _show_bar(self, done: int, total: int) -> None:
        if self._bar is None:
            from tqdm import tqdm

            self._bar = tqdm(total=total, initial=done, desc=self._what, unit=self._unit, file=sys.stderr)
        self._bar.total = total  # of a run of so many minutes it is an estimate, which gets better
        self._bar.update(done - self._bar.n)

    def _show_line(self, done: int, total: int) -> None:
        now = time.monotonic()
        self._recent.append((now, done))
        if now - self._last < self._every and done < total and self._last:
            return
        self._last = now
        # The speed of late, without the first steps, which load, compile and look at what others use: with the first
        # a classifier's 900 steps would take fifteen hours, and a study three when there is a minute left.
        before, then = self._recent[max(len(self._recent) // 2, min(1, len(self._recent) - 1))]
        rate = (done - then) / max(now - before, 1e-9)
        left = f", {duration((total - done) / rate)} left" if rate > 0 and done < total else ""
        print(f"{self._what}: {done}/{total}{left}", file=sys.stderr, flush=True)


class Stages:
    """Progress of one stage after another: called with a stage's name it ends the one before, and gives what shows the
    new one; use as a context manager.

    Args:
        patience: stages that take fewer seconds show nothing, but for those that `units` names.
        unit: what stages count; "" says nothing.
        units: the same of single stages, by their names.
    """

    def __init__(self, patience: float = 0.0, unit: str = "", **units: str) -> None:
        self._patience = patience
        self._unit = unit
        self._units = units
        self._now: Progress | None = None

    def __enter__(self) -> Stages:
        return self

    def __exit__(self, *error: object) -> None:
        self._close()

    def __call__(self, stage: str) -> Progress:
        self._close()
        named = stage in self._units
        self._now = Progress(stage, unit=self._units.get(stage, self._unit), patience=0.0 if named else self._patience)
        return self._now

    def log(self, line: str) -> None:
        """Print one line without breaking the bar."""
        if self._now is not None and self._now.finished:
            self._close()
        (self._now or Progress("")).log(line)

    def _close(self) -> None:
        if self._now is not None:
            self._now.close()


def duration(seconds: float) -> str:
    """Human words for a time span: "42 s", "3 min 05 s", "2 h 10 min"."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"
