"""Small plots as inline SVG: bars with error bars, a line with a band, histograms. Text and axes take the page's
colour, so that they read on dark, light and paper. No torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#B8860B", "#56B4E9")
"""After Okabe and Ito: told apart by the colour-blind, and by their lightness in print."""
WIDTH, HEIGHT = 640, 290  # of a plot without its legend
LEFT, RIGHT, TOP, BOTTOM = 58, 24, 12, 52
LETTER, LINE = 6.8, 19  # width of a letter, as wide as they come on average, and height of a line of the legend
TURNED = 35  # degrees, of labels that would run into one another
Range = tuple[float, float]


def bars(
    groups: Sequence[str],
    series: Mapping[str, Sequence[float | None]],
    *,
    errors: Mapping[str, Sequence[float | None]] | None = None,
    y_label: str = "",
) -> str:
    """Groups of bars from 0, one a series, with error bars of ± `errors`.

    Args:
        groups: names below the axis.
        series: a value a group, by the name in the key; None leaves the place empty.
        errors: half lengths of the error bars, like `series`.
        y_label: what the axis shows, with its unit.
    """
    errors = errors or {}
    tops = [
        (value or 0) + (spread or 0)
        for name, values in series.items()
        for value, spread in zip(values, errors.get(name, [0.0] * len(values)), strict=True)
    ]
    low = min(
        [0.0]
        + [
            value - (spread or 0)
            for name, values in series.items()
            for value, spread in zip(values, errors.get(name, [0.0] * len(values)), strict=True)
            if value is not None and value < 0  # what starts at 0 gets no room below it, as no rate is negative
        ]
    )
    room = (WIDTH - LEFT - RIGHT) / max(len(groups), 1)
    longest = max((LETTER * len(name) for name in groups), default=0)
    deeper = math.ceil(max(0.0, longest * math.sin(math.radians(TURNED)) - 24)) if longest > room else 0
    axis = _Axes((0.0, max(len(groups), 1)), (low, max([*tops, low + 1e-9])), deeper)
    name = axis.turned_x if longest > room else axis.tick_x
    body = [axis.frame(y_label), *(name(place + 0.5, group) for place, group in enumerate(groups))]
    width = 0.8 / max(len(series), 1)
    for number, (key, values) in enumerate(series.items()):
        spreads = errors.get(key, [None] * len(values))
        for place, (value, spread) in enumerate(zip(values, spreads, strict=True)):
            if value is not None:
                left = place + 0.1 + number * width
                body.append(axis.bar((left, left + width * 0.92), value, _colour(number), key))
                if spread:
                    body.append(axis.whisker(left + width * 0.46, (max(value - spread, low), value + spread), width))
    return axis.drawn(body, list(series), f"bars: {y_label}")


def line(
    x: Sequence[float],
    series: Mapping[str, Sequence[float]],
    *,
    bands: Mapping[str, Sequence[Range]] | None = None,
    x_label: str = "",
    y_label: str = "",
) -> str:
    """Lines over `x`, one a series, each with a band of (low, high) where `bands` gives one."""
    bands = bands or {}
    heights = [value for values in series.values() for value in values]
    heights += [edge for ranges in bands.values() for both in ranges for edge in both]
    axis = _Axes(_span(x), (min([0.0, *heights]), max([*heights, 1e-9])))
    body = [axis.frame(y_label), axis.name_x(x_label), *axis.ticks_x(x)]
    for number, (name, values) in enumerate(series.items()):
        colour, solid = _colour(number)
        if name in bands:
            upper = [axis.at(place, high) for place, (_, high) in zip(x, bands[name], strict=True)]
            lower = [axis.at(place, low) for place, (low, _) in zip(x, bands[name], strict=True)]
            body.append(f'<polygon points="{" ".join(upper + lower[::-1])}" fill="{colour}" opacity="0.2"/>')
        points = [axis.at(place, value) for place, value in zip(x, values, strict=True)]
        body.append(
            f'<polyline points="{" ".join(points)}" fill="none" stroke="{colour}" stroke-width="2" opacity="{solid}"/>'
        )
        body += [f'<circle cx="{p.split(",")[0]}" cy="{p.split(",")[1]}" r="3" fill="{colour}"/>' for p in points]
    return axis.drawn(body, list(series), f"{y_label} over {x_label}")


def histogram(
    series: Mapping[str, Sequence[float]],
    *,
    bins: int = 30,
    x_label: str = "",
    mark: tuple[float, str] | None = None,
) -> str:
    """Shares of each series' values that fall into common bins, as outlines laid over one another.

    Args:
        series: values by name; the legend tells how many there are.
        bins: between the lowest and the highest value.
        x_label: what the values are, with their unit.
        mark: a value that means something, and what; it is shown by a dashed line even where no value reaches it.
    """
    finite = {name: [v for v in values if math.isfinite(v)] for name, values in series.items()}
    low, high = _span([value for values in finite.values() for value in values] + ([mark[0]] if mark else []))
    step = (high - low) / bins
    shares: dict[str, list[float]] = {}
    for name, values in finite.items():
        counts = [0] * bins
        for value in values:
            counts[min(int((value - low) / step), bins - 1)] += 1
        shares[name] = [100 * count / max(len(values), 1) for count in counts]
    axis = _Axes((low, high), (0.0, max((share for row in shares.values() for share in row), default=1.0)))
    body = [axis.frame("images (%)"), axis.name_x(x_label), *axis.ticks_x(_steps((low, high), 6))]
    for number, row in enumerate(shares.values()):
        colour, solid = _colour(number)
        corners = [axis.at(low, 0)]
        for place, share in enumerate(row):
            corners += [axis.at(low + place * step, share), axis.at(low + (place + 1) * step, share)]
        corners.append(axis.at(high, 0))
        drawn = f'opacity="{solid}" fill="{colour}" fill-opacity="0.25" stroke="{colour}" stroke-width="1.5"'
        body.append(f'<polygon points="{" ".join(corners)}" {drawn}/>')
    if mark:
        body.append(axis.mark_x(*mark))
    return axis.drawn(body, [f"{name} ({len(values):,})" for name, values in finite.items()], f"histogram of {x_label}")


class _Axes:
    """From the values' units to pixels; `deeper` is room for long labels below the axis."""

    def __init__(self, x: Range, y: Range, deeper: int = 0) -> None:
        self.x, self.y = x, (y[0], y[1] + 0.05 * (y[1] - y[0]))
        self._deeper = deeper

    def left(self, value: float) -> float:
        return LEFT + (value - self.x[0]) / (self.x[1] - self.x[0]) * (WIDTH - LEFT - RIGHT)

    def top(self, value: float) -> float:
        return HEIGHT - BOTTOM - (value - self.y[0]) / (self.y[1] - self.y[0]) * (HEIGHT - TOP - BOTTOM)

    def at(self, x: float, y: float) -> str:
        return f"{self.left(x):.1f},{self.top(y):.1f}"

    def frame(self, label: str) -> str:
        """Both axes, and four rules with their values."""
        zero = self.top(0)
        parts = [_rule(LEFT, TOP, LEFT, HEIGHT - BOTTOM, 0.6), _rule(LEFT, zero, WIDTH - RIGHT, zero, 0.6)]
        for value in _steps(self.y):
            height = self.top(value)
            parts.append(_rule(LEFT, height, WIDTH - RIGHT, height, 0.15))
            parts.append(_text(LEFT - 6, height + 4, _short(value), "end"))
        middle = (TOP + HEIGHT - BOTTOM) / 2
        turned = f'transform="rotate(-90 14 {middle})"'
        return "".join([*parts, _text(14, middle, label, "middle", turned)])

    def name_x(self, label: str) -> str:
        return _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - BOTTOM + 34, label, "middle")

    def tick_x(self, value: float, label: str) -> str:
        return _text(self.left(value), HEIGHT - BOTTOM + 16, label, "middle")

    def ticks_x(self, values: Sequence[float]) -> list[str]:
        """Values below the axis, without those that would run into the one before."""
        shown: list[str] = []
        free = -math.inf
        for value in values:
            label = _short(value)
            half = LETTER * len(label) / 2
            if self.left(value) - half >= free:
                shown.append(self.tick_x(value, label))
                free = self.left(value) + half + 4
        return shown

    def turned_x(self, value: float, label: str) -> str:
        x, y = self.left(value) + 4, HEIGHT - BOTTOM + 15
        return _text(x, y, label, "end", f'transform="rotate(-{TURNED} {x:.1f} {y})"')

    def mark_x(self, value: float, label: str) -> str:
        """An upright dashed line, and what it means on the side where there is room."""
        x, right = self.left(value), self.left(value) < (LEFT + WIDTH - RIGHT) / 2
        rule = _rule(x, TOP, x, HEIGHT - BOTTOM, 0.8, 'stroke-dasharray="5 4"')
        return rule + _text(x + (6 if right else -6), TOP + 12, label, "start" if right else "end")

    def bar(self, sides: Range, value: float, colour: tuple[str, float], name: str) -> str:
        top, bottom = sorted((self.top(value), self.top(0)))
        box = f'x="{self.left(sides[0]):.1f}" y="{top:.1f}" width="{self.left(sides[1]) - self.left(sides[0]):.1f}"'
        hint = f"<title>{escape(name)}: {_short(value)}</title>"
        return f'<rect {box} height="{max(bottom - top, 0.5):.1f}" {_filled(colour)}>{hint}</rect>'

    def drawn(self, body: Sequence[str], names: Sequence[str], label: str) -> str:
        """The SVG, its legend below."""
        high = HEIGHT + self._deeper
        legend, more = _legend(names, high)
        head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {high + more}" role="img"'
        return f'{head} font-family="sans-serif" aria-label="{escape(label)}">{"".join(body)}{legend}</svg>'

    def whisker(self, place: float, ends: Range, width: float) -> str:
        x, (low, high) = self.left(place), (self.top(ends[0]), self.top(ends[1]))
        half = min(4.0, (self.left(place + width) - x) / 3)
        rules = ((x, low, x, high), (x - half, low, x + half, low), (x - half, high, x + half, high))
        return "".join(_rule(*ends_of_rule, 1) for ends_of_rule in rules)


def _steps(y: Range, about: int = 4) -> list[float]:
    """Round values between the ends, `about` so many."""
    rough = (y[1] - y[0]) / about
    unit = 10 ** math.floor(math.log10(rough))
    step = min((unit * factor for factor in (1, 2, 5, 10)), key=lambda size: abs(size - rough))
    first = math.ceil(y[0] / step)
    return [number * step for number in range(first, math.floor(y[1] / step) + 1)]


def _span(values: Sequence[float]) -> Range:
    low, high = min(values, default=0.0), max(values, default=1.0)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _colour(number: int) -> tuple[str, float]:
    """Colour and opacity of a series; paler where all colours are taken."""
    again, place = divmod(number, len(COLOURS))
    return COLOURS[place], (1.0, 0.5, 0.25)[min(again, 2)]


def _filled(colour: tuple[str, float]) -> str:
    return f'fill="{colour[0]}"' + (f' fill-opacity="{colour[1]:.1f}"' if colour[1] < 1 else "")


def _short(value: float) -> str:
    return f"{value:.3g}"


def _rule(x1: float, y1: float, x2: float, y2: float, opacity: float, more: str = "") -> str:
    ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {ends} {more} stroke="currentColor" stroke-opacity="{opacity}"/>'


def _text(x: float, y: float, text: str, anchor: str, more: str = "") -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {place} {more} fill="currentColor" font-size="13">{escape(text)}</text>'


def _legend(names: Sequence[str], top: float) -> tuple[str, int]:
    """A line of the legend or more, below `top`; and their height."""
    if len(names) < 2:
        return "", 0
    parts, x, row = [], float(LEFT), 0
    for number, name in enumerate(names):
        width = 30 + LETTER * len(name)
        if x > LEFT and x + width > WIDTH:
            x, row = float(LEFT), row + 1
        y = top + row * LINE
        box = f'<rect x="{x:.0f}" y="{y:.0f}" width="10" height="10" {_filled(_colour(number))}/>'
        parts.append(box + _text(x + 14, y + 10, name, "start"))
        x += width
    return "".join(parts), (row + 1) * LINE
