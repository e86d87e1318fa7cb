"""Grids of pictures, and the table as text and as a page."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from images import of
from measures import Material, Row
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from defectaug.metrics.defects import around_defect

SQUARE, GAP, LABEL, COLUMNS = 160, 3, 110, 8
AIMS = {
    "painted": "1",
    "styles": "0.5-1.5",
    "styles outside": "< 1",
    "styles identical": "0",
    "tone distance": "≤ 1.5",
    "contrast distance": "≤ 1.5",
    "told from real": "≤ 0.75",
    "transfers told": "≤ 0.75",
    "named right": "≥ 0.9 or:",
    "of real": "",
    "nearest training": "≥:",
    "nearest, of real": "",
    "restoration": "≥ 0.95",
    "transfer IoU": "≥ 0.5",
    "training (min)": "≤ 40",
    "memory (GB)": "< 2",
    "images/s": "≥ 67",
}
"""Columns of the table and what is aimed at."""


def grid(material: Material, name: str) -> Image.Image:
    """Real crops, synthetic ones, eight styles of one shape, references and their transfers, one below the other."""
    real, made = of(material.test, name), of(material.synthetic, name)
    moved = [one for one in material.transferred.get(name, ()) if one.reference.mask.any()][:COLUMNS]
    side = view_side([one.mask for one in real])
    shown = {
        "real": [one.crop(side) for one in real[:COLUMNS]],
        "synthetic": [one.crop(side) for one in made[:COLUMNS]],
        **{
            f"styles {number}": [around_defect(image, one.mask, side) for image in one.images[:COLUMNS]]
            for number, one in enumerate(list(material.styled.get(name, ()))[:2], 1)
        },
        "references": [one.reference.crop(side) for one in moved],
        "transfers": [around_defect(one.made.image, one.reference.mask, side)
                      if one.made.image.shape == one.reference.image.shape else one.made.crop(side)
                      for one in moved],
    }  # fmt: skip
    sheet = Image.new("RGB", (LABEL + COLUMNS * (SQUARE + GAP), len(shown) * (SQUARE + GAP)), (32, 32, 32))
    pen = ImageDraw.Draw(sheet)
    for row, (label, squares) in enumerate(shown.items()):
        top = row * (SQUARE + GAP)
        pen.text((6, top + 6), label if squares else f"{label}:\nnone", (235, 235, 235))
        for column, square in enumerate(squares):
            enlarged = Image.fromarray(square).resize((SQUARE, SQUARE), Image.Resampling.BICUBIC)
            sheet.paste(enlarged, (LABEL + column * (SQUARE + GAP), top))
    return sheet


def view_side(masks: Sequence[NDArray[np.bool_]]) -> int:
    """Side of the crops that are shown: half as much again as the extent of most defects, 64 pixels at least."""
    extents = [np.ptp(np.argwhere(mask), axis=0).max() for mask in masks]
    return max(64, round(1.5 * float(np.percentile(extents, 75)))) if extents else 64


def markdown(results: Mapping[str, Mapping[str, Row]], note: str) -> str:
    """The table of all sets, aims below the header, and a note of how it was made."""
    columns = [key for key in AIMS if any(key in row for rows in results.values() for row in rows.values())]
    lines = [["set", "category", *columns], ["---"] * (len(columns) + 2), ["", "aim", *(AIMS[key] for key in columns)]]
    for name, rows in results.items():
        for category, row in rows.items():
            lines.append([name, category, *(f"{row[key]:.3g}" if key in row else "-" for key in columns)])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines) + f"\n{note}\n"


def page(results: Mapping[str, Mapping[str, Row]], table: str, out: Path) -> str:
    """The table and the grids of all sets; the pictures lie beside the page."""
    parts = ["<!doctype html><meta charset=utf-8><title>Battery</title><style>body{font:14px sans-serif}</style>"]
    parts.append(f"<pre>{html.escape(table)}</pre>")
    for name, rows in results.items():
        for category in rows:
            picture = f"{name}/{file_name(category)}"
            parts.append(f"<h2>{html.escape(f'{name}: {category}')}</h2>")
            parts += [f"<img src='{html.escape(picture, quote=True)}'>"] if (out / picture).is_file() else []
    return "\n".join(parts) + "\n"


def file_name(category: str) -> str:
    """Of the grid of a category."""
    return f"{category.replace('/', '-')}.png"
