"""Options that several commands share, and how options are declared. `--help` imports this: no torch, no NumPy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from defectaug.cli.failures import Session

DATA_PANEL = "Data"
OUTPUT_PANEL = "Output"
MACHINE_PANEL = "Machine"
NO_VALUE = " "  # shown for the value of an option that takes none


def option(
    help: str,
    *names: str,
    default: str | bool = True,
    metavar: str | None = None,
    panel: str | None = None,
    least: float | None = None,
    callback: Callable[..., Any] | None = None,
) -> Any:
    """Declares an option.

    Args:
        help: what it does.
        names: its names, where they are not the parameter's.
        default: shown as its default, where None stands for something.
        metavar: shown for its value.
        panel: heading of the help that it stands under.
        least: least value of a number.
        callback: called at once with the context and the value, before other options are read.
    """
    return typer.Option(
        *names, help=help, show_default=default, metavar=metavar, rich_help_panel=panel, min=least,
        callback=callback, is_eager=callback is not None,
    )  # fmt: skip


def flag(
    help: str,
    *names: str,
    panel: str | None = None,
    callback: Callable[..., Any] | None = None,
) -> Any:
    """Declares an option without a value; arguments as of `option`."""
    return option(help, *names, metavar=NO_VALUE, panel=panel, callback=callback)


def _debug(context: typer.Context, value: bool) -> bool:
    if value:
        context.ensure_object(Session).debug = True
    return value


Debug = Annotated[bool, flag("Show the traceback of an error.", "--debug", callback=_debug, panel=MACHINE_PANEL)]
Model = Annotated[
    Path | None,
    option(
        "Folder of the trained model.", "--model", default="the only or the newest one under ./models", metavar="DIR"
    ),
]
Device = Annotated[
    str | None,
    option("auto, cpu, cuda, cuda:N or mps.", "--device", default="auto", metavar="NAME", panel=MACHINE_PANEL),
]
ClassMapFile = Annotated[
    Path | None,
    option(
        "Class map (YAML) that renames, merges and drops classes.", "--map",
        default="DATA/defectaug.yaml where there is one", metavar="FILE", panel=DATA_PANEL,
    ),
]  # fmt: skip
Normal = Annotated[
    str | None,
    option(
        "Name of the folder of normal images.", "--normal",
        default="normal, good, ok, free or defect_free, else the only one whose name says so",
        metavar="NAME", panel=DATA_PANEL,
    ),
]  # fmt: skip
Overwrite = Annotated[
    bool,
    flag("Replace what an earlier run of defectaug left there; other files stay.", "--overwrite", panel=OUTPUT_PANEL),
]
Seed = Annotated[int, option("Seed of all random choices.", "--seed", metavar="N")]


def given(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that were given, as arguments of the function behind the command, which has the same names: what is
    left out keeps the function's default, so that a settings file can stand below the flags."""
    return {name: value for name, value in options.items() if value is not None and name != "debug"}
