"""Options that several commands share, declared once. `--help` imports this: no torch, no NumPy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from defectaug.cli.failures import Session

DATA_PANEL = "Data"
OUTPUT_PANEL = "Output"
MACHINE_PANEL = "Machine"


def _debug(context: typer.Context, value: bool) -> bool:
    if value:
        context.ensure_object(Session).debug = True
    return value


Debug = Annotated[
    bool,
    typer.Option(
        "--debug",
        help="Show the traceback of an error.",
        callback=_debug,
        is_eager=True,
        rich_help_panel=MACHINE_PANEL,
    ),
]
Model = Annotated[
    Path | None,
    typer.Option(
        "--model",
        help="Folder of the trained model.",
        show_default="the only or the newest one under ./models",
        metavar="DIR",
    ),
]
Device = Annotated[
    str | None,
    typer.Option(
        "--device",
        help="auto, cpu, cuda or cuda:N.",
        show_default="auto",
        rich_help_panel=MACHINE_PANEL,
    ),
]
ClassMapFile = Annotated[
    Path | None,
    typer.Option(
        "--map",
        help="Class map (YAML) that renames, merges and drops classes.",
        show_default="DATA/defectaug.yaml where there is one",
        metavar="FILE",
        rich_help_panel=DATA_PANEL,
    ),
]
Normal = Annotated[
    str | None,
    typer.Option(
        "--normal",
        help="Name of the folder of normal images.",
        show_default="normal, good, ok, free or defect_free",
        metavar="NAME",
        rich_help_panel=DATA_PANEL,
    ),
]
Overwrite = Annotated[
    bool,
    typer.Option(
        "--overwrite",
        help="Replace what an earlier run of defectaug left there; other files stay.",
        rich_help_panel=OUTPUT_PANEL,
    ),
]


def given(**options: Any) -> dict[str, Any]:
    """The options that were given: what is left out keeps the default of the function behind."""
    return {name: value for name, value in options.items() if value is not None}
