"""Defects that begin at the edge of a photograph begin there again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from residual_parts import SIZE, a_defect
from torch import Tensor

from defectaug.io.windows import Window
from defectaug.methods.placement import Placement
from defectaug.methods.residual.border import attached, contact, exposed
from defectaug.methods.residual.defect import Defect
from defectaug.methods.residual.follow import window_at_edge
from defectaug.methods.residual.model import CONTEXT
from defectaug.methods.residual.warp import candidates, draw_warps, place

ALL = torch.ones(1, 4, dtype=torch.bool)
STAYS = torch.tensor([[[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]]])


def bar(edges: Tensor = ALL) -> Defect:
    mask = torch.zeros(1, 1, SIZE, SIZE)
    mask[0, 0, 28:34, 40:] = 1  # from the middle to the right edge
    plain = torch.zeros(1, 1, CONTEXT, CONTEXT)
    return replace(a_defect(1, 1), mask=mask, structure=mask * 0.5, context=plain, edges=edges)


def strips(mask: Tensor) -> list[int]:
    there = mask[0, 0] > 0.5
    return [int(strip.sum()) for strip in (there[:2], there[:, :2], there[-2:], there[:, -2:])]


def shifted(right: float) -> Tensor:
    maps = STAYS.clone()
    maps[..., 0, 2] = -right
    return maps


def test_a_contact_is_where_the_defect_meets_an_edge_of_its_photograph() -> None:
    met = contact(bar())
    assert met.there.tolist() == [True] and met.main.tolist() == [3]
    assert met.middle[0].tolist() == pytest.approx([1, -0.03], abs=0.02)
    assert not contact(bar(torch.zeros(1, 4, dtype=torch.bool))).there.any()  # a window's edge, the crack goes on


def test_an_end_within_the_image_is_exposed_and_moving_it_back_helps() -> None:
    met = contact(bar())
    for right in (-0.6, -0.2):
        assert float(exposed(shifted(right), met)) > 0.8
        assert float(exposed(attached(shifted(right), met), met)) < 0.05
    assert float(exposed(STAYS, met)) < 0.05


def test_a_defect_meets_an_edge_that_lies_its_way_if_the_image_ends_there() -> None:
    half_turn = torch.tensor([[[[-1.0, 0.0, 0.3], [0.0, -1.0, 0.0]]]])
    moved = attached(half_turn, contact(bar()))
    assert float(exposed(moved, contact(bar()))) < 0.05  # at the left edge
    only_right = contact(bar(), torch.tensor([[False, False, False, True]]))
    assert torch.equal(attached(half_turn, only_right), half_turn) and float(exposed(half_turn, only_right)) > 0.8


def test_an_end_beyond_a_window_is_exposed_where_the_photograph_goes_on_there() -> None:
    """Defects are pasted on the photograph, beyond the window, too."""
    beyond = torch.tensor([[[[-1.0, 0.0, -0.3], [0.0, -1.0, 0.0]]]])  # turned by half, the end left of the window
    for edges, share in (([False, False, False, True], 1.0), ([False, True, False, True], 0.0)):
        assert float(exposed(beyond, contact(bar(), torch.tensor([edges])))) == pytest.approx(share, abs=0.05)


@pytest.mark.parametrize("size", [0.7, 1.0])
def test_new_defects_begin_at_the_edge_as_known_ones_do(size: float) -> None:
    target, whole = torch.zeros(1, 1, CONTEXT, CONTEXT), torch.ones(1, 1, SIZE, SIZE)
    for seed in range(15):
        warps = draw_warps([torch.Generator().manual_seed(seed)], torch.device("cpu"))
        for edges in (None, torch.tensor([[False, False, False, True]])):
            wishes = Placement(whole, torch.ones(1), torch.full((1,), size), None, edges)
            moved, *_ = place(bar(), target, warps, "", wishes)
            assert max(strips(moved.mask)) >= 4 and int((moved.mask > 0.5).sum()) > 30
            assert edges is None or strips(moved.mask)[3] >= 4


def test_a_defect_that_meets_no_edge_goes_where_it_did() -> None:
    target = torch.zeros(1, 1, CONTEXT, CONTEXT)
    inside = replace(bar(), mask=torch.roll(bar().mask, -20, -1))
    warps = draw_warps([torch.Generator().manual_seed(3)], torch.device("cpu"))
    without = replace(inside, edges=torch.zeros(1, 4, dtype=torch.bool))
    torch.testing.assert_close(place(inside, target, warps, "")[1], place(without, target, warps, "")[1])


def test_a_crack_that_leaves_the_image_is_shown_where_it_does() -> None:
    found = np.zeros((200, 120), np.float32)
    found[90:94, 30:] = 1
    assert window_at_edge(found, Window(76, 20, 32, 32)) == Window(76, 88, 32, 32)
    assert window_at_edge(found, Window(76, 88, 32, 32)) is None  # is shown
    found[:, 110:] = 0
    assert window_at_edge(found, Window(76, 20, 32, 32)) is None  # ends before


def test_what_stays_keeps_its_size_unless_another_is_wished_for() -> None:
    """Kinds of candidates come in turn: stays, round, anywhere."""
    inside = replace(bar(), mask=torch.roll(bar().mask, -20, -1))
    target, one = torch.zeros(1, 1, CONTEXT, CONTEXT), torch.ones(1)
    warps = draw_warps([torch.Generator().manual_seed(3)], torch.device("cpu"))
    varied = Placement(torch.ones(1, 1, SIZE, SIZE), one, one, 0.7 * one)
    plain, smaller = (candidates(inside, target, warps, "", wishes)[0] for wishes in (None, varied))
    ratio = (torch.det(smaller[..., :2]) / torch.det(plain[..., :2])).sqrt()[0]
    assert ratio[0::3].tolist() == pytest.approx([1] * 6) and ratio[1::3].tolist() == pytest.approx([1 / 0.7] * 6)
    wished = replace(varied, size=0.5 * one, varied=None)
    halved, known = (place(inside, target, warps, "", wishes)[1][..., :2] for wishes in (wished, None))
    assert float(torch.det(halved) / torch.det(known)) == pytest.approx(4)
