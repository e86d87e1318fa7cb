"""`defectaug evaluate`."""

from __future__ import annotations

import math
import shutil
import sys
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
    Seed,
    flag,
    given,
    option,
)
from defectaug.cli.progress import Stages

if TYPE_CHECKING:
    from defectaug.benchmark.settings import StudySettings

_PARTS = "What to measure"
_STUDY = "The study: does it help a classifier?"
_SYNTHETIC = typer.Argument(metavar="SYNTHETIC", help="Folders that synthesize or another tool has left.")
_MODEL = option("Bundle: its images are counted, and real defects located by restoring.", default="none", metavar="DIR")
_TEST = option(
    "Further real images, which nothing was trained on.",
    default="what train --holdout kept away, else a part of REAL", metavar="DATA", panel=DATA_PANEL,
)  # fmt: skip
_MASKS = option(
    "Masks of the images, DIR/PRODUCT/DEFECT/NAME.png.",
    default="those beside the images", metavar="DIR", panel=DATA_PANEL,
)  # fmt: skip
_WEIGHTS = option(
    "Pretrained weights of Inception-v3 and AlexNet, and of the --classifier (NAME-*.pth).",
    default="fetched, where there is a network", metavar="FILE|DIR", panel=MACHINE_PANEL,
)  # fmt: skip
_ONLY = option("Only these of counts, fidelity, memorisation, correctness, study.", metavar="PART,...", panel=_PARTS)
_REPORT = option("Write a page with tables, plots and images.", metavar="FILE.html", panel=OUTPUT_PANEL)
_CACHE = option(
    "Folder for what is computed; the next run takes it up.",
    default="JSON.cache, with --json", metavar="DIR", panel=OUTPUT_PANEL,
)  # fmt: skip
_CLASSIFIER = option(
    "efficientnet-lite1 (frozen), or any of torchvision's or timm's, such as resnet18.",
    default="efficientnet-lite1; with a GPU resnet50", metavar="NAME", panel=_STUDY,
)  # fmt: skip
_CONTROL = flag(
    "Also try cut and paste: training defects, cut out by masks (--masks, or the --model's own).", "--control",
    panel=_STUDY,
)  # fmt: skip
_SWEEP = option("Numbers of synthetic images per real one to try, such as 0.5,1,2,4.", metavar="X,...", panel=_STUDY)


EXAMPLES = (
    "defectaug evaluate ./data ./augmented --report report.html",
    "defectaug evaluate ./data ./augmented ./others --skip study --json numbers.json",
)


def evaluate(
    real: Annotated[Path, typer.Argument(metavar="REAL", help="Folder of real images.")],
    synthetic: Annotated[list[Path] | None, _SYNTHETIC] = None,
    model: Annotated[Path | None, _MODEL] = None,
    test: Annotated[Path | None, _TEST] = None,
    masks: Annotated[Path | None, _MASKS] = None,
    weights: Annotated[Path | None, _WEIGHTS] = None,
    only: Annotated[str | None, _ONLY] = None,
    skip: Annotated[str | None, option("All but these.", metavar="PART,...", panel=_PARTS)] = None,
    json: Annotated[Path | None, option("Write every number as JSON.", metavar="FILE", panel=OUTPUT_PANEL)] = None,
    report: Annotated[Path | None, _REPORT] = None,
    cache: Annotated[Path | None, _CACHE] = None,
    seeds: Annotated[int, option("Runs that a spread is taken over.", least=1, metavar="N", panel=_STUDY)] = 5,
    classifier: Annotated[str | None, _CLASSIFIER] = None,
    sweep: Annotated[str | None, _SWEEP] = None,
    control: Annotated[bool, _CONTROL] = False,
    seed: Seed = 0,
    device: Device = None,
    class_map: ClassMapFile = None,
    normal: Normal = None,
    debug: Debug = False,
) -> None:
    """Measure synthetic images against real ones: are they good, and do they help a classifier?"""
    options = given(locals())
    for name in ("classifier", "sweep"):
        options.pop(name, None)
    options |= {"synthetic": tuple(synthetic or ()), "only": _listed(only), "skip": _listed(skip)}
    from defectaug.reporting.api import evaluate as run

    with Stages() as stages:
        study = _study_settings(classifier, sweep, device)
        result = run(**options, study=study, command=sys.argv, stages=stages, log=stages.log)
    tty = sys.stdout.isatty()
    print(result.describe(colour=tty, **({"width": shutil.get_terminal_size().columns} if tty else {})))


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
    except ValueError:
        amounts = (math.nan,)
    if not all(0 < amount < math.inf for amount in amounts):
        raise ConfigError(f"--sweep {sweep}: must be numbers above 0 with commas between them, such as 0.5,1,2")
    settings = replace(default_settings(device or "auto"), sweep=amounts)
    return settings if classifier is None else replace(settings, classifier=classifier)
