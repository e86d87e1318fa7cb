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
    Seed,
    flag,
    given,
    option,
)
from defectaug.cli.progress import Progress
from defectaug.errors import ConfigError

_WHAT = "What to make"
_SOURCE = option(
    "Folder whose normal images are painted on.",
    default="the data the model was trained on", metavar="DATA", panel=DATA_PANEL,
)  # fmt: skip
_N = option(
    "New images a product and defect; with --balance: real and new ones together.", "--n",
    default="100; with --balance: as many as the fullest category has", least=1, metavar="N", panel=_WHAT,
)  # fmt: skip
_BALANCE = flag(
    "Give back a whole balanced data set, the real images included (done by itself where neither --product nor "
    "--defect is given).",
    "--balance", panel=_WHAT,
)  # fmt: skip
_REFERENCE = option(
    "Take shape and style from these real defective images, also of other products.", metavar="DIR", panel=_WHAT
)
_REGION = option(
    "Where a defect may lie: auto: on the product, not on what surrounds it; none: anywhere; a folder of masks named "
    "as the sources are (255 = allowed), or one mask for all.",
    default="auto", metavar="auto|none|DIR", panel=_WHAT,
)  # fmt: skip
_STRENGTH = option(
    "Factors on the contrast of defects, drawn from this range; 1 = as learnt.",
    default="1:1", metavar="LO:HI", panel=_WHAT,
)  # fmt: skip
_SIZE = option("Factors on the sides of defects, as --strength.", default="1:1", metavar="LO:HI", panel=_WHAT)
_MAX_DEFECTS = option("Paint up to K defects on one image.", default="1", least=1, metavar="K", panel=_WHAT)
_KEEP = option(
    "good: draw anew what fails the acceptance test; all: keep it. The manifest tells why.",
    default="good", metavar="good|all", panel=_WHAT,
)  # fmt: skip
_OUT = option(
    "Folder for the images.",
    default="out/NAME, named after the model and the category", metavar="DIR", panel=OUTPUT_PANEL,
)  # fmt: skip
_EXPORT = option(
    "Annotations in further formats, beside OUT: coco, yolo, mvtec, joined by commas; with masks.",
    metavar="FORMATS", panel=OUTPUT_PANEL,
)  # fmt: skip
_REPORT = option(
    "A page to look the images through, and to list those to take away; thumbnails beside it; with masks.",
    metavar="FILE.html", panel=OUTPUT_PANEL,
)  # fmt: skip
_DROP = option(
    "Take the images that this file lists away from OUT, and make others in their place, as OUT was made.",
    metavar="LIST", panel=OUTPUT_PANEL,
)  # fmt: skip
_SHARD = option("Make the I-th of N parts (I from 1); all parts share OUT.", metavar="I/N", panel=MACHINE_PANEL)

_BATCH_SIZE = option("Images a pass through the network.", least=1, metavar="N", panel=MACHINE_PANEL)
EXAMPLES = (
    "defectaug synthesize --product A --defect scratch --n 4000 --masks --out ./scratches",
    "defectaug synthesize --balance --out ./augmented --export coco,yolo --report look.html",
    "defectaug synthesize --drop rejected.txt --out ./augmented",
)


def synthesize(
    context: typer.Context,
    model: Model = None,
    source: Annotated[Path | None, _SOURCE] = None,
    product: Annotated[str | None, option("Product to make.", default="all", metavar="NAME", panel=_WHAT)] = None,
    defect: Annotated[str | None, option("Defect to make.", default="all", metavar="NAME", panel=_WHAT)] = None,
    n: Annotated[int | None, _N] = None,
    balance: Annotated[bool, _BALANCE] = False,
    reference: Annotated[Path | None, _REFERENCE] = None,
    region: Annotated[str | None, _REGION] = None,
    strength: Annotated[str | None, _STRENGTH] = None,
    size: Annotated[str | None, _SIZE] = None,
    max_defects: Annotated[int | None, _MAX_DEFECTS] = None,
    keep: Annotated[str | None, _KEEP] = None,
    out: Annotated[Path | None, _OUT] = None,
    masks: Annotated[bool, flag("Write defect masks to OUT.masks.", "--masks", panel=OUTPUT_PANEL)] = False,
    export: Annotated[str | None, _EXPORT] = None,
    report: Annotated[Path | None, _REPORT] = None,
    drop: Annotated[Path | None, _DROP] = None,
    overwrite: Overwrite = False,
    seed: Seed = 0,
    device: Device = None,
    shard: Annotated[str | None, _SHARD] = None,
    batch_size: Annotated[int, _BATCH_SIZE] = 16,
    class_map: ClassMapFile = None,
    normal: Normal = None,
    debug: Debug = False,
) -> None:
    """Paint new defects on normal images, of one category or as a whole balanced data set."""
    options = given(locals())
    del options["context"]
    from defectaug.synthesis import api

    with Progress("synthesize") as progress:
        if drop is not None:
            _refuse_with_drop(context)
            kept = {name: options[name] for name in ("out", "model", "device") if name in options}
            summary = api.refill(drop, **kept, progress=progress, log=progress.log)
        else:
            summary = api.synthesize(**options, progress=progress, log=progress.log)
    print(summary.describe(), file=sys.stderr)
    print(summary.out)


def _refuse_with_drop(context: typer.Context) -> None:
    """Raises ConfigError where options are given that `--drop` takes from the run that made the folder."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    given_here = {name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"}
    if "out" not in given_here:
        raise ConfigError("--drop: name the folder that the images are in by --out")
    if others := sorted(given_here - {"drop", "out", "model", "device", "debug"}):
        option = others[0].replace("_", "-")
        raise ConfigError(f"--{option}: not with --drop, which makes images in the way in which OUT was made")
