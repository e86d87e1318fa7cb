"""Lines that raise an error, and which of them a measured run has reached."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

Line = tuple[Path, int, str]


class Fidelity(Protocol):
    """What `coverage` has measured."""

    def lines(self, filename: str) -> list[int] | None:
        """Lines of a file that were run."""
        ...


def reached(package: Path, measured: Fidelity) -> tuple[list[Line], list[Line]]:
    """The lines with a `raise` in a folder of programs: those that were run, and the others."""
    seen: list[Line] = []
    unseen: list[Line] = []
    for path in sorted(package.rglob("*.py")):
        run = set(measured.lines(str(path)) or ())
        for number, text in _raises(path.read_text(encoding="utf-8")):
            (seen if number in run else unseen).append((path, number, text))
    return sorted(seen), sorted(unseen)


def _raises(program: str) -> Iterator[tuple[int, str]]:
    lines = program.splitlines()
    for node in ast.walk(ast.parse(program)):
        if isinstance(node, ast.Raise):
            yield node.lineno, lines[node.lineno - 1].strip()
