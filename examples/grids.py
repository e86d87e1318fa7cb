"""Real defects above synthetic ones, for a look: two rows for every product and defect.

    python examples/grids.py --real DATA --synthetic OUT --out grid.png [--columns 10] [--crop-defect]

DATA and OUT are folders of any known layout; of OUT only what its manifest calls synthetic is shown. With --crop-defect
each image is cropped to 48 x 48 pixels around the defect, found by the masks in DATA.masks and OUT.masks, and enlarged
without smoothing; without, the whole image is fitted into a square.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from defectaug.cli.failures import Session, guard
from defectaug.data.layouts import Hints
from defectaug.errors import DataError, OutputError
from defectaug.io.images import as_channels, read_image
from defectaug.io.masks import read_mask
from defectaug.metrics.defects import around_defect
from defectaug.metrics.folders import ImageRecord, read_synthetic, with_masks

WHOLE, CROP = 64, 48  # side of a square before it is enlarged, pixels
GAP, PAIR_GAP = 2, 10  # between squares, and between one category and the next
BACKGROUND, INK = (32, 32, 32), (235, 235, 235)
Groups = dict[tuple[str, str], list[ImageRecord]]


def defective(root: Path) -> Groups:
    """Defective images below ROOT with their masks, by category; only the synthetic ones where a manifest tells.

    Raises:
        DataError: there are none.
    """
    groups: Groups = {}
    for record in with_masks(read_synthetic(root), root, root.with_name(f"{root.name}.masks")):
        if record.synthetic and not Hints().is_normal(record.defect):
            groups.setdefault(record.category, []).append(record)
    if not groups:
        raise DataError(f"{root}: no defective images")
    return groups


def in_colour(record: ImageRecord) -> Image.Image:
    """An image in 8-bit colour."""
    native = read_image(record.path)
    return Image.fromarray(np.rint(as_channels(native.pixels, 3) * (255 / native.white)).astype(np.uint8))


def whole(record: ImageRecord, zoom: int) -> Image.Image:
    """The image fitted into a square of WHOLE * zoom pixels, its aspect kept."""
    side, image = WHOLE * zoom, in_colour(record)
    scale = side / max(image.size)
    width, height = (max(1, round(edge * scale)) for edge in image.size)
    square = Image.new("RGB", (side, side), BACKGROUND)
    square.paste(image.resize((width, height), Image.Resampling.BICUBIC), ((side - width) // 2, (side - height) // 2))
    return square


def crop(record: ImageRecord, zoom: int) -> Image.Image:
    """CROP x CROP pixels around the defect, each enlarged to zoom x zoom."""
    assert record.mask is not None
    cut = around_defect(np.asarray(in_colour(record)), read_mask(record.mask), CROP)
    return Image.fromarray(cut).resize((CROP * zoom, CROP * zoom), Image.Resampling.NEAREST)


def squares(found: Sequence[ImageRecord], options: argparse.Namespace) -> list[Image.Image]:
    """A row: up to `columns` of the images, drawn by the seed, in order.

    Raises:
        DataError: crops are wanted, and no image has a mask.
    """
    shown = [record for record in found if record.mask or not options.crop_defect]
    if not shown:
        raise DataError(f"{found[0].path}: no mask, nor of its like; --crop-defect needs them, go without it")
    drawn = np.random.default_rng(options.seed).permutation(len(shown))[: options.columns]
    view = crop if options.crop_defect else whole
    return [view(shown[number], options.zoom) for number in sorted(drawn)]


def draw(rows: list[tuple[str, list[Image.Image]]]) -> Image.Image:
    """A grid of rows of squares with their labels at the left; rows come in pairs."""
    font = ImageFont.load_default()
    probe = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    margin = int(max(probe.multiline_textbbox((0, 0), label, font)[2] for label, _ in rows)) + 12
    side = rows[0][1][0].width
    columns = max(len(row) for _, row in rows)
    tops = [number * (side + GAP) + (number // 2) * PAIR_GAP for number in range(len(rows))]
    grid = Image.new("RGB", (margin + columns * (side + GAP), tops[-1] + side), BACKGROUND)
    pen = ImageDraw.Draw(grid)
    for top, (label, row) in zip(tops, rows, strict=True):
        pen.multiline_text((6, top + 4), label, INK, font)
        for number, square in enumerate(row):
            grid.paste(square, (margin + number * (side + GAP), top))
    return grid


def main() -> None:
    """Parse, draw, save."""
    parser = argparse.ArgumentParser(description="Draw real defects above synthetic ones.")
    parser.add_argument("--real", type=Path, required=True, help="folder of real images")
    parser.add_argument("--synthetic", type=Path, required=True, help="what defectaug synthesize wrote")
    parser.add_argument("--out", type=Path, required=True, help="PNG file to write")
    parser.add_argument("--columns", type=int, default=10, help="images a row (default: 10)")
    parser.add_argument("--zoom", type=int, default=2, help="enlargement of the squares (default: 2)")
    parser.add_argument("--crop-defect", action="store_true", help="crop 48 x 48 pixels around the defect")
    parser.add_argument("--seed", type=int, default=0, help="which images are shown (default: 0)")
    options = parser.parse_args()
    if options.columns < 1 or options.zoom < 1 or options.seed < 0:
        parser.error("--columns and --zoom must be 1 or more, --seed 0 or more")


    def run() -> None:
        real, synthetic = defective(options.real), defective(options.synthetic)
        rows = []
        for category in sorted(real.keys() | synthetic.keys()):
            if category not in real or category not in synthetic:
                lacking = options.synthetic if category in real else options.real
                print(f"{'/'.join(category)} is left out: none in {lacking}", file=sys.stderr)
                continue
            for kind, found in (("real", real[category]), ("synthetic", synthetic[category])):
                rows.append(("\n".join((*category, kind)), squares(found, options)))
        if not rows:
            raise DataError(f"{options.synthetic}: no product and defect in common with {options.real}")
        try:
            options.out.parent.mkdir(parents=True, exist_ok=True)
            draw(rows).save(options.out, format="PNG")
        except OSError as error:
            raise OutputError(f"{options.out}: cannot be written ({error.strerror or error})") from error

    raise SystemExit(guard(run, Session(debug=False)))


if __name__ == "__main__":
    main()
