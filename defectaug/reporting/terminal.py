"""Sections as text for the terminal."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from defectaug.reporting.sections import Interval, Section, Table, Value, show

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table as RichTable

WIDTH = 200  # of a line where nobody says how wide the terminal is: tables are not squeezed


def as_text(sections: Sequence[Section], *, width: int = WIDTH, colour: bool = False) -> str:
    """Titles, sentences, warnings and tables; plots and pictures are for the HTML report.

    Args:
        sections: what to show.
        width: columns of the terminal.
        colour: whether it shows colours.
    """
    from rich.console import Console

    written = io.StringIO()
    console = Console(file=written, width=width, force_terminal=colour, highlight=False, emoji=False, markup=False)
    for section in sections:
        console.print()
        console.print(section.title, style="bold")
        for number, line in enumerate(section.lines):
            console.print(f"- {line}" if section.is_verdict and number else line)
        for line in section.warnings:
            console.print(f"! {line}", style="yellow")
        for table in section.tables:
            console.print()
            console.print(_fitting(table, console))
            if table.note:
                console.print(table.note, style="dim")
    return written.getvalue().strip("\n")


def _fitting(table: Table, console: Console) -> RichTable:
    """The table as it is; where that is too wide, with intervals below their estimates; and these broken at last."""
    free = console.options.update(width=10_000)
    whole, below = _table(table), _table(table, below=True)
    if console.measure(whole, options=free).maximum <= console.width:
        return whole
    for column, name in zip(below.columns, table.columns, strict=True):
        if column.justify == "right":
            lines = [line for cell in column.cells if str(cell) != name for line in str(cell).split("\n")]
            column.width = max(map(len, [*lines, *name.split()]), default=0)  # names of columns may be broken
    if console.measure(below, options=free).minimum <= console.width:
        return below
    return _table(table, below=True)


def _table(table: Table, *, below: bool = False) -> RichTable:
    """The table for the terminal; `below` puts intervals below their estimates."""
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    def shown_as(value: Value) -> str:
        return show(value).replace(" [", "\n[") if below and isinstance(value, Interval) else show(value)

    shown = RichTable(title=Text(table.title), title_justify="left", title_style="", box=box.SIMPLE, pad_edge=False)
    side: Literal["left", "right"]
    for number, name in enumerate(table.columns):
        side = "right" if table.is_numeric(number) else "left"
        shown.add_column(Text(name), justify=side, overflow="fold")  # no part of a name or number is cut off
    for row in table.rows:
        shown.add_row(*(Text(shown_as(value)) for value in row))
    return shown
