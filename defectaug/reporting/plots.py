"""Small plots as inline SVG, drawn by matplotlib: bars with error bars, lines with a band, histograms. No torch."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#B8860B", "#56B4E9")
"""After Okabe and Ito: told apart by the colour-blind, and by their lightness in print."""
INK = "#010203"  # stands for the page's own colour, so that text and axes read on dark, light and paper
STYLE: Any = {
    "svg.fonttype": "none", "svg.hashsalt": "defectaug", "text.parse_math": False, "font.size": 9,
    "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True, "axes.grid": True,
    "axes.grid.axis": "y", "grid.alpha": 0.15, "legend.frameon": False,
    **{f"{part}color": INK for part in ("text.", "axes.edge", "axes.label", "xtick.", "ytick.", "grid.")},
}  # fmt: skip
LETTERS = 90  # of labels that fit side by side
BINS = 30  # of a histogram, between the lowest and the highest value
Values = Sequence[float | None]


def bars(
    groups: Sequence[str],
    series: Mapping[str, Values],
    *,
    errors: Mapping[str, Values] | None = None,
    y_label: str = "",
) -> str:
    """Groups of bars from 0, one a series, with error bars of ± `errors`.

    Args:
        groups: names below the axis.
        series: a value a group, by the name in the key; None leaves the place empty.
        errors: half lengths of the error bars, like `series`; they do not reach from a positive value below 0.
        y_label: what the axis shows, with its unit.
    """
    width = 0.8 / max(len(series), 1)

    def draw(axes: Axes) -> None:
        for number, (name, values) in enumerate(series.items()):
            spreads = (errors or {}).get(name, [0.0] * len(values))
            shown = [(n, v, s or 0.0) for n, (v, s) in enumerate(zip(values, spreads, strict=True)) if v is not None]
            places = [place + (number + 0.5) * width - 0.4 for place, _, _ in shown]
            heights = [value for _, value, _ in shown]
            below = [min(spread, value) if value >= 0 else spread for _, value, spread in shown]
            whiskers = [below, [spread for _, _, spread in shown]] if errors else None
            style: Any = {"color": _colour(number), "ecolor": INK, "capsize": 3}
            axes.bar(places, heights, width * 0.92, yerr=whiskers, label=_label(name), **style)
        turned = len(groups) * max(map(len, groups), default=0) > LETTERS
        turn: Any = {"rotation": 35, "rotation_mode": "anchor", "ha": "right"} if turned else {}
        axes.set_xticks(range(len(groups)), groups, **turn)

    return _svg(draw, series, "", y_label)


def line(
    x: Sequence[float],
    series: Mapping[str, Sequence[float]],
    *,
    bands: Mapping[str, Sequence[tuple[float, float]]] | None = None,
    x_label: str = "",
    y_label: str = "",
) -> str:
    """Lines over `x`, one a series, each with a band of (low, high) where `bands` gives one."""

    def draw(axes: Axes) -> None:
        for number, (name, values) in enumerate(series.items()):
            axes.plot(x, values, "o-", color=_colour(number), label=_label(name))
            if bands and name in bands:
                low, high = zip(*bands[name], strict=True)
                axes.fill_between(x, low, high, color=_colour(number)[0], alpha=0.2)
        axes.set_ylim(bottom=min([0.0, *(value for values in series.values() for value in values)]))

    return _svg(draw, series, x_label, y_label)


def histogram(series: Mapping[str, Sequence[float]], *, x_label: str = "") -> str:
    """Shares of each series' values that fall into common bins, as outlines laid over one another.

    Args:
        series: values by name; the legend tells how many there are.
        x_label: what the values are, with their unit.
    """
    finite = {name: [value for value in values if math.isfinite(value)] for name, values in series.items()}
    everything = [value for values in finite.values() for value in values] or [0.0]
    low, high = min(everything), max(everything)
    ends = (low, high) if high > low else (low - 0.5, high + 0.5)

    def draw(axes: Axes) -> None:
        for number, (name, values) in enumerate(finite.items()):
            axes.hist(
                values, bins=BINS, range=ends, weights=[100 / len(values) for _ in values], histtype="stepfilled",
                label=_label(f"{name} ({len(values):,})"), facecolor=(_colour(number)[0], 0.25),
                edgecolor=_colour(number),
            )  # fmt: skip

    return _svg(draw, series, x_label, "images (%)")


def _svg(draw: Callable[[Axes], None], names: Iterable[str], x_label: str, y_label: str) -> str:
    """What `draw` puts on axes, as an SVG element, with a legend below where there are several series."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    lengths = [len(name) for name in names]
    columns = max(1, min(len(lengths), LETTERS // (max(lengths, default=0) + 9)))  # with its colour and a count
    written = io.StringIO()
    with rc_context(STYLE), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # letters that matplotlib's own font lacks: the browser has them
        figure = Figure((6.4, 2.9 + 0.2 * math.ceil(len(lengths) / columns)), layout="constrained")
        axes = figure.add_subplot(xlabel=x_label)
        axes.set_title(y_label, loc="left", fontsize="medium")  # level: beside the axis a long one would be cut off
        draw(axes)
        if len(lengths) > 1:
            figure.legend(loc="outside lower left", ncols=columns)
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(written, format="svg", transparent=True, metadata=nothing)
    svg = written.getvalue().replace(INK, "currentColor")
    label = escape(f"{y_label} over {x_label}" if x_label else y_label)
    return f'<svg role="img" aria-label="{label}" {svg[svg.index("<svg") + 5 :]}'


def _label(name: str) -> str:
    """A name for the legend, which leaves out those that begin with an underscore."""
    return f"\u200b{name}" if name.startswith("_") else name


def _colour(number: int) -> tuple[str, float]:
    """Colour and opacity of a series; paler where all colours are taken."""
    again, place = divmod(number, len(COLOURS))
    return COLOURS[place], (1.0, 0.5, 0.25)[min(again, 2)]
