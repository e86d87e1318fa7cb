"""Lines for the user, and how much of a job is done: what long jobs call, and who listens."""

from __future__ import annotations

from collections.abc import Callable

Log = Callable[[str], None]
"""Takes a line for the user."""
Progress = Callable[[int, int], None]
"""Takes how much is done, of how much in all."""
Stages = Callable[[str], Progress]
"""Gives what shows the progress of a stage of that name."""


def unheard(*told: object) -> None:
    """Nobody listens to a line, or to how much is done."""


def silent(stage: str) -> Progress:
    """Shows nothing."""
    return unheard


def following(progress: Progress, before: int, total: int) -> Progress:
    """Shows a part of a job of `total`, of which `before` is done already."""
    return lambda done, _: progress(before + done, total)
