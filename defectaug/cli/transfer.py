"""`defectaug transfer`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from defectaug.cli.options import OUTPUT_PANEL, Debug, Device, Model, flag, given, option
from defectaug.cli.progress import Progress

_DEFECT = option(
    "Defect of REF; the normal class restores SRC.", default="REF's folder, else recognised", metavar="NAME"
)
_OUT = option(
    "Image or folder to write.",
    default="SRC__REF.png in the current folder", metavar="FILE|DIR", panel=OUTPUT_PANEL,
)  # fmt: skip
_MASK = option(
    "Write the mask of the defect, too; a folder where several images are made.", metavar="FILE", panel=OUTPUT_PANEL
)
_STYLES = option("Keep REF's shape and draw K styles.", default="REF's own style", least=1, metavar="K")
_REGION = option(
    "What of SRC a defect may cover: none: all; auto: the product, not what surrounds it; or masks, as of synthesize.",
    default="none", metavar="auto|none|DIR",
)  # fmt: skip
_STRENGTH = option("Factors on the defect's contrast, drawn from this range.", default="1:1", metavar="LO:HI")
_SIZE = option("Factors on the defect's sides, drawn from this range.", default="1:1", metavar="LO:HI")
_OVERWRITE = flag("Replace the images of these names.", "--overwrite", panel=OUTPUT_PANEL)


EXAMPLES = (
    "defectaug transfer part.png scratch.png --out scratched.png --mask scratched_mask.png",
    "defectaug transfer ./normal ./scratches --out ./scratched",
    "defectaug transfer part.png scratch.png --defect normal --out mended.png",
)


def transfer(
    src: Annotated[Path, typer.Argument(metavar="SRC", help="Image (or folder) that gets the defect.")],
    ref: Annotated[Path, typer.Argument(metavar="REF", help="Image (or folder) that shows the defect.")],
    model: Model = None,
    defect: Annotated[str | None, _DEFECT] = None,
    out: Annotated[Path | None, _OUT] = None,
    mask: Annotated[Path | None, _MASK] = None,
    n_styles: Annotated[int | None, _STYLES] = None,
    region: Annotated[str | None, _REGION] = None,
    strength: Annotated[str | None, _STRENGTH] = None,
    size: Annotated[str | None, _SIZE] = None,
    overwrite: Annotated[bool, _OVERWRITE] = False,
    seed: Annotated[int, option("Seed of styles and factors.", metavar="N")] = 0,
    device: Device = None,
    debug: Debug = False,
) -> None:
    """Put REF's defect on SRC, and keep SRC's background."""
    options = given(locals())
    from defectaug.synthesis.transfer import transfer as run

    with Progress("transfer") as progress:
        written = run(**options, progress=progress, log=progress.log)
    for path in written:
        print(path)
