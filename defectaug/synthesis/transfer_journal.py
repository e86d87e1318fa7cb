"""Transfers of many images that were stopped: the same command does the rest. No torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from defectaug.io.atomic import write_atomic

RECORD = ".defectaug-transfer.json"


class UnfinishedTransfer:
    """The record of a transfer in its output folder, which is there while the transfer is under way.

    Args:
        folder: where the images go.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / RECORD
        self._known = self._read()

    @property
    def found(self) -> bool:
        """Whether an earlier transfer was stopped there."""
        return self._known is not None

    def was(self, request: Mapping[str, Any]) -> bool:
        """Whether the transfer that was stopped is this one."""
        return self._known == json.loads(json.dumps(request))

    def begin(self, request: Mapping[str, Any]) -> None:
        """Puts a transfer on record.

        Raises:
            OutputError: the record cannot be written.
        """
        content = json.dumps(request).encode()
        write_atomic(self._path, lambda file: file.write(content))

    def end(self) -> None:
        """All images are there."""
        self._path.unlink(missing_ok=True)

    def _read(self) -> Any:
        try:
            return json.loads(self._path.read_text(encoding="utf-8"))
        except OSError:
            return None
        except (ValueError, RecursionError):
            return {}
