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
    flag,
    given,
    option,
)
from defectaug.cli.process import prepare_training
from defectaug.cli.progress import Stages
from defectaug.errors import ConfigError

_LENGTH = "Length of the training"
_OUT = option("Folder of the model.", default="models/NAME, named after DATA", metavar="DIR", panel=OUTPUT_PANEL)
_PRESET = option(
    "Recipe: small, tiny for first tries, paper, ablation_a to ablation_e, or a method to compare with: "
    "cutpaste, stylegan2, stargan2, biggan, mokady, defectgan.",
    default="auto: small", metavar="NAME",
)  # fmt: skip
_SIZE = option("Side of the square the model works at, in pixels.", default="as in the recipe", least=1, metavar="N")
_STEPS = option("Training steps.", default="as in the recipe", least=1, metavar="N", panel=_LENGTH)
_PRECISION = option("auto, fp32 or bf16.", default="auto", metavar="NAME", panel=MACHINE_PANEL)
_CONFIG = option("Settings (YAML); a flag beats the file, the file beats the recipe.", metavar="FILE")
_PRODUCT = option(
    "Product name of a folder that holds one product.", default="name of DATA", metavar="NAME", panel=DATA_PANEL
)
_HOLDOUT = option(
    "Keep test images away from training: a share of each category, such as 0.2, or a folder of them.",
    default="none", metavar="SHARE|DIR", panel=DATA_PANEL,
)  # fmt: skip
_STRICT = flag("Stop at a file that cannot be read (else skip it).", "--strict", panel=DATA_PANEL)


EXAMPLES = (
    "defectaug train ./data --dry-run",
    "defectaug train ./data --out models/parts --minutes 30",
    "defectaug train ./MTD --map mtd.yaml",
    "defectaug train ./data --resume",
)


def train(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Folder of images: one folder a product and defect.")],
    out: Annotated[Path | None, _OUT] = None,
    preset: Annotated[str | None, _PRESET] = None,
    image_size: Annotated[int | None, _SIZE] = None,
    steps: Annotated[int | None, _STEPS] = None,
    minutes: Annotated[float | None, option("Training time, instead of --steps.", metavar="M", panel=_LENGTH)] = None,
    config: Annotated[Path | None, _CONFIG] = None,
    resume: Annotated[
        bool, flag("Go on with an interrupted run, with its settings.", "--resume", panel=_LENGTH)
    ] = False,
    dry_run: Annotated[
        bool, flag("Read everything, print counts, problems and the plan; stop.", "--dry-run")
    ] = False,
    seed: Annotated[int | None, option("Seed of all random choices.", default="0", metavar="N")] = None,
    device: Device = None,
    precision: Annotated[str | None, _PRECISION] = None,
    class_map: ClassMapFile = None,
    normal: Normal = None,
    product: Annotated[str | None, _PRODUCT] = None,
    strict: Annotated[bool, _STRICT] = False,
    holdout: Annotated[str | None, _HOLDOUT] = None,
    debug: Debug = False,
) -> None:
    """Learn the defects of all products in DATA; leaves a model folder."""
    options = given(locals())
    if steps is not None and minutes is not None:
        raise ConfigError("--steps and --minutes both set the length of the training: give one of them")
    prepare_training()
    from defectaug.training.api import train as run

    with Stages(patience=3.0, unit="img", training="step") as stages:
        folder = run(**options, log=stages.log, stages=stages)
    if folder is not None:
        print(folder)
