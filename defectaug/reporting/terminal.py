"""Sections as text for the terminal."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from defectaug.reporting.sections import Section, Table, show

if TYPE_CHECKING:
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
            console.print(_table(table))
            if table.note:
                console.print(table.note, style="dim")
    return written.getvalue().strip("\n")


def _table(table: Table) -> RichTable:
    """The table for the terminal."""
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    shown = RichTable(title=Text(table.title), title_justify="left", title_style="", box=box.SIMPLE, pad_edge=False)
    for number, name in enumerate(table.columns):
        # No part of a name or number is cut off
        shown.add_column(Text(name), justify="right" if table.is_numeric(number) else "left", overflow="fold")
    for row in table.rows:
        shown.add_row(*(Text(show(value)) for value in row))
    return shown
