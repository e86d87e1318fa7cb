"""What is already computed, by content: arrays in files named after what they were computed from. No torch."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from defectaug.io.images import write_atomic


@dataclass(frozen=True)
class Cache:
    """A folder of arrays; None keeps nothing. Files appear whole, so that an interrupted run leaves good ones."""

    folder: Path | None = None

    def rows(self, kind: str) -> dict[str, NDArray]:
        """Every row kept under `kind`, by its key. A damaged file is as if it were not there."""
        rows: dict[str, NDArray] = {}
        for path in sorted((self.folder / kind).glob("*.npz")) if self.folder else ():
            try:
                with np.load(path, allow_pickle=False) as held:
                    rows |= dict(zip(held["keys"].tolist(), held["rows"], strict=True))
            except (OSError, ValueError, KeyError, zipfile.BadZipFile):
                continue
        return rows

    def keep(self, kind: str, keys: list[str], rows: NDArray) -> None:
        """Keeps rows, one a key.

        Raises:
            OutputError: the folder cannot be written.
        """
        if self.folder is None or not keys:
            return
        held = io.BytesIO()
        np.savez(held, keys=np.array(keys), rows=rows)
        write_atomic(self.folder / kind / f"{digest(keys)}.npz", lambda file: file.write(held.getvalue()))


def digest(parts: Iterable[object]) -> str:
    """Sixteen hexadecimal digits that stand for the parts, in their order."""
    content = "\0".join(map(str, parts)).encode(errors="surrogatepass")
    return hashlib.sha256(content).hexdigest()[:16]
