"""`defectaug train`."""

from __future__ import annotations

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
    Normal,
    given,
)
from defectaug.cli.process import prepare_training
from defectaug.cli.progress import Progress
from defectaug.errors import ConfigError

_LENGTH_PANEL = "Length of the training"


def train(
    data: Annotated[Path, typer.Argument(help="Folder of images: one folder a product and defect.")],
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the model.",
            show_default="models/NAME, named after DATA",
            metavar="DIR",
            rich_help_panel=OUTPUT_PANEL,
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(help="Recipe: auto, tiny, small, paper, or an ablation.", show_default="auto"),
    ] = None,
    image_size: Annotated[
        int | None,
        typer.Option(
            help="Side of the square the model works at, in pixels.", show_default="as in the recipe", min=1
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            help="Training steps.", show_default="as in the recipe", min=1, rich_help_panel=_LENGTH_PANEL
        ),
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(help="Training time, instead of --steps.", rich_help_panel=_LENGTH_PANEL),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            help="Settings (YAML); a flag beats the file, the file beats the recipe.", metavar="FILE"
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an interrupted run.", rich_help_panel=_LENGTH_PANEL)
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Read everything, print counts, problems and the plan; stop.")
    ] = False,
    seed: Annotated[int | None, typer.Option(help="Seed of all random choices.", show_default="0")] = None,
    device: Device = None,
    precision: Annotated[
        str | None,
        typer.Option(help="auto, fp32 or bf16.", show_default="auto", rich_help_panel=MACHINE_PANEL),
    ] = None,
    class_map: ClassMapFile = None,
    normal: Normal = None,
    product: Annotated[
        str | None,
        typer.Option(
            help="Product name of a folder that holds one product.",
            show_default="name of DATA",
            metavar="NAME",
            rich_help_panel=DATA_PANEL,
        ),
    ] = None,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict", help="Stop at a file that cannot be read (else skip it).", rich_help_panel=DATA_PANEL
        ),
    ] = False,
    debug: Debug = False,
) -> None:
    """Learn the defects of all products in DATA; leaves a model folder."""
    if steps is not None and minutes is not None:
        raise ConfigError("--steps and --minutes both set the length of the training: give one of them")
    prepare_training()
    from defectaug.training.api import train as run

    with Progress("training", unit="step") as progress:
        folder = run(
            data,
            resume=resume,
            dry_run=dry_run,
            strict=strict,
            say=progress.say,
            show=progress,
            **given(
                out=out,
                preset=preset,
                image_size=image_size,
                steps=steps,
                minutes=minutes,
                config=config,
                seed=seed,
                device=device,
                precision=precision,
                class_map=class_map,
                normal=normal,
                product=product,
            ),
        )
    if folder is not None:
        print(folder)
