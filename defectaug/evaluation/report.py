"""Sections as one HTML file that opens offline: tables, plots as inline SVG, images inside the file. No torch."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np

from defectaug.data.images import as_channels, quantise, read_image, resize_float
from defectaug.errors import DataError
from defectaug.evaluation.sections import Figure, Image, Pictures, Section, Table, Value, is_numeric, show

MARK = '<meta name="generator" content="defectaug evaluate">'
SIDE = 160  # longest side of an image in the report, pixels
STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: .5rem 0; }
caption { text-align: left; font-weight: 600; padding: .3rem 0; }
th, td { padding: .2rem .7rem; border-bottom: 1px solid color-mix(in srgb, currentColor 25%, transparent); }
th { text-align: left; } .number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.wide { overflow-x: auto; } .note { font-size: .85em; opacity: .75; margin-top: 0; }
.warning { border-left: .3rem solid #D55E00; padding-left: .6rem; }
figure { margin: 1rem 0; } svg { max-width: 40rem; width: 100%; height: auto; }
.row { display: flex; flex-wrap: wrap; gap: .5rem; margin: .2rem 0 1rem; align-items: flex-end; }
.row figure { margin: 0; font-size: .8em; } .row img { display: block; image-rendering: auto; max-width: 100%; }
@media print { :root { color-scheme: light; } body { margin: 0; max-width: none; } section { break-inside: auto; }
  table, figure, .row { break-inside: avoid; } }
"""


def as_html(title: str, sections: Sequence[Section], about: Sequence[tuple[str, str]]) -> str:
    """The report.

    Args:
        title: heading of the page.
        sections: what to show.
        about: how it was measured: names and values, shown last.
    """
    contents = "".join(
        f'<li><a href="#part-{number}">{escape(section.title)}</a></li>' for number, section in enumerate(sections)
    )
    body = "".join(_section(section, number) for number, section in enumerate(sections))
    facts = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in about)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'{MARK}<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n"
        f"<body><h1>{escape(title)}</h1><nav><ol>{contents}</ol></nav>\n{body}"
        f'<section><h2>What was measured how</h2><div class="wide"><table>{facts}</table></div></section>'
        "</body></html>\n"
    )


def _section(section: Section, number: int) -> str:
    parts = [f"<h2>{escape(section.title)}</h2>"]
    parts += [f"<p>{escape(line)}</p>" for line in section.lines]
    parts += [f'<p class="warning">{escape(line)}</p>' for line in section.warnings]
    parts += map(_table, section.tables)
    parts += map(_figure, section.figures)
    parts += map(_pictures, section.pictures)
    return f'<section id="part-{number}">{"".join(parts)}</section>\n'


def _table(table: Table) -> str:
    numeric = [bool(table.rows) and all(is_numeric(row[n]) for row in table.rows) for n in range(len(table.columns))]
    classes = [' class="number"' if number else "" for number in numeric]
    head = "".join(f"<th{kind}>{escape(name)}</th>" for kind, name in zip(classes, table.columns, strict=True))
    rows = "".join(f"<tr>{_cells(row, classes)}</tr>" for row in table.rows)
    caption = f"<caption>{escape(table.title)}</caption>"
    shown = f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    return f'<div class="wide">{shown}</div>{_note(table.note)}'


def _cells(row: Sequence[Value], classes: Sequence[str]) -> str:
    return "".join(f"<td{kind}>{escape(show(value))}</td>" for kind, value in zip(classes, row, strict=True))


def _figure(figure: Figure) -> str:
    # The SVG is drawn by plots.py, which escapes every text that it is given
    return f"<figure><figcaption>{escape(figure.title)}</figcaption>{figure.svg}{_note(figure.note)}</figure>"


def _pictures(pictures: Pictures) -> str:
    parts = [f"<h3>{escape(pictures.title)}</h3>", _note(pictures.note)]
    for row in pictures.rows:
        labels = [*row.labels, *[""] * (len(row.images) - len(row.labels))]
        shown = "".join(_picture(image, label) for image, label in zip(row.images, labels, strict=True))
        parts.append(f'<div>{escape(row.caption)}</div><div class="row">{shown}</div>')
    return "".join(parts)


def _picture(image: Image, label: str) -> str:
    name = escape(label or (image.name if isinstance(image, Path) else "image"))
    try:
        encoded = base64.b64encode(_small_png(image)).decode()
    except DataError as error:
        return f"<figure>{escape(str(error))}</figure>"
    caption = f"<figcaption>{escape(label)}</figcaption>" if label else ""
    return f'<figure><img alt="{name}" src="data:image/png;base64,{encoded}">{caption}</figure>'


def _small_png(image: Image) -> bytes:
    """PNG of an image, at most SIDE pixels wide and high; dark 16-bit images are brought up to white.

    Raises:
        DataError: the file cannot be read.
    """
    from PIL import Image as PillowImage

    if isinstance(image, Path):
        native = read_image(image)
        white = native.white if native.white == 255 else max(int(native.pixels.max()), 1)
        pixels, channels = native.pixels.astype(np.float32) / white, native.channels
    else:
        pixels, channels = image.astype(np.float32) / 255, 1 if image.ndim == 2 else 3
    height, width = pixels.shape[:2]
    scale = min(1.0, SIDE / max(height, width))
    size = max(1, round(height * scale)), max(1, round(width * scale))
    values = quantise(resize_float(as_channels(pixels, channels), size), np.uint8)
    written = io.BytesIO()
    PillowImage.fromarray(values[..., 0] if channels == 1 else values).save(written, format="PNG", optimize=True)
    return written.getvalue()


def _note(note: str) -> str:
    return f'<p class="note">{escape(note)}</p>' if note else ""
