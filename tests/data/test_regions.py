"""Where the product is: on generated scenes with a table, a strip of table, none, and uneven light."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from defectaug.data.regions import SIDE, find_surroundings
from defectaug.io.images import NativeImage, resize_float

Scene = Callable[[np.random.Generator], tuple[NativeImage, np.ndarray]]


def texture(rng: np.random.Generator, level: float, size: tuple[int, int] = (96, 120), grain: float = 8) -> np.ndarray:
    return level + rng.normal(0, grain, size)


def disc(rng: np.random.Generator) -> tuple[NativeImage, np.ndarray]:
    """A disc on a plain light ground, in another place in each image."""
    rows, columns = np.mgrid[:96, :120]
    row, column = rng.uniform(42, 54), rng.uniform(54, 66)
    there = (rows - row) ** 2 + (columns - column) ** 2 < rng.uniform(30, 38) ** 2
    pixels = np.where(there, texture(rng, rng.uniform(60, 80)), texture(rng, 220, grain=2))
    return NativeImage(pixels.clip(0, 255).astype(np.uint8)), there


def strip(rng: np.random.Generator) -> tuple[NativeImage, np.ndarray]:
    """A part that fills the image but for a slanted dark strip at the right, in colour."""
    rows, columns = np.mgrid[:96, :120]
    there = columns < 108 + rng.uniform(-4, 4) - 0.06 * rows
    planes = [np.where(there, texture(rng, level), texture(rng, 30, grain=3)) for level in (150, 120, 90)]
    return NativeImage(np.stack(planes, -1).clip(0, 255).astype(np.uint8)), there


def uneven(rng: np.random.Generator) -> tuple[NativeImage, np.ndarray]:
    """A surface that fills the image, dark towards the sides."""
    light = 1 - 0.8 * np.linspace(-1, 1, 120) ** 2
    pixels = texture(rng, 0) + rng.uniform(120, 220) * light
    return NativeImage(pixels.clip(0, 255).astype(np.uint8)), np.ones((96, 120), bool)


def several(scene: Scene, count: int = 12) -> list[tuple[NativeImage, np.ndarray]]:
    rng = np.random.default_rng(0)
    return [scene(rng) for _ in range(count)]


@pytest.mark.parametrize("scene", [disc, strip])
def test_the_product_is_found_to_its_edge(scene: Scene) -> None:
    seen, unseen = several(scene)[:8], several(scene)[8:]
    found = find_surroundings([image for image, _ in seen])
    assert found is not None
    assert found.share == pytest.approx(np.mean([1 - there.mean() for _, there in seen]), abs=0.05)
    for image, there in unseen:
        true = resize_float(there, (SIDE, SIDE)) > 0.5
        product = found.product_in(image)
        assert (product & true).sum() / (product | true).sum() > 0.97


@pytest.mark.parametrize("scene", [uneven, lambda rng: (NativeImage(texture(rng, 90).astype(np.uint8)), None)])
def test_a_surface_that_fills_the_image_has_no_surroundings(scene: Scene) -> None:
    assert find_surroundings([image for image, _ in several(scene)]) is None


def shades(rng: np.random.Generator) -> tuple[NativeImage, np.ndarray]:
    """A surface that fills the image, lighter and darker here and there."""
    coarse = rng.normal(0, 1, (4, 5)).astype(np.float32)
    pixels = texture(rng, 120, grain=3) + 20 * resize_float(coarse, (96, 120))
    return NativeImage(pixels.clip(0, 255).astype(np.uint8)), np.ones((96, 120), bool)


@pytest.mark.parametrize(("scene", "tells"), [(disc, True), (shades, False)])
def test_one_image_alone_has_to_show_an_edge(scene: Scene, tells: bool) -> None:
    """The shades of a surface are no surroundings, though the clusters of a single image cut them apart."""
    assert [find_surroundings([image]) is not None for image, _ in several(scene)] == [tells] * 12


def test_specks_beside_the_product_are_not_of_it_and_those_on_it_are() -> None:
    scenes = several(disc)
    found = find_surroundings([image for image, _ in scenes])
    assert found is not None
    image, _ = scenes[0]
    image.pixels[4:10, 4:10] = 60  # a crumb on the table
    image.pixels[44:52, 56:64] = 220  # a highlight on the product
    product = found.product_in(image)
    assert not product[: SIDE // 8, : SIDE // 8].any()
    assert product[round(48 / 96 * SIDE), round(60 / 120 * SIDE)]


def test_plain_images_have_no_surroundings() -> None:
    assert find_surroundings([NativeImage(np.zeros((40, 30), np.uint8))] * 2) is None
    assert find_surroundings([NativeImage(np.full((1, 3), 9, np.uint16))]) is None
