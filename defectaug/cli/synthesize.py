"""`defectaug synthesize`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from defectaug.cli.options import (
    DATA_PANEL,
    MACHINE_PANEL,
    OUTPUT_PANEL,
    ClassMapFile,
    Debug,
    Device,
    Model,
    Normal,
    Overwrite,
    given,
)
from defectaug.cli.progress import Progress

_WHAT_PANEL = "What to make"


def synthesize(
    model: Model = None,
    source: Annotated[
        Path | None,
        typer.Option(
            help="Folder whose normal images are painted on.",
            show_default="the data the model was trained on",
            metavar="DATA",
            rich_help_panel=DATA_PANEL,
        ),
    ] = None,
    product: Annotated[
        str | None, typer.Option(help="Product to make.", show_default="all", rich_help_panel=_WHAT_PANEL)
    ] = None,
    defect: Annotated[
        str | None, typer.Option(help="Defect to make.", show_default="all", rich_help_panel=_WHAT_PANEL)
    ] = None,
    n: Annotated[
        int | None,
        typer.Option(
            "--n",
            help="New images a product and defect; with --balance: real and new ones together.",
            show_default="100; with --balance: as many as the fullest cell has",
            min=1,
            rich_help_panel=_WHAT_PANEL,
        ),
    ] = None,
    balance: Annotated[
        bool,
        typer.Option(
            "--balance",
            help="Give back a whole balanced data set, the real images included (done by itself where "
            "neither --product nor --defect is given).",
            rich_help_panel=_WHAT_PANEL,
        ),
    ] = False,
    reference: Annotated[
        Path | None,
        typer.Option(
            help="Take shape and style from these real defective images, also of other products.",
            metavar="DIR",
            rich_help_panel=_WHAT_PANEL,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the images.",
            show_default="out/NAME, named after the model and the cell",
            metavar="DIR",
            rich_help_panel=OUTPUT_PANEL,
        ),
    ] = None,
    masks: Annotated[
        bool, typer.Option("--masks", help="Write defect masks to OUT.masks.", rich_help_panel=OUTPUT_PANEL)
    ] = False,
    overwrite: Overwrite = False,
    seed: Annotated[int, typer.Option(help="Seed of all random choices.")] = 0,
    device: Device = None,
    shard: Annotated[
        str | None,
        typer.Option(
            help="Make the I-th of N parts (I from 1); all parts share OUT.",
            metavar="I/N",
            rich_help_panel=MACHINE_PANEL,
        ),
    ] = None,
    batch_size: Annotated[
        int, typer.Option(help="Images a pass through the network.", min=1, rich_help_panel=MACHINE_PANEL)
    ] = 16,
    class_map: ClassMapFile = None,
    normal: Normal = None,
    debug: Debug = False,
) -> None:
    """Paint new defects on normal images, of one cell or as a whole balanced data set."""
    from defectaug.synthesis.api import synthesize as run

    with Progress("synthesize") as progress:
        summary = run(
            model=model,
            source=source,
            product=product,
            defect=defect,
            n=n,
            balance=balance,
            reference=reference,
            out=out,
            masks=masks,
            overwrite=overwrite,
            seed=seed,
            shard=shard,
            batch_size=batch_size,
            class_map=class_map,
            normal=normal,
            progress=progress,
            say=progress.say,
            **given(device=device),
        )
    print(summary.describe(), file=sys.stderr)
    print(summary.out)
