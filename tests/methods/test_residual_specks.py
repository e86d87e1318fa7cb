"""Masks that E learns from lose what shows nothing: their rim, what lies between specks; and new styles of specks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from residual_parts import SIZE, small
from torch import Tensor

from defectaug.methods.residual.cutout import HUE, Cutout, Pasting
from defectaug.methods.residual.model import Residual

PART, TABLE, DIRT = (0.7, 0.4, 0.3), (-0.6, -0.3, -0.2), -0.7
CENTRE, RADIUS = 64, 40


def far(size: int = 128) -> NDArray[np.float64]:
    rows, columns = np.mgrid[:size, :size]
    return np.hypot(rows - CENTRE, columns - CENTRE)


def part_on_a_table(specks: bool) -> NDArray[np.float32]:
    image = np.where((far() < RADIUS)[..., None], PART, TABLE).astype(np.float32)
    if specks:
        for row, column in ((50, 50), (60, 80), (80, 60), (75, 85), (45, 70)):
            image[row : row + 4, column : column + 4] = DIRT
    return image


def test_masks_lose_the_rim_in_which_nothing_is_to_be_seen() -> None:
    """A thin line in a mask that is five pixels too wide on every side."""
    model = Residual(SIZE, 1, 2, 1, 4)
    x = torch.full((1, 1, SIZE, SIZE), 0.2)
    x[:, :, 30:33, 20:44] = -0.6
    wide = torch.zeros_like(x)
    wide[:, :, 25:38, 15:49] = 1
    found = model.tightened(x, wide) > 0.5
    line = x < 0
    assert bool((found & line).sum() == line.sum()) and int(found.sum()) < 0.5 * float(wide.sum())
    assert not model.tightened(x, torch.zeros_like(x)).any()


def test_what_lies_between_specks_is_no_part_of_their_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small(3).model
    monkeypatch.setattr(Residual, "clean", lambda self, x, mask: torch.zeros_like(x))
    x, mask = torch.zeros(1, 3, SIZE, SIZE), torch.zeros(1, 1, SIZE, SIZE)
    x[..., 12:16, 12:16] = x[..., 44:48, 44:48] = x[..., 12:16, 20:24] = -0.8
    mask[..., 8:52, 8:52] = 1
    found = model.tightened(x, mask)[0, 0] > 0.5
    assert found[12:16, 12:16].all() and found[44:48, 44:48].all() and not found[24:36, 24:36].any()
    assert found[12:16, 16:20].all()  # a narrow gap is closed


def test_a_part_keeps_its_colour_where_a_mask_holds_most_of_it() -> None:
    """In the style of a darker defect the specks are darker. By the table's level the part would be nearly grey."""
    view, target = part_on_a_table(specks=True), part_on_a_table(specks=False)
    mask = (far() < RADIUS - 4).astype(np.float32)

    def hue(level: tuple[float, float, float]) -> float:
        style = Tensor([-0.15, -0.15, -0.15, -1.5])
        made = Cutout.of(view, mask, style, torch.tensor(level), 1)
        assert made is not None
        nothing = torch.zeros(3, 128, 128)
        one = Pasting(made, True, nothing[:1] + 1, nothing, style, made.level, HUE, None, None)
        darker = replace(one, style=style - torch.tensor([0.3, 0.3, 0.3, 0.0]))
        part = one.part((128, 128))
        change, _ = darker(part.cut(target), part, (128, 128))
        plain = (target + part.spread(change, (128, 128)))[64, 64]
        return float(plain[0] - plain[2])

    assert hue(PART) > 0.3 > hue(TABLE)
