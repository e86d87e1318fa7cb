"""`defectaug evaluate`."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
from defectaug.cli.progress import Progress

if TYPE_CHECKING:
    from defectaug.benchmark.settings import StudySettings

_PARTS_PANEL = "What to measure"
_STUDY_PANEL = "The study: does it help a classifier?"


def evaluate(
    real: Annotated[Path, typer.Argument(metavar="REAL", help="Folder of real images.")],
    synthetic: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[SYNTHETIC]...", help="Folders that synthesize or another tool has left."),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(
            help="Bundle: its images are counted, and real defects located by restoring.",
            show_default="none",
            metavar="DIR",
        ),
    ] = None,
    test: Annotated[
        Path | None,
        typer.Option(
            help="Further real images, which nothing was trained on.",
            show_default="a part of REAL",
            metavar="DATA",
            rich_help_panel=DATA_PANEL,
        ),
    ] = None,
    masks: Annotated[
        Path | None,
        typer.Option(
            help="Masks of the images, DIR/PRODUCT/DEFECT/NAME.png.",
            show_default="those beside the images",
            metavar="DIR",
            rich_help_panel=DATA_PANEL,
        ),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(
            help="Pretrained weights of Inception-v3 and AlexNet.",
            show_default="fetched, where there is a network",
            metavar="FILE|DIR",
            rich_help_panel=MACHINE_PANEL,
        ),
    ] = None,
    only: Annotated[
        str | None,
        typer.Option(
            help="Only these of counts, fidelity, memorisation, correctness, study.",
            metavar="PART,...",
            rich_help_panel=_PARTS_PANEL,
        ),
    ] = None,
    skip: Annotated[
        str | None, typer.Option(help="All but these.", metavar="PART,...", rich_help_panel=_PARTS_PANEL)
    ] = None,
    json: Annotated[
        Path | None,
        typer.Option(help="Write every number as JSON.", metavar="FILE", rich_help_panel=OUTPUT_PANEL),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(
            help="Write a page with tables, plots and images.", metavar="FILE.html", rich_help_panel=OUTPUT_PANEL
        ),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            help="Folder for what is computed; the next run takes it up.",
            show_default="JSON.cache, with --json",
            metavar="DIR",
            rich_help_panel=OUTPUT_PANEL,
        ),
    ] = None,
    seeds: Annotated[
        int, typer.Option(help="Runs that a spread is taken over.", min=1, rich_help_panel=_STUDY_PANEL)
    ] = 5,
    classifier: Annotated[
        str | None,
        typer.Option(
            help="small, or any classifier of torchvision's, such as resnet18.",
            show_default="small; with a GPU resnet50",
            metavar="NAME",
            rich_help_panel=_STUDY_PANEL,
        ),
    ] = None,
    sweep: Annotated[
        str | None,
        typer.Option(
            help="Numbers of synthetic images per real one to try, such as 0.5,1,2,4.",
            metavar="X,...",
            rich_help_panel=_STUDY_PANEL,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of all random choices.")] = 0,
    device: Device = None,
    class_map: ClassMapFile = None,
    normal: Normal = None,
    debug: Debug = False,
) -> None:
    """Measure synthetic images against real ones: are they good, and do they help a classifier?"""
    from defectaug.reporting.api import evaluate as run

    with _Stages() as stages:
        result = run(
            real,
            tuple(synthetic or ()),
            model=model,
            test=test,
            masks=masks,
            weights=weights,
            json=json,
            report=report,
            cache=cache,
            only=_listed(only),
            skip=_listed(skip),
            seeds=seeds,
            seed=seed,
            study=_study_settings(classifier, sweep, device),
            class_map=class_map,
            normal=normal,
            command=sys.argv,
            stages=stages,
            say=stages.say,
            **given(device=device),
        )
    tty = sys.stdout.isatty()
    print(result.describe(colour=tty, **({"width": shutil.get_terminal_size().columns} if tty else {})))


class _Stages:
    """Progress of one stage after another."""

    def __init__(self) -> None:
        self._now: Progress | None = None

    def __enter__(self) -> _Stages:
        return self

    def __exit__(self, *error: object) -> None:
        self._close()

    def __call__(self, stage: str) -> Callable[[int, int], None]:
        self._close()
        self._now = Progress(stage, unit="")
        return self._now

    def say(self, line: str) -> None:
        (self._now or Progress("")).say(line)

    def _close(self) -> None:
        if self._now is not None:
            self._now.__exit__(None, None, None)


def _listed(text: str | None) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip()) if text else ()


def _study_settings(classifier: str | None, sweep: str | None, device: str | None) -> StudySettings | None:
    """Settings of the study where an option asks for other ones, else None."""
    from defectaug.errors import ConfigError

    if classifier is None and sweep is None:
        return None
    from dataclasses import replace

    from defectaug.benchmark.api import default_settings

    try:
        amounts = tuple(float(amount) for amount in _listed(sweep))
    except ValueError as error:
        raise ConfigError(f"--sweep {sweep}: must be numbers with commas between them, such as 0.5,1,2") from error
    settings = default_settings(device or "auto")
    return replace(settings, sweep=amounts, **given(classifier=classifier))
