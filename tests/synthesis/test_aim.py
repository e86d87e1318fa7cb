"""Which window of a large image is seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fake_model import info
from numpy.typing import NDArray

from defectaug.data.framing import Framing
from defectaug.io import windows
from defectaug.io.images import NativeImage
from defectaug.io.windows import Box, Window
from defectaug.methods.placement import Seen
from defectaug.synthesis.control.aim import drawn_window


def test_windows_stay_inside() -> None:
    for seed in range(50):
        window = windows.random_square((40, 70), 32, seed)
        assert 0 <= window.top <= 8
        assert 0 <= window.left <= 38
        assert window.size == (32, 32)
    assert windows.square((40, 70), 32, (39, 0)) == windows.Window(8, 0, 32, 32)
    assert windows.square((20, 70), 32, (10, 35)).size == (20, 20)


def test_windows_lie_where_a_defect_was_seen_as_far_as_a_region_allows(tmp_path: Path) -> None:
    low, apart = np.zeros((400, 300), bool), np.zeros((400, 300), bool)
    low[300:], apart[:50] = True, True
    plain = NativeImage(np.full((400, 300), 90, np.uint8))
    known = info(tmp_path, framings={"A": Framing(64)})

    def drawn(region: NDArray[np.bool_] | None, seed: int, box: Box | None) -> Window:
        return drawn_window(plain, known, "A", region, seed, None if box is None else Seen(box))

    for seed in range(20):
        for region in (None, low):
            near = drawn(region, seed, (0.7, 0.4, 0.9, 0.6))
            assert abs(near.top + 32 - 320) <= 17 and abs(near.left + 32 - 150) <= 17
        assert drawn(apart, seed, (0.7, 0.4, 0.9, 0.6)).top < 50
        assert drawn(None, seed, (0.7, 0.8, 0.9, 1)).left == 300 - 64  # at the same edge
    rows = {drawn(None, seed, None).top for seed in range(20)}
    assert min(rows) < 100 and max(rows) > 200
    whole = drawn_window(plain, info(tmp_path), "A", None, 0, Seen((0.7, 0.4, 0.9, 0.6)))
    assert whole == windows.whole((400, 300))


@pytest.mark.parametrize("white", [255, 65535])
def test_windows_follow_a_part_that_lies_in_another_way(tmp_path: Path, white: int) -> None:
    """A bright part on a dark table: where the defect was seen there is nothing but the table."""
    pixels = np.full((400, 300, 3), white // 10, np.uint8 if white == 255 else np.uint16)
    pixels[300:, 200:] = white
    known = info(tmp_path, framings={"A": Framing(64)}, channels=3, white=white)
    bright, dark = (np.full((32, 32, 3), value, np.float32) for value in (0.9, -0.8))
    at = (0.1, 0.1, 0.26, 0.31)
    followed = [drawn_window(NativeImage(pixels), known, "A", None, seed, Seen(at, bright)) for seed in range(20)]
    assert np.mean([one.cut(pixels).mean() > white / 2 for one in followed]) > 0.8
    stays = [drawn_window(NativeImage(pixels), known, "A", None, seed, Seen(at, dark)) for seed in range(20)]
    assert all(abs(one.top - 40) <= 17 and abs(one.left - 30) <= 17 for one in stays)
    edge = [drawn_window(NativeImage(pixels), known, "A", None, 0, Seen((0, 0.1, 0.16, 0.31), bright))]
    assert edge[0].top == 0  # what meets an edge meets it again
    with_region = np.zeros((400, 300), bool)
    with_region[:100] = True
    assert drawn_window(NativeImage(pixels), known, "A", with_region, 0, Seen(at, bright)).top < 100


def test_tiles_cover_the_image_and_join_to_it() -> None:
    rng = np.random.default_rng(0)
    whole = rng.random((75, 110)).astype(np.float32)
    parts = windows.tiles((75, 110), 32)
    assert np.allclose(windows.join([part.cut(whole) for part in parts], parts, (75, 110)), whole, atol=1e-6)
    assert windows.tiles((20, 20), 32) == [windows.Window(0, 0, 20, 20)]
