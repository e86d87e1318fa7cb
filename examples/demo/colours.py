"""Colours of the demonstration products and of their defects.

A tint is a factor for red, green and blue that leaves the luminance as it is: an image in colour has the grey levels,
and so the mask, of the grey one with the same names. Defects have colours of their own, dark and bright paint apart.
"""

from __future__ import annotations

import numpy as np
from defects import Layer
from numpy.typing import NDArray
from surfaces import Grey, Surface

Colour = NDArray[np.floating]
"""An image [size, size, 3]."""

LUMINANCE = np.array([0.299, 0.587, 0.114])
PRODUCTS = {"A": (0.94, 1.0, 1.16), "B": (0.72, 1.12, 0.82), "C": (1.5, 0.8, 0.72)}
"""Bluish steel, green paint, a red weave."""
DEFECTS = {
    ("A", "scratch"): ((0.95, 1.0, 1.05), (1.02, 1.0, 0.97)),  # bare metal
    ("A", "spot"): ((1.75, 0.75, 0.35), (1.6, 0.8, 0.4)),  # rust
    ("B", "scratch"): ((1.1, 0.97, 0.9), (1.1, 0.97, 0.9)),  # through to the iron: dark, without the paint's green
    ("B", "spot"): ((0.75, 0.95, 1.9), (1.25, 1.0, 0.4)),  # oil, or a yellow deposit
    ("C", "scratch"): ((1.5, 0.8, 0.7), (1.05, 1.0, 0.88)),  # pale torn threads
    ("C", "spot"): ((0.6, 0.85, 2.8), (0.95, 1.0, 1.1)),  # ink, or a bead of glass
}
"""Tints of paint that is darker, and brighter, than the surface."""
LIGHT, TINT, DRIFT = 0.03, 0.04, 0.03
"""Deviations, as a share, of the light's colour and of a tint from one image to the next; drift across the image."""


def varied(rng: np.random.Generator, tint: tuple[float, float, float], deviation: float) -> NDArray[np.floating]:
    """A tint [3] near the given one, of luminance 1."""
    factors = np.asarray(tint) * np.exp(rng.normal(0, deviation, 3))
    return np.asarray(factors / (factors @ LUMINANCE))


def in_colour(
    rng: np.random.Generator, surface: Surface, layers: list[Layer], noise: Grey, product: str, defect: str
) -> tuple[Colour, Colour]:
    """The surface with its coats of paint, and without: values 0 to 1, above where the light clips."""
    light = varied(rng, (1, 1, 1), LIGHT)
    across = np.linspace(-1, 1, len(noise))[:, None] * rng.normal(0, DRIFT, 3)  # of the light's colour, top to bottom
    drift = np.exp(across)
    light = (light * drift / ((light * drift) @ LUMINANCE)[:, None])[:, None]
    clean = surface.image[..., None] * varied(rng, PRODUCTS[product], TINT)
    tints = [varied(rng, tint, TINT) for tint in DEFECTS.get((product, defect), ())]
    image = clean
    for layer in layers:
        bright = bool((layer.opacity * (layer.tone - surface.light)).sum() > 0)
        image = image + layer.opacity[..., None] * (layer.tone[..., None] * tints[bright] - image)
    return image * light + noise[..., None], clean * light + noise[..., None]
