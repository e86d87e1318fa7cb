"""Small plots as inline SVG: bars with error bars, a line with a band, histograms. Text and axes take the page's
colour, so that they read on dark, light and paper. No torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#B8860B", "#56B4E9")
"""After Okabe and Ito: told apart by the colour-blind, and by their lightness in print."""
WIDTH, HEIGHT = 640, 300
LEFT, RIGHT, TOP, BOTTOM = 58, 12, 12, 62
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
    low = min([0.0, *(value for values in series.values() for value in values if value is not None)])
    axis = _Axes((0.0, max(len(groups), 1)), (low, max([*tops, low + 1e-9])))
    body = [axis.frame(y_label), *(axis.tick_x(place + 0.5, name) for place, name in enumerate(groups))]
    width = 0.8 / max(len(series), 1)
    for number, (name, values) in enumerate(series.items()):
        spreads = errors.get(name, [None] * len(values))
        for place, (value, spread) in enumerate(zip(values, spreads, strict=True)):
            if value is not None:
                left = place + 0.1 + number * width
                body.append(axis.bar((left, left + width * 0.92), value, COLOURS[number % len(COLOURS)], name))
                if spread:
                    body.append(axis.whisker(left + width * 0.46, (value - spread, value + spread)))
    return _svg([*body, _legend(list(series))], f"bars: {y_label}")


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
    body = [axis.frame(y_label), axis.name_x(x_label), *(axis.tick_x(value, _short(value)) for value in x)]
    for number, (name, values) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        if name in bands:
            upper = [axis.at(place, high) for place, (_, high) in zip(x, bands[name], strict=True)]
            lower = [axis.at(place, low) for place, (low, _) in zip(x, bands[name], strict=True)]
            body.append(f'<polygon points="{" ".join(upper + lower[::-1])}" fill="{colour}" opacity="0.2"/>')
        points = [axis.at(place, value) for place, value in zip(x, values, strict=True)]
        body.append(f'<polyline points="{" ".join(points)}" fill="none" stroke="{colour}" stroke-width="2"/>')
        body += [f'<circle cx="{p.split(",")[0]}" cy="{p.split(",")[1]}" r="3" fill="{colour}"/>' for p in points]
    return _svg([*body, _legend(list(series))], f"{y_label} over {x_label}")


def histogram(series: Mapping[str, Sequence[float]], *, bins: int = 30, x_label: str = "") -> str:
    """Shares of each series' values that fall into common bins, as outlines laid over one another."""
    finite = {name: [v for v in values if math.isfinite(v)] for name, values in series.items()}
    low, high = _span([value for values in finite.values() for value in values])
    step = (high - low) / bins
    shares: dict[str, list[float]] = {}
    for name, values in finite.items():
        counts = [0] * bins
        for value in values:
            counts[min(int((value - low) / step), bins - 1)] += 1
        shares[name] = [100 * count / max(len(values), 1) for count in counts]
    axis = _Axes((low, high), (0.0, max((share for row in shares.values() for share in row), default=1.0)))
    ticks = [low + part * (high - low) / 5 for part in range(6)]
    body = [axis.frame("images (%)"), axis.name_x(x_label), *(axis.tick_x(tick, _short(tick)) for tick in ticks)]
    for number, row in enumerate(shares.values()):
        colour = COLOURS[number % len(COLOURS)]
        corners = [axis.at(low, 0)]
        for place, share in enumerate(row):
            corners += [axis.at(low + place * step, share), axis.at(low + (place + 1) * step, share)]
        corners.append(axis.at(high, 0))
        drawn = f'fill="{colour}" fill-opacity="0.25" stroke="{colour}" stroke-width="1.5"'
        body.append(f'<polygon points="{" ".join(corners)}" {drawn}/>')
    return _svg([*body, _legend(list(series))], f"histogram of {x_label}")


class _Axes:
    """From the values' units to pixels."""

    def __init__(self, x: Range, y: Range) -> None:
        self.x, self.y = x, (y[0], y[1] + 0.05 * (y[1] - y[0]))

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

    def bar(self, sides: Range, value: float, colour: str, name: str) -> str:
        top, bottom = sorted((self.top(value), self.top(0)))
        box = f'x="{self.left(sides[0]):.1f}" y="{top:.1f}" width="{self.left(sides[1]) - self.left(sides[0]):.1f}"'
        hint = f"<title>{escape(name)}: {_short(value)}</title>"
        return f'<rect {box} height="{max(bottom - top, 0.5):.1f}" fill="{colour}">{hint}</rect>'

    def whisker(self, place: float, ends: Range) -> str:
        x, (low, high) = self.left(place), (self.top(ends[0]), self.top(ends[1]))
        rules = ((x, low, x, high), (x - 4, low, x + 4, low), (x - 4, high, x + 4, high))
        return "".join(_rule(*ends_of_rule, 1) for ends_of_rule in rules)


def _steps(y: Range) -> list[float]:
    """Round values between the ends, about four."""
    rough = (y[1] - y[0]) / 4
    unit = 10 ** math.floor(math.log10(rough))
    step = min((unit * factor for factor in (1, 2, 5, 10)), key=lambda size: abs(size - rough))
    first = math.ceil(y[0] / step)
    return [number * step for number in range(first, math.floor(y[1] / step) + 1)]


def _span(values: Sequence[float]) -> Range:
    low, high = min(values, default=0.0), max(values, default=1.0)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _short(value: float) -> str:
    return f"{value:.3g}"


def _rule(x1: float, y1: float, x2: float, y2: float, opacity: float) -> str:
    ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {ends} stroke="currentColor" stroke-opacity="{opacity}"/>'


def _text(x: float, y: float, text: str, anchor: str, more: str = "") -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {place} {more} fill="currentColor" font-size="12">{escape(text)}</text>'


def _legend(names: Sequence[str]) -> str:
    if len(names) < 2:
        return ""
    parts, x = [], float(LEFT)
    for number, name in enumerate(names):
        box = f'<rect x="{x:.0f}" y="{HEIGHT - 16}" width="10" height="10" fill="{COLOURS[number % len(COLOURS)]}"/>'
        parts.append(box + _text(x + 14, HEIGHT - 7, name, "start"))
        x += 30 + 6.6 * len(name)
    return "".join(parts)


def _svg(body: Sequence[str], label: str) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img"'
    return f'{head} font-family="sans-serif" aria-label="{escape(label)}">{"".join(body)}</svg>'
