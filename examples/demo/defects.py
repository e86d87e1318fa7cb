"""The defects of the demonstration products: shapes from distance fields, painted through an opacity.

Lengths are pixels of a 128 x 128 image, directions radians.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from surfaces import Grey, Surface, grain, pixel_grid, ramp

Points = NDArray[np.float64]
"""Positions (x, y) along the last axis, (0, 0) in the middle of the image."""


@dataclass(frozen=True)
class Layer:
    """One coat of paint: `tone` shows through `opacity`, both [size, size]."""

    opacity: Grey
    tone: Grey


@dataclass(frozen=True)
class Stroke:
    """Where a pixel lies in respect to a curve."""

    distance: Grey
    side: Grey
    """Signed distance: positive on the curve's right."""
    along: Grey
    """0 at the curve's start, 1 at its end."""


def contrast(rng: np.random.Generator, low: float, high: float) -> float:
    """Mostly clear, with a tail of defects that are hard to see."""
    return low + (high - low) * rng.beta(1.5, 1.5)


def curve(
    rng: np.random.Generator, middle: Points, heading: float, length: float, bend: float, wobble: float = 0.0
) -> Points:
    """Points [n, 2] of a path about `middle` that turns by `bend` in all and strays by `wobble` a step."""
    count = max(4, round(length / 5))
    turns = heading + bend * np.linspace(-0.5, 0.5, count) + wobble * rng.normal(0, 1, count)
    steps = np.stack([np.cos(turns), np.sin(turns)], 1) * (length / count)
    points = np.vstack([np.zeros((1, 2)), np.cumsum(steps, 0)])
    return points - points.mean(0) + middle


def stroke(points: Points, size: int) -> Stroke:
    """The nearest place on the polyline `points` [n, 2] for every pixel."""
    x, y = pixel_grid(size)
    pieces = len(points) - 1
    best = np.full((size, size), np.inf, np.float32)
    side, along = np.zeros_like(best), np.zeros_like(best)
    for index, (start, end) in enumerate(pairwise(points)):
        (dx, dy), px, py = (
            (end - start).astype(np.float32),
            x - np.float32(start[0]),
            y - np.float32(start[1]),
        )
        length = float(np.hypot(dx, dy))
        share = np.clip((px * dx + py * dy) / length**2, 0, 1)
        distance = np.hypot(px - share * dx, py - share * dy)
        nearer = distance < best
        best = np.where(nearer, distance, best)
        side = np.where(nearer, (py * dx - px * dy) / length, side)
        along = np.where(nearer, (index + share) / pieces, along)
    return Stroke(best, side, along)


def half_width(rng: np.random.Generator, line: Stroke, width: float, uneven: float, taper: float) -> Grey:
    """Half the width along a stroke: pointed over the share `taper` at both ends, `uneven` between."""
    knots = np.exp(rng.normal(0, uneven, 9))
    body = np.interp(line.along, np.linspace(0, 1, 9), knots)
    ends = np.minimum(line.along, 1 - line.along) / taper
    return (0.5 * width * body * np.clip(ends, 0.12, 1) ** 0.6).astype(np.float32)


def fill(inside: Grey, softness: float = 1.0) -> Grey:
    """Anti-aliased opacity of a shape from the distance inside its outline."""
    return ramp(inside / softness + 0.5)


def place(rng: np.random.Generator, surface: Surface, margin: float) -> Points:
    """A point on the part, at least `margin` from the image's border."""
    size = surface.image.shape[0]
    for _ in range(50):
        point = rng.uniform(margin - 64, 64 - margin, 2)
        column, row = ((point + 64) * size / 128).astype(int)
        if surface.room[row, column] > 0.5:
            return point
    return np.zeros(2)


def brushed_scratch(rng: np.random.Generator, surface: Surface) -> list[Layer]:
    """A: bare metal shines in a thin, nearly straight line, with a dark burr on one side."""
    size, strong = surface.image.shape[0], contrast(rng, 0.12, 1.0)
    wide = rng.random() < 0.25
    width = rng.uniform(3.0, 5.0) if wide else rng.uniform(1.1, 2.6)
    heading = rng.choice([-1, 1]) * rng.uniform(0.25, np.pi - 0.25)  # not along the brushing
    bend = rng.normal(0, 0.25) if rng.random() < 0.75 else rng.normal(0, 0.9)
    length = rng.uniform(20, 70) if wide else rng.uniform(28, 105)
    line = stroke(curve(rng, place(rng, surface, 20), heading, length, bend, 0.03), size)
    half = half_width(rng, line, width, 0.12, rng.uniform(0.05, 0.3))
    skips = ramp(1.4 + 0.6 * np.interp(line.along, np.linspace(0, 1, 14), rng.normal(0, 1, 14)))
    burr = 0.7 * skips * fill(half + 1.1 - np.abs(line.distance + 0.4 - 0.8 * (line.side > 0)))
    core = skips * fill(half - line.distance, 1.2)
    grooves = np.cos(rng.uniform(2.0, 3.2) * line.side + rng.uniform(0, 2 * np.pi))  # left by the tool's edge
    shine = 1 + strong * (0.85 + 0.3 * grooves * (width > 2) + 0.18 * grain(rng, size, 1.0))
    return [
        Layer(burr, surface.light * (1 - 0.5 * strong)),
        Layer(core, surface.light * shine),
    ]


def brushed_spot(rng: np.random.Generator, surface: Surface) -> list[Layer]:
    """A: a corrosion pit, dark and round, lit from one side, with a bright rim."""
    size, strong = surface.image.shape[0], contrast(rng, 0.2, 0.8)
    inside, dx, dy = blob(rng, size, place(rng, surface, 10), rng.uniform(3.5, 9.5), 0.8, 0.05, 0.3)
    light_from = rng.uniform(0, 2 * np.pi)
    facing = dx * np.cos(light_from) + dy * np.sin(light_from)
    floor = 1 - strong * (0.85 - 0.3 * facing + 0.16 * grain(rng, size, 1.0))
    rim = fill(inside + rng.uniform(1.0, 2.0)) * (0.45 + 0.5 * ramp(0.5 - 0.8 * facing))
    return [
        Layer(rim, surface.light * (1 + 0.7 * strong)),
        Layer(fill(inside, rng.uniform(1.2, 3.0)), surface.light * floor),
    ]


def cast_scratch(rng: np.random.Generator, surface: Surface) -> list[Layer]:
    """B: a dark, ragged crack of uneven width that may fork."""
    size, strong = surface.image.shape[0], contrast(rng, 0.32, 0.85)
    middle, heading, length = place(rng, surface, 24), rng.uniform(0, 2 * np.pi), rng.uniform(28, 85)
    width = rng.uniform(1.9, 3.2) if rng.random() < 0.6 else rng.uniform(3.0, 5.5)
    spine = curve(rng, middle, heading, length, rng.normal(0, 0.5), rng.uniform(0.15, 0.4))
    paths = [(spine, width)]
    if rng.random() < 0.35:
        fork, turn = spine[len(spine) // 2], rng.choice([-1, 1]) * rng.uniform(0.4, 1.0)
        reach = length * rng.uniform(0.25, 0.5)
        branch = curve(rng, fork, heading + turn, reach, rng.normal(0, 0.4), 0.25)
        paths.append((branch - branch[0] + fork, 0.7 * width))
    ragged = rng.uniform(0.3, 0.8) * grain(rng, size, 1.1)
    floor = surface.light * (1 - strong * (1 + 0.2 * grain(rng, size, 0.9)))
    layers = []
    for points, thickness in paths:
        line = stroke(points, size)
        half = half_width(rng, line, thickness, 0.35, 0.25)
        layers.append(Layer(0.95 * fill(half + ragged * ramp(half) - line.distance, 1.3), floor))
    return layers


def cast_spot(rng: np.random.Generator, surface: Surface) -> list[Layer]:
    """B: an irregular, mottled blotch, a dark hole or a bright deposit."""
    size, dark = surface.image.shape[0], rng.random() < 0.6
    strong = -contrast(rng, 0.28, 0.8) if dark else contrast(rng, 0.32, 0.95)
    inside, dx, _ = blob(rng, size, place(rng, surface, 14), rng.uniform(5, 12), 0.55, 0.16, 1.2)
    mottle = 1 + 0.25 * grain(rng, size, rng.uniform(0.8, 2.0)) + rng.uniform(-0.2, 0.2) * dx
    thick = rng.uniform(0.75, 1.0) + 0.12 * grain(rng, size, 2.0)
    return [
        Layer(
            fill(inside, rng.uniform(1.5, 4.0)) * np.clip(thick, 0, 1), surface.light * (1 + strong * mottle)
        )
    ]


def woven_scratch(rng: np.random.Generator, surface: Surface) -> list[Layer]:
    """C: a bright, sweeping line of torn threads that cuts the pattern."""
    size, strong = surface.image.shape[0], contrast(rng, 0.38, 1.1)
    width = rng.uniform(1.8, 3.2) if rng.random() < 0.65 else rng.uniform(3.2, 5.5)
    bend = rng.choice([-1, 1]) * rng.uniform(0.4, 2.2)
    points = curve(rng, place(rng, surface, 24), rng.uniform(0, 2 * np.pi), rng.uniform(28, 85), bend, 0.06)
    line = stroke(points, size)
    half = half_width(rng, line, width, 0.2, rng.uniform(0.1, 0.35))
    frayed = 0.35 * grain(rng, size, 0.8)
    tone = surface.light * (1 + strong * (1 + 0.15 * grain(rng, size, 0.7)) - 0.15 * np.sign(line.side))
    return [
        Layer(0.55 * fill(half + 1.2 - line.distance, 2.0), surface.light * (1 - 0.35 * strong)),
        Layer(rng.uniform(0.75, 1) * fill(half + frayed * ramp(half) - line.distance), tone),
    ]


def woven_spot(rng: np.random.Generator, surface: Surface) -> list[Layer]:
    """C: a drop that soaked the weave: a dark stain with a tide mark, or a glossy bead with a highlight."""
    size = surface.image.shape[0]
    radius = rng.uniform(4, 11)
    inside, dx, dy = blob(rng, size, place(rng, surface, 12), radius, 0.7, 0.08, 0.4)
    body = fill(inside, rng.uniform(1.2, 2.5))
    texture = 1 + 0.12 * grain(rng, size, 1.0)
    if rng.random() < 0.6:
        strong = contrast(rng, 0.32, 0.8)
        tide = 0.6 * np.exp(-(((inside - 1) / 1.2) ** 2))
        return [
            Layer(rng.uniform(0.6, 0.95) * body, surface.light * (1 - strong * texture)),
            Layer(tide, surface.light * (1 - min(1.15 * strong, 0.9))),
        ]
    strong = contrast(rng, 0.35, 0.9)
    highlight = np.exp(-((dx + 0.35) ** 2 + (dy + 0.4) ** 2) / 0.12)
    edge = 0.5 * strong * np.exp(-((inside / 1.3) ** 2))
    tone = surface.light * (1 + strong * (0.7 * texture + 0.9 * highlight) - edge)
    return [Layer(rng.uniform(0.7, 0.95) * body, tone)]


def blob(
    rng: np.random.Generator,
    size: int,
    centre: Points,
    radius: float,
    roundness: float,
    lobes: float,
    ragged: float,
) -> tuple[Grey, Grey, Grey]:
    """A round shape: the distance inside its outline, and (dx, dy) from its centre in radii.

    The shorter axis is at least `roundness` of the longer one; `lobes` is the relative depth of the outline's
    waves, `ragged` the deviation of its noise in pixels.
    """
    x, y = pixel_grid(size)
    dx, dy = (x - np.float32(centre[0])) / radius, (y - np.float32(centre[1])) / radius
    tilt, squeeze = rng.uniform(0, np.pi), np.sqrt(rng.uniform(roundness, 1))
    along, across = dx * np.cos(tilt) + dy * np.sin(tilt), dy * np.cos(tilt) - dx * np.sin(tilt)
    distance, angle = np.hypot(along * squeeze, across / squeeze), np.arctan2(across, along)
    outline = np.ones_like(distance)
    for wave in range(2, 6):
        outline += lobes * rng.normal(0, 1) / (wave - 1) * np.cos(wave * angle + rng.uniform(0, 2 * np.pi))
    inside = radius * (np.maximum(outline, 0.35) - distance) + ragged * grain(rng, size, 1.4)
    return inside.astype(np.float32), dx, dy


DEFECTS: dict[tuple[str, str], Callable[[np.random.Generator, Surface], list[Layer]]] = {
    ("A", "scratch"): brushed_scratch,
    ("A", "spot"): brushed_spot,
    ("B", "scratch"): cast_scratch,
    ("B", "spot"): cast_spot,
    ("C", "scratch"): woven_scratch,
    ("C", "spot"): woven_spot,
}


def coats(rng: np.random.Generator, surface: Surface, product: str, defect: str) -> list[Layer]:
    """The paint of one defect, now and then of two or three, on a surface."""
    return [
        Layer((np.where(layer.opacity < 0.02, 0, layer.opacity) * surface.room).astype(np.float32), layer.tone)
        for _ in range(rng.choice([1, 2, 3], p=[0.82, 0.14, 0.04]))
        for layer in DEFECTS[product, defect](rng, surface)
    ]


def paint(surface: Surface, layers: list[Layer]) -> tuple[Grey, Grey]:
    """A surface with coats of paint on it: (image, opacity of all the paint)."""
    image, clear = surface.image, np.ones_like(surface.image)
    for layer in layers:
        image = image + layer.opacity * (layer.tone - image)
        clear = clear * (1 - layer.opacity)
    return image, 1 - clear
