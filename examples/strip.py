"""Each transfer: source, reference, result, and the mask of what has changed.

    python examples/strip.py --out strip.png --row MODEL SOURCE REFERENCE [--row ...] [--zoom 2] [--across 2]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import defectaug
from defectaug.cli.failures import Session, guard
from defectaug.io.images import as_channels, read_image

TITLES = ("source", "reference", "result", "mask")
SIDE, GAP, HEAD, WIDE = 128, 4, 18, 24  # pixels; the first is enlarged by --zoom; the last parts transfers
INK = (90, 90, 90)


def shown(path: Path, side: int) -> Image.Image:
    """An image as a square of 8-bit colour."""
    native = read_image(path)
    pixels = np.rint(as_channels(native.pixels, 3) * (255 / native.white)).astype(np.uint8)
    return Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC)


def row(model: Path, source: Path, reference: Path, side: int) -> list[Image.Image]:
    """The squares of one transfer."""
    with tempfile.TemporaryDirectory() as folder:
        result, mask = Path(folder) / "result.png", Path(folder) / "mask.png"
        defectaug.transfer(source, reference, model=model, out=result, mask=mask)
        return [shown(path, side) for path in (source, reference, result, mask)]


def strip(rows: list[list[Image.Image]], side: int, across: int) -> Image.Image:
    """All transfers, `across` of them beside each other, the columns' names above, on a transparent ground."""
    step, down = side + GAP, -(-len(rows) // across)
    wide = len(TITLES) * step + WIDE
    sheet = Image.new("RGBA", (across * wide - WIDE - GAP, HEAD + down * step - GAP))
    draw = ImageDraw.Draw(sheet)
    for place, squares in enumerate(rows):
        left, top = place // down * wide, HEAD + place % down * step
        for column, title in enumerate(TITLES):
            if top == HEAD:
                draw.text((left + column * step, 2), title, INK, ImageFont.load_default())
            sheet.paste(squares[column], (left + column * step, top))
    return sheet


def main() -> None:
    """Parses the command line, and writes the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--row", nargs=3, type=Path, action="append", required=True, metavar=("MODEL", "SOURCE", "REF"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--zoom", type=int, default=1)
    parser.add_argument("--across", type=int, default=1, help="transfers beside each other")
    args = parser.parse_args()
    side = args.zoom * SIDE
    args.out.parent.mkdir(parents=True, exist_ok=True)
    strip([row(*files, side) for files in args.row], side, args.across).save(args.out)


if __name__ == "__main__":
    raise SystemExit(guard(main, Session(debug=False)))
