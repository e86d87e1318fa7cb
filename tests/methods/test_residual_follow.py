"""Defects are followed from window to window, and cut out whole."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from residual_parts import SIZE as WIDE
from residual_parts import small
from torch import Tensor

from defectaug.data.framing import Photograph
from defectaug.io.windows import Window, tiles, whole
from defectaug.methods.residual.follow import best_window, connected, cut_out, followed, look_over, window_at_edge

SIZE, SIDE = (90, 200), 32


def crack() -> np.ndarray:
    """A line that wanders over 160 pixels, and a spot beside it, in a window that shows both, that is none of it."""
    mask = np.zeros(SIZE, bool)
    for x in range(20, 180):
        y = 40 + round(12 * np.sin(x / 20))
        mask[y - 1 : y + 2, x] = True
    mask[36:40, 150:156] = True
    return mask


def reader(mask: np.ndarray, asked: list[Window]):
    def read(window: Window) -> np.ndarray:
        asked.append(window)
        return window.cut(mask).astype(np.float32)

    return read


def test_a_crack_is_followed_to_both_its_ends_and_nothing_else_is_taken() -> None:
    mask, asked = crack(), []
    found = followed(SIZE, Window(30, 80, SIDE, SIDE), reader(mask, asked)) > 0.5
    assert found[:, 20:180].any(0).all() and not found[36:40, 150:156].any()
    assert (found <= mask).all() and len(asked) <= 12


def test_a_defect_within_its_window_is_looked_for_there_alone() -> None:
    mask, asked = np.zeros(SIZE, bool), []
    mask[40:50, 90:100] = True
    assert np.array_equal(followed(SIZE, Window(30, 80, SIDE, SIDE), reader(mask, asked)) > 0.5, mask)
    assert asked == [Window(30, 80, SIDE, SIDE)]


def test_a_defect_ends_at_the_image_s_edges() -> None:
    mask, asked = np.zeros(SIZE, bool), []
    mask[40:44, :20] = True
    followed(SIZE, Window(30, 0, SIDE, SIDE), reader(mask, asked))
    assert len(asked) == 1


def test_a_defect_is_followed_up_to_an_edge_that_its_window_nearly_shows() -> None:
    """Else it would end where the window does, blunt, and not be known to begin at the edge."""
    mask, start = np.zeros(SIZE, bool), Window(30, SIZE[1] - SIDE - 4, SIDE, SIDE)
    mask[40:44, 175:] = True
    asked: list[Window] = []
    found = followed(SIZE, start, reader(mask, asked))
    assert np.array_equal(found > 0.5, mask) and len(asked) == 2
    assert window_at_edge(found, start) == Window(26, SIZE[1] - SIDE, SIDE, SIDE)


def test_parts_that_touch_or_nearly_do_are_one() -> None:
    known, found = np.zeros((9, 20), bool), np.zeros((9, 20), bool)
    known[4, :5] = True
    found[4, 6:9] = found[4, 15:] = True
    assert connected(found, known)[4].tolist() == [6 <= x < 9 for x in range(20)]


def masks_of(truth: np.ndarray):
    def read(window: Window) -> Tensor:
        return torch.from_numpy(window.cut(truth).astype(np.float32))[None, None]

    return read


def test_the_window_with_most_of_a_defect_is_shown() -> None:
    truth = np.zeros(SIZE, bool)
    truth[10:20, 150:160] = True
    points = np.array([[0.8, 0.1], [0.2, 0.8], [0.5, 0.5]])
    photograph = Photograph(np.zeros(SIZE, np.float32), SIDE, None, points)
    window = best_window(photograph, masks_of(truth))
    assert window.size == (SIDE, SIDE) and window.cut(truth).sum() == 100
    assert abs(window.left + SIDE / 2 - 155) <= 1
    assert best_window(Photograph(np.zeros(SIZE, np.float32)), masks_of(truth)) == whole(SIZE)


def test_a_cutout_reaches_beyond_the_window_that_was_shown() -> None:
    truth, shown = crack(), Window(30, 80, SIDE, SIDE)
    pixels = np.where(truth, -0.5, 0.2).astype(np.float32)
    style = torch.tensor([-0.5, -3.0])
    cutout = cut_out(Photograph(pixels, SIDE, shown), style, torch.zeros(1), masks_of(truth)(shown), masks_of(truth))
    assert cutout is not None
    left, right = cutout.box[1] * SIDE + shown.left, cutout.box[3] * SIDE + shown.left
    assert 5 <= left <= 20 and 180 <= right <= 195
    assert cutout.alpha.shape == cutout.values.shape[:2] and (cutout.alpha > 127).any(0)[12:-12].all()


def likely(mask: np.ndarray, asked: list[Window]):
    """Probabilities as of a mask, of several windows at a time."""

    def look(windows: list[Window]) -> list[np.ndarray]:
        asked.extend(windows)
        return [window.cut(mask).astype(np.float32) for window in windows]

    return look


def photograph(points: np.ndarray | None = None) -> Photograph:
    return Photograph(np.zeros(SIZE, np.float32), SIDE, points=points)


def test_places_are_looked_for_in_the_whole_image() -> None:
    """Those of the largest part and of others that are not much smaller."""
    mask = np.zeros(SIZE)
    mask[70:80, 150:160], mask[10:14, 20:26], mask[40, 100] = 0.9, 0.8, 0.6
    places = look_over(photograph(), likely(mask, []))
    assert places is not None and places.shape == (64, 2)
    rows, columns = (places * SIZE).astype(int).T
    assert (mask[rows, columns] >= 0.8).all() and {0.8, 0.9} == set(mask[rows, columns])


def test_places_known_before_say_where_to_look_first() -> None:
    asked: list[Window] = []
    mask = crack() * 0.9
    with_points = photograph(np.array([[0.9, 0.95]]))
    assert look_over(with_points, likely(mask, asked)) is not None
    assert asked[0].top + SIDE > 0.9 * SIZE[0] and asked[0].left + SIDE > 0.95 * SIZE[1]


def test_nothing_is_said_where_nothing_is_found_or_the_whole_image_is_shown() -> None:
    assert look_over(photograph(), likely(np.full(SIZE, 0.05), [])) is None
    assert look_over(Photograph(np.zeros(SIZE, np.float32)), likely(np.ones(SIZE), [])) is None


def test_of_an_image_that_stands_out_enough_no_more_windows_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    method, asked = small(), []
    monkeypatch.setattr(method.prior, "heat", lambda levels, product: torch.full((1, 1, 2, 2), 2.0))
    blank = torch.zeros(1, 1, WIDE, WIDE)
    monkeypatch.setattr(method, "_shown", lambda photograph, window: asked.append(window) or blank)
    photograph = Photograph(np.zeros(SIZE, np.float32), SIDE, points=np.array([[0.9, 0.9], [0.85, 0.95], [0.1, 0.5]]))
    assert method.unusual(photograph, 0, 1.5) == 2
    assert len(asked) == 1 and asked[0].cut(np.indices(SIZE).sum(0)).max() == sum(SIZE) - 2  # the last corner
    assert method.unusual(photograph, 0, 2.0) == 2 and len(asked) == 1 + len(tiles(SIZE, SIDE))


def test_of_a_very_large_image_some_windows_are_looked_at_from_end_to_end() -> None:
    photograph = Photograph(np.zeros((400, 600), np.float32), 20)
    every, some = photograph.parts(), photograph.parts(50)
    assert len(every) > 500 and len(set(some)) == 50 and set(some) <= set(every)
    assert some[0] == every[0] and some[-1] == every[-1]
    pointed = replace(photograph, points=np.array([[0.99, 0.99]]))
    assert pointed.parts(1) == [every[-1]] and len(pointed.parts()) == len(every)
