"""Sections as one HTML file that opens offline: tables, plots as inline SVG, images inside the file. No torch."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np

from defectaug.errors import DataError
from defectaug.io.images import as_channels, quantise, read_image, resize_float
from defectaug.reporting.sections import Figure, Image, Interval, Pictures, Section, Table, Value, is_numeric, show

MARK = '<meta name="generator" content="defectaug evaluate">'
SIDE = 160  # longest side of an image in the report, pixels
QUALITY = 92  # of JPEG: a defect shows as it is, and the page is a third as large as with PNG alone
STYLE = """
:root { color-scheme: light dark; --line: color-mix(in srgb, currentColor 25%, transparent); }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem;
  overflow-wrap: anywhere; }
h1 { font-size: 1.7em; line-height: 1.2; } h2 { margin: 2.5rem 0 .5rem; } h3 { margin: 1.5rem 0 .3rem; }
p, ul { margin: .5rem 0; max-width: 60rem; }
table { border-collapse: collapse; margin: .5rem 0; overflow-wrap: normal; }
caption { text-align: left; font-weight: 600; padding: .3rem 0; white-space: nowrap; }
th, td { padding: .2rem .6rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: bottom; }
thead th { max-width: 11rem; } td:first-child { white-space: nowrap; }
.number { text-align: right; font-variant-numeric: tabular-nums; } .number span { white-space: nowrap; }
.wide { overflow-x: auto; } .note { font-size: .85em; opacity: .8; margin-top: 0; }
.facts td { overflow-wrap: anywhere; vertical-align: top; } .facts td:first-child { white-space: normal; width: 14rem; }
.warning { border-left: .3rem solid #D55E00; padding-left: .6rem; }
.verdict { border: 2px solid var(--line); border-radius: .5rem; padding: .2rem 1rem; margin: 1rem 0; }
.verdict h2 { margin: .5rem 0 0; font-size: 1.1em; } .verdict > p:first-of-type { font-weight: 600; font-size: 1.1em; }
figure { margin: 1rem 0; } figcaption { font-weight: 600; } svg { max-width: 44rem; width: 100%; height: auto; }
.rows { display: flex; flex-wrap: wrap; gap: .5rem 2rem; } .rows > div { max-width: 100%; }
.row { display: flex; flex-wrap: wrap; gap: .5rem; margin: .2rem 0 .5rem; align-items: flex-start; }
.row figure { margin: 0; font-size: .8em; max-width: 10rem; } .row figcaption { font-weight: 400; }
.row img { display: block; max-width: 100%; }
@media (max-width: 40rem) { th, td { padding: .2rem .35rem; font-size: .9em; } }
@media print { :root { color-scheme: light; } body { margin: 0; max-width: none; } section { break-inside: auto; }
  table, figure, .row { break-inside: avoid; } }
"""


def as_html(title: str, sections: Sequence[Section], about: Sequence[tuple[str, str]], white: int = 65535) -> str:
    """The report.

    Args:
        title: heading of the page.
        sections: what to show; the verdicts come first.
        about: how it was measured: names and values, shown last, after what the sections tell of it.
        white: level of 16-bit images that is shown white.
    """
    verdicts = "".join(_section(section, white, "verdict") for section in sections if section.is_verdict)
    method = list(dict.fromkeys(pair for section in sections for pair in section.method))  # sets share most of it
    sections = [section for section in sections if not section.is_verdict]
    contents = "".join(
        f'<li><a href="#part-{number}">{escape(section.title)}</a></li>' for number, section in enumerate(sections)
    )
    contents += '<li><a href="#method">What was measured how</a></li>'
    body = "".join(_section(section, white, number=number) for number, section in enumerate(sections))
    facts = _facts([*method, *about])
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'{MARK}<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n"
        f"<body><h1>{escape(title)}</h1>\n{verdicts}<nav><ol>{contents}</ol></nav>\n{body}"
        f'<section id="method"><h2>What was measured how</h2><table class="facts">{facts}</table></section>'
        "</body></html>\n"
    )


def _facts(pairs: Sequence[tuple[str, str]]) -> str:
    """Rows of names and values; a name that comes again stands once."""
    rows, before = [], None
    for name, value in pairs:
        rows.append(f"<tr><td>{escape(name) if name != before else ''}</td><td>{escape(value)}</td></tr>")
        before = name
    return "".join(rows)


def _section(section: Section, white: int, kind: str = "", number: int | None = None) -> str:
    parts = [f"<h2>{escape(section.title)}</h2>"]
    first = section.lines[:1] if section.is_verdict else section.lines
    parts += [f"<p>{escape(line)}</p>" for line in first]
    rest = "".join(f"<li>{escape(line)}</li>" for line in section.lines[len(first) :])
    parts += [f"<ul>{rest}</ul>"] if rest else []
    parts += [f'<p class="warning">{escape(line)}</p>' for line in section.warnings]
    parts += map(_table, section.tables)
    parts += map(_figure, section.figures)
    parts += [_pictures(pictures, white) for pictures in section.pictures]
    name = (f' class="{kind}"' if kind else "") + ("" if number is None else f' id="part-{number}"')
    return f"<section{name}>{''.join(parts)}</section>\n"


def _table(table: Table) -> str:
    numeric = [bool(table.rows) and all(is_numeric(row[n]) for row in table.rows) for n in range(len(table.columns))]
    classes = [' class="number"' if number else "" for number in numeric]
    head = "".join(f"<th{kind}>{escape(name)}</th>" for kind, name in zip(classes, table.columns, strict=True))
    rows = "".join(f"<tr>{_cells(row, classes)}</tr>" for row in table.rows)
    caption = f"<caption>{escape(table.title)}</caption>"
    shown = f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    return f'<div class="wide">{shown}</div>{_note(table.note)}'


def _cells(row: Sequence[Value], classes: Sequence[str]) -> str:
    return "".join(f"<td{kind}>{_cell(value)}</td>" for kind, value in zip(classes, row, strict=True))


def _cell(value: Value) -> str:
    """An estimate and its interval stay whole, but the one may stand below the other."""
    shown = escape(show(value))
    if not isinstance(value, Interval):
        return f"<span>{shown}</span>" if is_numeric(value) else shown
    middle, ends = shown.split(" ", 1)
    return f"<span>{middle}</span> <span>{ends}</span>"


def _figure(figure: Figure) -> str:
    # The SVG is drawn by plots.py, which escapes every text that it is given
    return f"<figure><figcaption>{escape(figure.title)}</figcaption>{figure.svg}{_note(figure.note)}</figure>"


def _pictures(pictures: Pictures, white: int) -> str:
    parts, rows = [f"<h3>{escape(pictures.title)}</h3>", _note(pictures.note)], []
    for row in pictures.rows:
        labels = [*row.labels, *[""] * (len(row.images) - len(row.labels))]
        shown = "".join(_picture(image, label, white) for image, label in zip(row.images, labels, strict=True))
        rows.append(f'<div><div>{escape(row.caption)}</div><div class="row">{shown}</div></div>')
    return "".join([*parts, '<div class="rows">', *rows, "</div>"])


def _picture(image: Image, label: str, white: int) -> str:
    name = escape(label or (image.name if isinstance(image, Path) else "image"))
    try:
        kind, content = _small(image, white)
    except DataError as error:
        return f"<figure>{escape(str(error))}</figure>"
    encoded = base64.b64encode(content).decode()
    caption = f"<figcaption>{escape(label)}</figcaption>" if label else ""
    return f'<figure><img alt="{name}" src="data:image/{kind};base64,{encoded}">{caption}</figure>'


def _small(image: Image, white: int) -> tuple[str, bytes]:
    """An image as PNG or JPEG, whichever is smaller, at most SIDE pixels wide and high.

    Raises:
        DataError: the file cannot be read.
    """
    from PIL import Image as PillowImage

    if isinstance(image, Path):
        native = read_image(image)
        level = 255 if native.white == 255 else white
        pixels, channels = native.pixels.astype(np.float32) / level, native.channels
    else:
        pixels, channels = image.astype(np.float32) / 255, 1 if image.ndim == 2 else 3
    height, width = pixels.shape[:2]
    scale = min(1.0, SIDE / max(height, width))
    size = max(1, round(height * scale)), max(1, round(width * scale))
    values = quantise(resize_float(as_channels(pixels, channels), size), np.uint8)
    small = PillowImage.fromarray(values[..., 0] if channels == 1 else values)
    png, jpeg = io.BytesIO(), io.BytesIO()
    small.save(png, format="PNG", optimize=True)
    small.convert("L" if channels == 1 else "RGB").save(jpeg, format="JPEG", quality=QUALITY, subsampling=0)
    return min(("png", png.getvalue()), ("jpeg", jpeg.getvalue()), key=lambda one: len(one[1]))


def _note(note: str) -> str:
    return f'<p class="note">{escape(note)}</p>' if note else ""
