"""`defectaug evaluate`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from defectaug.cli.options import OUTPUT_PANEL, ClassMapFile, Debug, Model, Normal


def evaluate(
    real: Annotated[Path, typer.Argument(metavar="REAL", help="Folder of real images.")],
    synthetic: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[SYNTHETIC]...", help="Folders that synthesize has left."),
    ] = None,
    model: Model = None,
    json: Annotated[
        Path | None,
        typer.Option(help="Write the numbers as JSON.", metavar="FILE", rich_help_panel=OUTPUT_PANEL),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(
            help="Write an HTML report (not in this version).",
            metavar="FILE.html",
            rich_help_panel=OUTPUT_PANEL,
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(help="Runs that a spread is taken over.", min=1)] = 5,
    class_map: ClassMapFile = None,
    normal: Normal = None,
    debug: Debug = False,
) -> None:
    """Count and compare real and synthetic images."""
    from defectaug.evaluation.api import evaluate as run

    result = run(
        real,
        tuple(synthetic or ()),
        model=model,
        json=json,
        report=report,
        seeds=seeds,
        class_map=class_map,
        normal=normal,
        say=lambda line: print(line, file=sys.stderr),
    )
    print(result.describe())
