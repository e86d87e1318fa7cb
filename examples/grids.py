"""Real defects above synthetic ones, for a look: two rows for every product x defect.

    python examples/grids.py --real DATA --synthetic OUT --out grid.png [--columns 10] [--crop-defect]

DATA and OUT are folders <product>/<class>/*; of OUT only what its manifest calls synthetic is shown. With
--crop-defect each image is cut to 48 x 48 pixels around the defect, found by the masks in DATA.masks and
OUT.masks, and enlarged without smoothing; without, the whole image is fitted into a square.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import NoReturn

import numpy as np
from PIL import Image, ImageDraw, ImageFont

NORMAL_NAMES = {"normal", "good", "ok", "free", "defect_free"}
SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"}
WHOLE, CROP = 64, 48  # side of a square before it is enlarged, pixels
GAP, PAIR_GAP = 2, 10  # between squares, and between one product x defect and the next
BACKGROUND, INK = (32, 32, 32), (235, 235, 235)

Cell = tuple[str, str]


def defective(root: Path) -> dict[Cell, list[Path]]:
    """Defective images below ROOT by (product, class); only the synthetic ones where a manifest tells."""
    synthetic = synthetic_files(root / "manifest.jsonl")
    cells: dict[Cell, list[Path]] = {}
    for folder in sorted(path for path in root.glob("*/*") if path.is_dir()):
        if folder.name.casefold() in NORMAL_NAMES:
            continue
        files = sorted(path for path in folder.rglob("*") if path.suffix.casefold() in SUFFIXES)
        files = [path for path in files if synthetic is None or path in synthetic]
        if files:
            cells[folder.parent.name, folder.name] = files
    return cells


def synthetic_files(manifest: Path) -> set[Path] | None:
    """The files that a manifest calls synthetic; None without a manifest."""
    if not manifest.is_file():
        return None
    lines = map(json.loads, manifest.read_text(encoding="utf-8").splitlines())
    return {manifest.parent / line["file"] for line in lines if line["synthetic"]}


def mask_of(file: Path, root: Path) -> Path:
    """Where the mask of ROOT/.../NAME lies: ROOT.masks/.../NAME.png."""
    return (root.with_name(root.name + ".masks") / file.relative_to(root)).with_suffix(".png")


def read_rgb(file: Path) -> Image.Image:
    """An image file in 8-bit colour."""
    with Image.open(file) as image:
        if image.mode.startswith("I"):  # 16 bit: convert() would clip it
            return Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8)).convert("RGB")
        return image.convert("RGB")


def whole(file: Path, zoom: int) -> Image.Image:
    """The image fitted into a square of WHOLE * zoom pixels, its aspect kept."""
    side = WHOLE * zoom
    image = read_rgb(file)
    scale = side / max(image.size)
    size = tuple(max(1, round(edge * scale)) for edge in image.size)
    fitted = image.resize((size[0], size[1]), Image.Resampling.BICUBIC)
    square = Image.new("RGB", (side, side), BACKGROUND)
    square.paste(fitted, ((side - size[0]) // 2, (side - size[1]) // 2))
    return square


def crop(file: Path, mask: Path, zoom: int) -> Image.Image:
    """CROP x CROP pixels around the mask's pixel nearest to its centre, each enlarged to zoom x zoom.

    An empty mask counts as its middle pixel; what lies beyond the image is dark.
    """
    image = read_rgb(file)
    with Image.open(mask) as opened:
        drawn = np.asarray(opened.convert("L").resize(image.size, Image.Resampling.NEAREST)) > 127
    where = np.argwhere(drawn) if drawn.any() else np.array([[edge // 2 for edge in drawn.shape]])
    row, column = where[np.abs(where - where.mean(0)).sum(1).argmin()]
    left = int(np.clip(column - CROP // 2, 0, max(0, image.width - CROP)))
    top = int(np.clip(row - CROP // 2, 0, max(0, image.height - CROP)))
    square = Image.new("RGB", (CROP, CROP), BACKGROUND)
    square.paste(image.crop((left, top, min(left + CROP, image.width), min(top + CROP, image.height))))
    return square.resize((CROP * zoom, CROP * zoom), Image.Resampling.NEAREST)


def draw(rows: list[tuple[str, list[Image.Image]]]) -> Image.Image:
    """A sheet of rows of squares with their labels at the left; rows come in pairs."""
    font = ImageFont.load_default()
    probe = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    margin = int(max(probe.multiline_textbbox((0, 0), label, font)[2] for label, _ in rows)) + 12
    side = rows[0][1][0].width
    columns = max(len(squares) for _, squares in rows)
    tops = [number * (side + GAP) + (number // 2) * PAIR_GAP for number in range(len(rows))]
    sheet = Image.new("RGB", (margin + columns * (side + GAP), tops[-1] + side), BACKGROUND)
    pen = ImageDraw.Draw(sheet)
    for top, (label, squares) in zip(tops, rows, strict=True):
        pen.multiline_text((6, top + 4), label, INK, font)
        for number, square in enumerate(squares):
            sheet.paste(square, (margin + number * (side + GAP), top))
    return sheet


def fail(reason: str) -> NoReturn:
    """Ends the program with a line that says why, and exit code 2."""
    print(reason, file=sys.stderr)
    raise SystemExit(2)


def chosen(files: list[Path], count: int, seed: int) -> list[Path]:
    """Up to `count` of the files, drawn by `seed`, in order."""
    drawn = np.random.default_rng(seed).permutation(len(files))[:count]
    return [files[number] for number in sorted(drawn)]


def whole_row(files: list[Path], zoom: int, columns: int, seed: int) -> list[Image.Image]:
    """Squares of whole images."""
    return [whole(file, zoom) for file in chosen(files, columns, seed)]


def crop_row(files: list[Path], root: Path, zoom: int, columns: int, seed: int) -> list[Image.Image]:
    """Squares around the defects of those images that have a mask; ends the program where none has."""
    masked = [file for file in files if mask_of(file, root).is_file()]
    if not masked:
        fail(f"{mask_of(files[0], root)}: no mask, nor of its like; --crop-defect needs them, go without it")
    return [crop(file, mask_of(file, root), zoom) for file in chosen(masked, columns, seed)]


def main() -> None:
    """Parse, draw, save."""
    parser = argparse.ArgumentParser(description="Draw real defects above synthetic ones.")
    parser.add_argument("--real", type=Path, required=True, help="folder <product>/<class>/* of real images")
    parser.add_argument("--synthetic", type=Path, required=True, help="what defectaug synthesize wrote")
    parser.add_argument("--out", type=Path, required=True, help="PNG file to write")
    parser.add_argument("--columns", type=int, default=10, help="images a row (default: 10)")
    parser.add_argument("--zoom", type=int, default=2, help="enlargement of the squares (default: 2)")
    parser.add_argument("--crop-defect", action="store_true", help="cut 48 x 48 pixels around the defect")
    parser.add_argument("--seed", type=int, default=0, help="which images are shown (default: 0)")
    options = parser.parse_args()
    if options.columns < 1 or options.zoom < 1 or options.seed < 0:
        parser.error("--columns and --zoom must be 1 or more, --seed 0 or more")

    how = (options.zoom, options.columns, options.seed)
    roots = {"real": options.real.resolve(), "synthetic": options.synthetic.resolve()}
    real, synthetic = defective(roots["real"]), defective(roots["synthetic"])
    for root, cells in ((options.real, real), (options.synthetic, synthetic)):
        if not cells:
            fail(f"{root}: no defective images at <product>/<class>/*")
    rows = []
    for cell in sorted(set(real) | set(synthetic)):
        if cell not in real or cell not in synthetic:
            lacking = options.synthetic if cell in real else options.real
            print(f"{'/'.join(cell)} is left out: none in {lacking}", file=sys.stderr)
            continue
        for kind, files in (("real", real[cell]), ("synthetic", synthetic[cell])):
            squares = crop_row(files, roots[kind], *how) if options.crop_defect else whole_row(files, *how)
            rows.append(("\n".join((*cell, kind)), squares))
    if not rows:
        fail(f"{options.synthetic}: no product and defect in common with {options.real}")
    try:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        draw(rows).save(options.out, format="PNG")
    except OSError as error:
        fail(f"{options.out}: cannot be written ({error.strerror or error})")


if __name__ == "__main__":
    main()
