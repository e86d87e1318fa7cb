"""What a run reports: lines and progress to its caller; metrics to a CSV that any tool reads, and to TensorBoard."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from itertools import takewhile
from pathlib import Path
from typing import Any

from defectaug.errors import OutputError
from defectaug.io.atomic import write_atomic


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
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, self.columns)
        writer.writeheader()
        writer.writerows(self.rows)
        write_atomic(self.path, lambda file: file.write(text.getvalue().encode()))

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
