"""The clean surfaces of the demonstration products, one function a product.

Lengths are pixels of a 128 x 128 image and grow with the size asked for. Grey values are floats: 0 black,
1 white.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Grey = NDArray[np.floating]
"""A grey image or map, [size, size]."""


@dataclass(frozen=True)
class Surface:
    """A clean surface, and what a defect needs to know of it."""

    image: Grey
    light: Grey
    """The mean tone at every pixel, without the texture: what fresh material would look like there."""
    room: Grey
    """Where defects may lie: 1 on the part, 0 off it."""


@lru_cache(maxsize=8)
def pixel_grid(size: int) -> tuple[Grey, Grey]:
    """Coordinates (x, y) of every pixel, 0 in the middle of the image, in pixels of a 128 x 128 image."""
    line = ((np.arange(size) + 0.5) * (128 / size) - 64).astype(np.float32)
    x, y = np.meshgrid(line, line)
    return x, y


def turned_grid(size: int, angle: float) -> tuple[Grey, Grey]:
    """The pixel grid in a frame turned by `angle` radians: (along, across)."""
    x, y = pixel_grid(size)
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return x * cos + y * sin, y * cos - x * sin


def low_pass(image: Grey, along: float, across: float, angle: float = 0.0) -> Grey:
    """Gaussian blur of deviations `along` and `across` the direction `angle`; wraps at the border."""
    size = image.shape[0]
    fx, fy = np.fft.rfftfreq(size, 128 / size), np.fft.fftfreq(size, 128 / size)[:, None]
    cos, sin = np.cos(angle), np.sin(angle)
    exponent = ((fx * cos + fy * sin) * along) ** 2 + ((fy * cos - fx * sin) * across) ** 2
    spectrum = np.fft.rfft2(image) * np.exp(-2 * np.pi**2 * exponent)
    return np.fft.irfft2(spectrum, s=image.shape).astype(np.float32)


def grain(
    rng: np.random.Generator, size: int, along: float, across: float | None = None, angle: float = 0.0
) -> Grey:
    """Smooth noise of mean 0 and deviation 1, with correlation lengths `along` and `across` a direction."""
    white = rng.standard_normal((size, size), dtype=np.float32)
    smooth = low_pass(white, along, along if across is None else across, angle)
    return (smooth - smooth.mean()) / smooth.std()


def ramp(value: Grey) -> Grey:
    """0 below 0, 1 above 1, smooth between."""
    clipped = np.clip(value, 0, 1)
    return clipped * clipped * (3 - 2 * clipped)


def exposure(rng: np.random.Generator, size: int, level: float, spread: float, slope: float) -> Grey:
    """Uneven light about `level`: exposure varies by `spread`, a gradient adds up to `slope` a side."""
    along, _ = turned_grid(size, rng.uniform(0, 2 * np.pi))
    gain = np.exp(rng.normal(0, spread))
    return (level * gain * (1 + rng.uniform(0, slope) * along / 64)).astype(np.float32)


def stains(rng: np.random.Generator, size: int, mean_count: float, depth: float) -> Grey:
    """Faint, large, soft smudges, harmless on any product: a factor around 1."""
    factor = np.ones((size, size), np.float32)
    for _ in range(rng.poisson(mean_count)):
        along, across = turned_grid(size, rng.uniform(0, np.pi))
        centre, radius = rng.uniform(-60, 60, 2), rng.uniform(9, 24, 2)
        bump = np.exp(-(((along - centre[0]) / radius[0]) ** 2) - ((across - centre[1]) / radius[1]) ** 2)
        factor += rng.uniform(-depth, depth) * bump
    return factor


def brushed_metal(rng: np.random.Generator, size: int) -> Surface:
    """Product A: streaks along the brushing, a soft highlight across it, machining marks along it."""
    angle = rng.normal(0, 0.07)
    along, across = turned_grid(size, angle)
    light = exposure(rng, size, 0.5, 0.12, 0.16)
    centre, width = rng.uniform(-70, 70), rng.uniform(16, 45)
    light = light * (1 + rng.uniform(0.05, 0.4) * np.exp(-(((along - centre + 0.3 * across) / width) ** 2)))
    light = light * stains(rng, size, 0.8, 0.1)
    streaks = rng.uniform(0.03, 0.06) * grain(rng, size, rng.uniform(25, 60), 0.6, angle)
    streaks += rng.uniform(0.02, 0.05) * grain(rng, size, rng.uniform(12, 30), 2.0, angle)
    streaks += 0.015 * grain(rng, size, 2.0, 0.4, angle)
    for _ in range(rng.poisson(1.5)):  # harmless: they follow the brushing, as scratches hardly ever do
        reach = ramp((rng.uniform(20, 70) - np.abs(along - rng.uniform(-50, 50))) / 8)
        line = np.exp(-(((across - rng.uniform(-62, 62)) / rng.uniform(0.5, 1.1)) ** 2))
        streaks += rng.choice([-1, 1]) * rng.uniform(0.06, 0.2) * reach * line
    return Surface(light * (1 + streaks), light, np.ones((size, size), np.float32))


def cast_surface(rng: np.random.Generator, size: int) -> Surface:
    """Product B: matte grain of many scales, with dark pores that are too small to be spots."""
    light = exposure(rng, size, 0.4, 0.14, 0.3) * stains(rng, size, 1.0, 0.14)
    _, across = turned_grid(size, rng.uniform(0, np.pi))
    if rng.random() < 0.35:  # a faint, straight seam of the mould
        seam = np.exp(-(((across - rng.uniform(-50, 50)) / rng.uniform(1.5, 4)) ** 2))
        light = light * (1 + rng.choice([-1, 1]) * rng.uniform(0.03, 0.1) * seam)
    texture = rng.uniform(0.05, 0.09) * grain(rng, size, rng.uniform(0.6, 1.0))
    texture += rng.uniform(0.04, 0.07) * grain(rng, size, rng.uniform(1.8, 3.0))
    texture += 0.03 * grain(rng, size, 7.0) + 0.03 * grain(rng, size, 22.0)
    for width, mean_count, depth in ((0.7, 45, 0.3), (1.1, 14, 0.35)):
        dots = np.zeros((size, size), np.float32)
        where = rng.integers(0, size, (2, rng.poisson(mean_count)))
        dots[where[0], where[1]] = rng.uniform(0.3, 1, where.shape[1])
        texture -= depth * low_pass(dots, width, width) * (2 * np.pi * (width * size / 128) ** 2)
    return Surface(light * (1 + texture), light, np.ones((size, size), np.float32))


def weave(rng: np.random.Generator, size: int) -> Grey:
    """A plain weave, threads 0 (the gaps) to 1 (the crests)."""
    period = rng.uniform(6.6, 7.6)
    along, across = turned_grid(size, np.pi / 4 + rng.normal(0, 0.05))
    u = (along + rng.uniform(0, period) + 0.35 * grain(rng, size, 9.0)) / period
    v = (across + rng.uniform(0, period) + 0.35 * grain(rng, size, 9.0)) / period
    warp = np.abs(np.cos(np.pi * u)) * (0.62 + 0.38 * np.cos(np.pi * (v + np.round(u))))
    weft = np.abs(np.cos(np.pi * v)) * (0.62 - 0.38 * np.cos(np.pi * (u + np.round(v))))
    return np.maximum(warp, weft)


def woven_part(rng: np.random.Generator, size: int) -> Surface:
    """Product C: a woven cover with a pressed ring; the part ends before the picture does."""
    x, y = pixel_grid(size)
    light = exposure(rng, size, 0.46, 0.11, 0.18) * stains(rng, size, 0.6, 0.08)
    threads = rng.uniform(0.38, 0.6) * (weave(rng, size) - 0.6)
    threads += 0.05 * grain(rng, size, 0.7)

    cx, cy = rng.normal(-8, 5), rng.normal(0, 6)
    radius = np.hypot(x - cx, y - cy)
    ring = rng.uniform(30, 36)
    threads = threads * (0.3 + 0.7 * ramp((radius - ring) / 3 + 0.5))
    facing = np.cos(np.arctan2(y - cy, x - cx) - rng.normal(-2.2, 0.25))
    groove, lip = np.exp(-(((radius - ring) / 1.7) ** 2)), np.exp(-(((radius - ring - 3) / 1.5) ** 2))
    light = light * (1 - 0.45 * groove + lip * (0.12 + 0.22 * facing))

    along, _ = turned_grid(size, rng.normal(0, 0.05))
    inside = rng.uniform(46, 58) - along  # distance to the part's border
    part = ramp(inside + 0.5)
    chamfer = np.exp(-(((inside - 2.2) / 1.5) ** 2))
    light = light * (1 + rng.uniform(0.2, 0.5) * chamfer)
    ground = rng.uniform(0.08, 0.16) * (1 + 0.1 * grain(rng, size, 1.0))

    image = light * (1 + threads)
    for _ in range(rng.poisson(0.5)):  # harmless lint: a thin, dark, tightly curled fibre
        turn = rng.uniform(3, 7)
        fx, fy = rng.uniform(-55, 35), rng.uniform(-55, 55)
        near = np.abs(np.hypot(x - fx, y - fy) - turn)
        arc = ramp(3 * np.cos(np.arctan2(y - fy, x - fx) - rng.uniform(0, 6.3)) + rng.uniform(-1, 1.5))
        image = image * (1 - rng.uniform(0.15, 0.4) * arc * np.exp(-((near / 0.7) ** 2)))
    return Surface(ground + part * (image - ground), light, ramp((inside - 4) / 2))


SURFACES: dict[str, Callable[[np.random.Generator, int], Surface]] = {
    "A": brushed_metal,
    "B": cast_surface,
    "C": woven_part,
}
