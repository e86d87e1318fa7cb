"""The manifest of an output folder: one JSON object a line, one line an image. No torch."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from defectaug.errors import DataError
from defectaug.io.atomic import write_atomic

NAME = "manifest.jsonl"
RECORD = ".defectaug-run.json"  # beside it while a run is not finished
Line = Mapping[str, Any]


def part_name(number: int, count: int) -> str:
    """File that shard `number` of `count` writes; a run in one part writes the manifest itself."""
    return NAME if count == 1 else f"manifest.{number}-of-{count}.jsonl"


def encode(line: Line) -> str:
    """One line, its line feed included."""
    text = json.dumps(line, ensure_ascii=False)
    # File names need not be valid Unicode, nor free of what some programs take for a line's end.
    return (text if text.isprintable() else json.dumps(line)) + "\n"


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a manifest or of a part; none where there is no such file. A line cut short is left out.

    Raises:
        DataError: the file cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    return [line for line in map(_decode, text.split("\n")) if line is not None]


def write_lines(path: Path, lines: Iterable[Line]) -> None:
    """Writes a manifest whole: in the order of the indices, one line a file.

    Raises:
        OutputError: it cannot be written.
    """
    by_file = {line["file"]: line for line in lines}
    ordered = sorted(by_file.values(), key=lambda line: line["index"])
    content = "".join(map(encode, ordered)).encode()
    write_atomic(path, lambda file: file.write(content))


def _decode(text: str) -> dict[str, Any] | None:
    try:
        line = json.loads(text)
    except (ValueError, RecursionError):
        return None
    complete = isinstance(line, dict) and isinstance(line.get("file"), str) and isinstance(line.get("index"), int)
    return line if complete else None
