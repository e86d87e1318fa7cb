"""Stops a program at a chosen call."""

from __future__ import annotations

import pytest


class Stop(BaseException):
    """What a kill is to the code that it hits: nothing after it runs."""


def stop_at(monkeypatch: pytest.MonkeyPatch, module: object, name: str, call: int) -> None:
    """Makes the given call of a function the last thing that happens."""
    real, calls = getattr(module, name), []

    def last(*arguments: object, **options: object) -> object:
        calls.append(1)
        if len(calls) == call:
            raise Stop
        return real(*arguments, **options)

    monkeypatch.setattr(module, name, last)
