"""Metrics of a run: a CSV that any tool reads, and TensorBoard events beside it."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from itertools import takewhile
from pathlib import Path
from typing import Any

from defectaug.errors import OutputError


class MetricLog:
    """Appends rows to ``metrics.csv``; columns may grow, the file is then rewritten whole.

    Args:
        folder: the run's folder.
        step: rows after this step are dropped: a resumed run writes them again.
    """

    def __init__(self, folder: Path, step: int = 0) -> None:
        self.path = folder / "metrics.csv"
        self.rows: list[dict[str, Any]] = []
        self.columns: list[str] = ["step"]
        if self.path.exists():
            self._read(step)
        self.events = _events(folder, step)

    def _read(self, step: int) -> None:
        try:
            text = self.path.read_text(encoding="utf-8", errors="replace").replace("\0", "")
        except OSError as error:
            raise OutputError(f"{self.path}: cannot be read ({error.strerror}).") from error
        whole = text[: text.rfind("\n") + 1]  # a last line that was cut short may look like another step
        reader = csv.DictReader(whole.splitlines(keepends=True))
        self.columns = list(reader.fieldnames or ["step"])
        whole_rows = (row for row in reader if None not in row and (row.get("step") or "").isdecimal())
        self.rows = [row for row in whole_rows if int(row["step"]) <= step]
        self._rewrite()

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """One row: the step and its values. A resumed run that measures again what it had measured adds nothing."""
        row = {"step": str(step)} | {name: f"{value:.6g}" for name, value in values.items()}
        if any(row.items() == {(k, v) for k, v in old.items() if v} for old in self._of_step(row["step"])):
            return
        self.rows.append(row)
        new = [name for name in row if name not in self.columns]
        if new or not self.path.exists():
            self.columns += new
            self._rewrite()
        else:
            self._append(row)
        if self.events is not None:
            for name, value in values.items():
                self.events.add_scalar(name, value, step)

    def _of_step(self, step: str) -> Iterator[Mapping[str, str]]:
        return takewhile(lambda row: row["step"] == step, reversed(self.rows))

    def _append(self, row: Mapping[str, Any]) -> None:
        try:
            with self.path.open("a", newline="", encoding="utf-8") as file:
                csv.DictWriter(file, self.columns).writerow(row)
        except OSError as error:
            raise OutputError(f"{self.path}: cannot be written ({error.strerror}).") from error

    def _rewrite(self) -> None:
        fresh = self.path.with_suffix(".csv.part")
        try:
            with fresh.open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, self.columns)
                writer.writeheader()
                writer.writerows(self.rows)
            fresh.replace(self.path)
        except OSError as error:
            raise OutputError(f"{self.path}: cannot be written ({error.strerror}).") from error

    def close(self) -> None:
        """Flushes the events."""
        if self.events is not None:
            self.events.close()


def _events(folder: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder), purge_step=step or None)
