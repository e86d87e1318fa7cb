"""M of the residual method as a network: frames, training, drawing, and what its bundle holds."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from residual_parts import SIZE, a_defect, model_of, trained
from small_networks import CPU
from torch import Tensor

from defectaug.bundle import TrainedOn, load_model, read_weights, write_config, write_weights
from defectaug.data.framing import Photograph
from defectaug.errors import BundleError
from defectaug.methods.residual.bank import OUTLINES
from defectaug.methods.residual.defect import masked_mean
from defectaug.methods.residual.inference import InferenceModel
from defectaug.methods.residual.mapping import lesson
from defectaug.methods.residual.mapping.frame import from_frame, pose_of, to_frame
from defectaug.methods.residual.mapping.lesson import Lesson, augmented
from defectaug.methods.residual.mapping.mapped import Mapped
from defectaug.methods.residual.mapping.network import SIDE
from defectaug.methods.residual.method import ResidualMethod

pytestmark = pytest.mark.xdist_group("residual mapping")
DATA = TrainedOn(("A", "B"), ("normal", "scratch", "spot"), {"A/scratch": 2, "B/spot": 2}, "native", 255, "../data")


def hairline(degrees: float) -> Tensor:
    """A line three pixels wide and forty long, off the middle."""
    angle = math.radians(degrees)
    y, x = torch.meshgrid(torch.arange(SIZE) - 28.0, torch.arange(SIZE) - 34.0, indexing="ij")
    along, across = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
    return ((along.abs() < 20) & (across.abs() < 1.5)).float()[None, None]


@pytest.mark.parametrize("degrees", [0, 30, 90, -60])
def test_a_hairline_fills_its_frame_and_comes_back_as_thin_as_it_was(degrees: float) -> None:
    mask = hairline(degrees)
    pose = pose_of(mask)
    framed = to_frame(mask, pose, SIDE)
    assert float(framed.mean()) > 0.5  # of the image it is a fortieth
    back = from_frame(framed, pose, SIZE) > 0.5
    union, both = (back | (mask > 0)).sum(), (back & (mask > 0)).sum()
    assert float(both / union) > 0.9


def test_an_empty_mask_has_a_finite_pose() -> None:
    pose = pose_of(torch.zeros(1, 1, SIZE, SIZE))
    assert bool(pose.isfinite().all())


def test_defects_are_augmented_about_where_they_are_and_flips_are_heeded() -> None:
    defect = replace(a_defect(1, 8), mask=hairline(30).expand(8, -1, -1, -1))
    moved = augmented(defect, "none", torch.Generator().manual_seed(0))
    assert not torch.equal(moved.mask, defect.mask)
    before, after = pose_of(defect.mask), pose_of(moved.mask)
    assert float((after[:, :2] - before[:, :2]).abs().max()) < 0.35  # some ten pixels
    assert bool((after[:, 3] > 0).all())  # none leans the other way
    assert bool((pose_of(augmented(defect, "h", torch.Generator().manual_seed(0)).mask)[:, 3] < 0).any())


@pytest.fixture(scope="module")
def finished() -> ResidualMethod:
    """A method whose M has learnt for some steps."""
    method = trained(3, "network")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lesson, "STEPS", 2)
        method.finish(lambda number: Photograph(np.zeros((SIZE, SIZE, 3), np.float32)))
    return method


def test_m_learns_what_the_bank_holds() -> None:
    model = trained(1, "network").average
    assert isinstance(model, Mapped)
    lesson = Lesson(model.mapping, model.bank, model.category, "h", torch.Generator().manual_seed(0), CPU)
    values = [lesson.step(number, 1.0) for number in range(12)]
    assert all(math.isfinite(value) for step in values for value in step.values())
    masks = [step["mask"] for step in values]
    assert sum(masks[-3:]) < 0.8 * sum(masks[:3])
    assert bool(lesson.met.all()) and float(model.mapping.centre.abs().sum()) > 0


def test_a_bundle_with_m_holds_no_outlines(finished: ResidualMethod, tmp_path: Path) -> None:
    assert bool((finished.average.bank.keys >= 0).any())
    write_config(tmp_path, finished.config, DATA)
    write_weights(tmp_path, finished.weights())
    weights, _ = read_weights(tmp_path)
    assert all(weights[f"bank.{name}"].numel() == 0 for name in OUTLINES)
    model = load_model(tmp_path, "cpu")
    assert isinstance(model, InferenceModel)
    codes = model.latent_codes(torch.tensor([1, 2]), [0, 1], torch.tensor([0, 1]))
    painted = model.paint(torch.zeros(2, 3, SIZE, SIZE), codes)
    assert bool((painted.delta.flatten(1).abs().amax(1) > 0).all())
    styled = model.with_style(codes, [5, 6])
    assert not torch.equal(styled.shape.style, codes.shape.style)


def test_each_seed_draws_its_own_defect_whatever_its_neighbours(finished: ResidualMethod) -> None:
    model = finished.average
    assert isinstance(model, Mapped)
    generators = [torch.Generator().manual_seed(seed) for seed in (3, 4)]
    both = model.drawn(torch.tensor([1, 1]), torch.tensor([0, 0]), generators)[0]
    alone = model.drawn(torch.tensor([1]), torch.tensor([0]), [torch.Generator().manual_seed(4)])[0]
    torch.testing.assert_close(both.mask[1:], alone.mask, atol=1e-4, rtol=0)
    torch.testing.assert_close(both.style[1:], alone.style, atol=1e-4, rtol=0)
    assert not torch.equal(both.mask[0], both.mask[1])
    assert float(masked_mean(both.structure, both.mask).abs().max()) < 0.1
    nothing = model.drawn(torch.tensor([0]), torch.tensor([0]), [torch.Generator().manual_seed(4)])[0]
    assert float(nothing.mask.abs().max()) == 0


def test_a_model_whose_m_has_not_learnt_says_so() -> None:
    method = trained(3, "network")
    shape, *_ = method.average.drawn(torch.tensor([1]), torch.tensor([0]), [torch.Generator().manual_seed(4)])
    assert float(shape.mask.max()) == 1  # the bank's
    with pytest.raises(BundleError, match="interrupted"):
        model_of(method).latent_codes(torch.tensor([1]), [0])


def test_the_bank_is_kept_where_m_is_none() -> None:
    weights = trained(3).weights()
    assert not any(name.startswith("mapping.") for name in weights) and weights["bank.masks"].numel() > 0
