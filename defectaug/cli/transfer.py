"""`defectaug transfer`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from defectaug.cli.options import OUTPUT_PANEL, Debug, Device, Model, given
from defectaug.cli.progress import Progress


def transfer(
    src: Annotated[Path, typer.Argument(metavar="SRC", help="Image (or folder) that gets the defect.")],
    ref: Annotated[Path, typer.Argument(metavar="REF", help="Image (or folder) that shows the defect.")],
    model: Model = None,
    defect: Annotated[
        str | None,
        typer.Option(
            help="Defect of REF; the normal class restores SRC.", show_default="REF's folder, else recognised"
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Image or folder to write.",
            show_default="SRC__REF.png in the current folder",
            metavar="FILE|DIR",
            rich_help_panel=OUTPUT_PANEL,
        ),
    ] = None,
    mask: Annotated[
        Path | None,
        typer.Option(
            help="Write the mask of the defect, too; a folder where several images are made.",
            metavar="FILE",
            rich_help_panel=OUTPUT_PANEL,
        ),
    ] = None,
    n_styles: Annotated[
        int | None,
        typer.Option(
            help="Keep REF's shape and draw K styles.",
            show_default="REF's own style",
            min=1,
            metavar="K",
        ),
    ] = None,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Replace the images of these names.", rich_help_panel=OUTPUT_PANEL),
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of the styles.")] = 0,
    device: Device = None,
    debug: Debug = False,
) -> None:
    """Put REF's defect on SRC, and keep SRC's background."""
    from defectaug.synthesis.transfer import transfer as run

    with Progress("transfer") as progress:
        written = run(
            src,
            ref,
            model=model,
            defect=defect,
            out=out,
            mask=mask,
            n_styles=n_styles,
            overwrite=overwrite,
            seed=seed,
            progress=progress,
            say=progress.say,
            **given(device=device),
        )
    for path in written:
        print(path)
