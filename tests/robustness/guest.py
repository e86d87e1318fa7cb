"""Tiny data in a process of its own; trains by FOLDER/settings.yaml.

`python guest.py FOLDER`, or `as_a_guest`, calls the four public functions and prints, as JSON, what of the process they
have changed: environment, hooks, signal handlers, and calls of libc's `mallopt`. `as_on_windows` runs the four commands
where, as there, are no `resource` and `fcntl`, and folders cannot be opened.
"""

from __future__ import annotations

import ctypes
import importlib.abc
import json
import os
import signal
import sys
import threading
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

from fake_model import data

MISSING = ("resource", "fcntl")
IMPORTERS = ("defectaug", "filelock")
"""What must find them missing."""
SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Blocked(importlib.abc.MetaPathFinder):
    """Finds none of some modules."""

    def find_spec(self, name: str, path: object, target: object = None) -> ModuleSpec | None:
        if name in MISSING:
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)
        return None


def become_windows() -> None:
    """Takes away what Windows lacks, also from where it was imported before."""
    for name in [name for name in sys.modules if name.partition(".")[0] in (*MISSING, *IMPORTERS)]:
        del sys.modules[name]
    sys.meta_path.insert(0, Blocked())
    real = os.open

    def open_file(path: Any, *arguments: Any, **options: Any) -> int:
        if os.path.isdir(path):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *arguments, **options)

    os.open = open_file


def count_mallopt() -> list[str]:
    """Notes every library that is opened to call `mallopt` in it."""
    calls: list[str] = []
    real = ctypes.CDLL

    class Noted(real):  # type: ignore[misc, valid-type]
        def __getattr__(self, name: str) -> Any:
            if name == "mallopt":
                calls.append(name)
            return super().__getattr__(name)

    ctypes.CDLL = Noted  # type: ignore[misc]
    return calls


def state() -> dict[str, str]:
    """What a program that calls the functions has set up for itself."""
    found = {"excepthook": repr(sys.excepthook), "unraisablehook": repr(sys.unraisablehook)}
    found["threading.excepthook"] = repr(threading.excepthook)
    found |= {str(number): repr(signal.getsignal(number)) for number in SIGNALS}
    return found | {f"${name}": value for name, value in os.environ.items() if not name.startswith("TORCH")}


def call_functions(root: Path, out: Path) -> None:
    import defectaug

    options = {"preset": "paper", "image_size": 32, "steps": 2, "device": "cpu"}
    model = defectaug.train(root, out=out / "model", config=out / "settings.yaml", **options)
    defectaug.synthesize(model=model, product="A", defect="scratch", n=2, masks=True, out=out / "new")
    source, reference = (next((root / name).iterdir()) for name in ("A/normal", "A/scratch"))
    defectaug.transfer(source, reference, model=model, out=out / "one.png")
    defectaug.evaluate(root, out / "new", only=("counts", "memorisation"), json=out / "numbers.json")


def run_commands(root: Path, out: Path) -> None:
    from defectaug.cli.main import main

    model = out / "model"
    train = f"train {root} --out {model} --preset paper --image-size 32 --steps 2 --config {out}/settings.yaml"
    commands = [
        train,
        f"{train} --dry-run",
        f"synthesize --model {model} --product A --defect scratch --n 2 --out {out / 'new'}",
        f"transfer {root / 'A/normal'} {root / 'A/scratch'} --model {model} --out {out / 'many'}",
        f"evaluate {root} {out / 'new'} --only counts,memorisation --json {out / 'numbers.json'}",
    ]
    for command in commands:
        try:
            main(command.split())
        except SystemExit as left:
            if left.code:
                raise


def as_on_windows(place: Path) -> None:
    """The four commands."""
    root = data(place / "data")
    become_windows()
    run_commands(root, place)


def as_a_guest(place: Path) -> None:
    """The four functions."""
    root = data(place / "data")
    for name in [name for name in sys.modules if name.partition(".")[0] in IMPORTERS]:
        del sys.modules[name]
    calls, before = count_mallopt(), state()
    call_functions(root, place)
    after = state()
    print(json.dumps(sorted(name for name in {*before, *after} if before.get(name) != after.get(name)) + calls))


if __name__ == "__main__":
    as_a_guest(Path(sys.argv[1]))
