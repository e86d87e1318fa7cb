"""What every part of an evaluation produces, and every output renders: sections of sentences, tables and plots.

A part of the evaluation builds one or more :class:`Section`; `terminal.py`, `report.py` (HTML) and :func:`as_json`
show them. No torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from defectaug.metrics.distances import Interval


@dataclass(frozen=True, slots=True)
class Spread:
    """A mean and the standard deviation of what it was taken over (runs, seeds); shown as "1.92 ± 0.11"."""

    mean: float
    deviation: float


Value: TypeAlias = "str | int | float | bool | Spread | Interval | None"
"""A cell of a table. None is what could not be measured, and is shown as a dash."""
Image: TypeAlias = "Path | NDArray[np.uint8]"
"""An image file, or pixels (H, W) or (H, W, 3)."""


@dataclass(frozen=True)
class Table:
    """Rows of values under headings.

    Args:
        title: what the table shows.
        columns: headings; the first column names the row.
        rows: as many values each as there are columns.
        note: a sentence below the table: what was measured how.

    Raises:
        ValueError: a row of another length than the headings.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Value]]
    note: str = ""

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"{self.title}: {len(row)} values under {len(self.columns)} headings: {row}")

    def is_numeric(self, column: int) -> bool:
        """Whether a column is set to the right: no text in it."""
        return bool(self.rows) and not any(isinstance(row[column], str) for row in self.rows)


@dataclass(frozen=True)
class Figure:
    """A plot, drawn as inline SVG for the HTML report alone (see `plots.py`)."""

    title: str
    svg: Callable[[], str]
    note: str = ""


@dataclass(frozen=True)
class PictureRow:
    """Images side by side under one caption; `labels` are short texts below the images, one each or none."""

    caption: str
    images: Sequence[Image]
    labels: Sequence[str] = ()


@dataclass(frozen=True)
class Pictures:
    """Rows of images, for the HTML report alone."""

    title: str
    rows: Sequence[PictureRow]
    note: str = ""


@dataclass(frozen=True)
class Finding:
    """What a section says of one synthetic set, for the verdict on it.

    Args:
        about: name of the set.
        text: one sentence.
        speaks: "for" or "against" the images; "neither" for what the reader has to weigh; "needless" where
            nothing is left for them to improve; "unknown" for what there are too few test images to tell; "condition"
            for what may make every result wrong, and how to avoid it.
        decides: whether the verdict rests on it: it tells whether the images help.
        any_line: whether it tells that of a classifier whose line between normal and defective is moved.
    """

    about: str
    text: str
    speaks: Literal["for", "against", "neither", "needless", "unknown", "condition"] = "neither"
    decides: bool = False
    any_line: bool = False


@dataclass(frozen=True)
class Section:
    """The result of one part of the evaluation.

    Args:
        title: heading.
        lines: plain sentences, the most important first.
        warnings: sentences about what the numbers cannot tell; set apart wherever they are shown.
        tables, figures, pictures: what is shown below them, in this order.
        numbers: every number and setting, as JSON can hold it (see :func:`plain`); not rounded.
        findings: what goes into the verdicts.
        method: what was measured with what, names and values, for the end of the report.
        is_verdict: whether it is what all others come to: the first of a page, the last on a terminal.
    """

    title: str
    lines: Sequence[str] = ()
    warnings: Sequence[str] = ()
    tables: Sequence[Table] = ()
    figures: Sequence[Figure] = ()
    pictures: Sequence[Pictures] = ()
    numbers: Mapping[str, Any] = field(default_factory=dict)
    findings: Sequence[Finding] = ()
    method: Sequence[tuple[str, str]] = ()
    is_verdict: bool = False


def show(value: Value) -> str:
    """A value as people read it, a dash where there is none.

    What has a spread or an interval is given to the digits that these leave sure; other numbers to three or four
    significant digits; thousands are grouped.
    """
    if value is None:
        return "-"
    if isinstance(value, Spread):
        mean, deviation = to_digits([value.mean, value.deviation], value.deviation)
        return f"{mean} ± {deviation}"
    if isinstance(value, Interval):
        middle, low, high = interval_digits(value.value, value.low, value.high)
        return f"{middle} [{low}, {high}]"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | np.integer):
        return f"{int(value):,}"
    return _number(value) if isinstance(value, float | np.floating) else str(value)


def plain(value: Any) -> Any:
    """A value as JSON holds it: dataclasses and mappings as objects, paths as text, what is not finite as null."""
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if hasattr(value, "__dataclass_fields__"):
        return {name: plain(getattr(value, name)) for name in value.__dataclass_fields__}
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(entry) for entry in (sorted(value) if isinstance(value, set | frozenset) else value)]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    return str(value)


def as_json(section: Section) -> dict[str, Any]:
    """A section without its pictures and plots."""
    return {
        "title": section.title,
        "lines": list(section.lines),
        "warnings": list(section.warnings),
        "tables": [plain(table) for table in section.tables],
        "numbers": plain(section.numbers),
    }


def to_digits(values: Sequence[float], doubt: float) -> list[str]:
    """Numbers with as many decimals as show `doubt` with one significant digit, with two where the first is small."""
    if not all(map(math.isfinite, [*values, doubt])) or doubt <= 0:
        return [_number(value) for value in values]
    exponent = math.floor(math.log10(doubt))
    digits = 2 if doubt / 10**exponent < 3.5 else 1
    decimals = min(max(digits - 1 - exponent, 0), 6)
    return [f"{round(float(value), decimals) + 0.0:,.{decimals}f}" for value in values]  # + 0.0: no "-0.00"


def interval_digits(middle: float, low: float, high: float) -> list[str]:
    """The three to the digits that the interval leaves sure, and to one or two more where an end would else be shown as
    0 that is not: on which side of 0 it lies is what an interval is read for."""
    doubt = (high - low) / 2
    shown = to_digits([middle, low, high], doubt)
    lost = [abs(end) for end, text in zip((low, high), shown[1:], strict=True) if end and not text.strip("0.")]
    return shown if not lost or min(lost) < doubt / 100 else to_digits([middle, low, high], min(lost))


def _number(value: float) -> str:
    value = float(value)
    if not math.isfinite(value):
        return "-"
    size = abs(value)
    if size >= 10_000 or (size >= 1 and value.is_integer()):
        return f"{value:,.0f}"
    if size < 0.0005:
        return "0" if size == 0 else f"{value:.1e}"
    digits = 1 if size >= 100 else 2 if size >= 1 else 3
    return f"{value:.{digits}f}"
