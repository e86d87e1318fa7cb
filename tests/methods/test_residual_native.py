"""The residual method at the scale of photographs, under wishes for its defects, and what its bank knows of colours."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from fake_model import info
from residual_parts import SIZE, a_defect, model_of, square, trained
from small_networks import CPU, images
from torch import Tensor

from defectaug.io.images import NativeImage, to_model
from defectaug.io.windows import whole
from defectaug.methods.native import native_change, view_of
from defectaug.methods.placement import Placement
from defectaug.methods.residual.bank import DefectBank
from defectaug.methods.residual.defect import decompose
from defectaug.methods.residual.inference import InferenceModel
from defectaug.methods.residual.model import CONTEXT, Residual
from defectaug.methods.residual.native_structure import NativePainting, NativeStructure
from defectaug.methods.residual.spec import SPEC
from defectaug.methods.residual.warp import (
    enlarge,
    place,
)


def photograph(size: tuple[int, int] = (256, 192), seed: int = 9) -> np.ndarray:
    """A grainy RGB surface in [-1, 1], of many times the model's detail."""
    return np.random.default_rng(seed).uniform(-0.3, 0.3, (*size, 3)).astype(np.float32)


def squeezed(view: np.ndarray) -> Tensor:
    return torch.from_numpy(to_model(view + 1, SIZE, 3, 2))[None]


def native_painting(view: np.ndarray, mask: Tensor, matrix: Tensor | None = None) -> NativePainting:
    """The defect of a photograph, painted where it was taken from, without a correction."""
    x, clean = squeezed(view), torch.zeros(1, 3, SIZE, SIZE)
    _, style = decompose(x, clean, mask)
    structure = NativeStructure.of(view, clean[0], mask[0], style[0])
    assert structure is not None
    nothing = torch.zeros(3, SIZE, SIZE)
    return NativePainting(structure, mask[0].expand(3, -1, -1), mask[0], clean[0], nothing, nothing, style[0, :-1],
                          float(style[0, -1].exp()), torch.zeros(3), matrix, None)  # fmt: skip


def test_a_defect_keeps_the_detail_of_its_photograph() -> None:
    view, mask = photograph(), square(count=1)
    painting = native_painting(view, mask)
    target = np.zeros_like(view)
    part = painting.part(view.shape[:2])
    change = painting(part.cut(target), part, view.shape[:2])
    inside = (slice(84, 124), slice(75, 105))  # of the mask's 80 to 128, 72 to 108
    made = part.spread(change, view.shape[:2])
    assert np.corrcoef(made[inside].ravel(), view[inside].ravel())[0, 1] > 0.95
    assert np.abs(made[:60]).max() < 1e-3 and np.abs(made[:, 130:]).max() < 1e-3
    coarse = native_change(squeezed(view)[0].numpy(), view.shape[:2], 3)  # what the model's size would leave of it
    assert coarse[inside].std() < 0.3 * made[inside].std()


def test_a_native_structure_moves_with_its_mask() -> None:
    view, mask = photograph(), square(count=1)
    shifted = torch.tensor([[1.0, 0, -0.25], [0, 1.0, 0]])  # an eighth to the right: 24 of 192 pixels
    moved = native_painting(view, mask.roll(8, 3), shifted)
    moved = replace(moved, structure=native_painting(view, mask).structure)
    part = moved.part(view.shape[:2])
    made = part.spread(moved(part.cut(np.zeros_like(view)), part, view.shape[:2]), view.shape[:2])
    assert np.corrcoef(made[84:124, 99:129].ravel(), view[84:124, 75:105].ravel())[0, 1] > 0.9


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("model_channels", [1, 3])
def test_a_change_at_native_scale_has_the_channels_of_its_image(channels: int, model_channels: int) -> None:
    pixels = (127.5 * (photograph() + 1)).astype(np.uint8)
    image = NativeImage(pixels if channels == 3 else pixels[..., 0])
    facts = info(image_size=SIZE, channels=model_channels)
    shown = view_of(image, whole(image.size), facts)
    seen, mask = torch.from_numpy(shown.pixels)[None], square(count=1)
    clean = torch.zeros_like(seen)
    _, style = decompose(seen, clean, mask)
    structure = NativeStructure.of(shown.at_most(1024), clean[0], mask[0], style[0])
    assert structure is not None and structure.values.shape[2] == model_channels
    nothing = torch.zeros(model_channels, SIZE, SIZE)
    painting = NativePainting(structure, mask[0].expand_as(nothing), mask[0], clean[0], nothing, nothing,
                              torch.zeros(model_channels), float(style[0, -1].exp()), torch.zeros(model_channels), None,
                              None)  # fmt: skip
    change = shown.change(nothing.numpy(), painting)
    assert change.shape == image.pixels.shape and np.abs(change[84:124, 75:105]).max() > 0.03


def test_images_hardly_larger_than_the_model_have_no_native_structure() -> None:
    view, mask = photograph((70, 64)), square(count=1)
    style = torch.zeros(4)
    assert NativeStructure.of(view, torch.zeros(3, SIZE, SIZE), mask[0], style) is None
    assert NativeStructure.of(photograph(), torch.zeros(3, SIZE, SIZE), 0 * mask[0], style) is None


def test_a_finished_run_keeps_native_structures_and_a_bundle_takes_them() -> None:
    method = trained()
    method.finish(lambda number: (photograph(seed=number) + 1) / 2)
    kept = method.average.bank
    slots = [slot for slot in range(len(kept.keys)) if kept.native(slot) is not None]
    model = model_of(method)
    assert [s for s in range(len(kept.keys)) if model.model.bank.native(s) is not None] == slots
    assert len(kept.pictures) == int(kept.ends[-1])
    old = {name: value for name, value in method.weights().items() if name not in SPEC.unsized}
    facts = info(image_size=SIZE, channels=3)
    assert InferenceModel.build(method.config, facts, old, CPU).model.bank.native(0) is None


def test_pictures_of_a_bank_come_back() -> None:
    bank = DefectBank(SIZE, 3, 3, CONTEXT, 8)
    smooth = np.tile(np.linspace(40, 220, 96, dtype=np.uint8)[:, None, None], (1, 64, 3))
    bank.keep_native({2: NativeStructure(smooth, (0.1, 0.2, 0.5, 0.6))})
    back = bank.native(2)
    assert back is not None and bank.native(1) is None and bank.native(3) is None and bank.native(-1) is None
    assert np.abs(back.values.astype(int) - smooth).mean() < 2 and back.box == pytest.approx((0.1, 0.2, 0.5, 0.6))


def wishes(count: int, region: Tensor | None = None, strength: float = 1.0, size: float = 1.0) -> Placement:
    region = torch.ones(1, 1, SIZE, SIZE) if region is None else region
    return Placement(region.expand(count, -1, -1, -1), torch.full((count,), strength), torch.full((count,), size))


def test_defects_go_where_they_may_and_are_as_large_and_strong_as_wished() -> None:
    model, source = model_of(trained()), torch.zeros(16, 3, SIZE, SIZE)
    codes = model.latent_codes(torch.tensor([1, 2] * 8), list(range(16)), torch.tensor([0, 0, 1, 1] * 4))
    read = model.source_features(source)
    plain = model.paint_on(read, codes)
    corner = torch.zeros(1, 1, SIZE, SIZE)
    corner[..., :24, 40:] = 1
    placed = model.paint_placed(read, codes, wishes(16, corner))
    assert float((placed.delta * (1 - corner)).abs().max()) == 0
    seen = (placed.delta.abs().amax(1) > 0.02).sum((1, 2))
    assert int((seen > 40).sum()) >= 14, seen  # cut off alone, few would be left: their own place is the middle
    assert codes.warps is not None
    target = torch.zeros(16, 3, CONTEXT, CONTEXT)
    areas = [float(place(codes.shape, target, codes.warps, "h", wish)[0].mask.sum())
             for wish in (None, wishes(16, size=1.5))]  # fmt: skip
    assert areas[1] / areas[0] == pytest.approx(1.5**2, rel=0.15)
    faint = model.paint_placed(read, codes, wishes(16, strength=0.5))  # twice as strong some would reach white
    contrasts = [float((one.delta * (plain.opacity > 0.9)).square().mean().sqrt()) for one in (plain, faint)]
    assert contrasts[1] / contrasts[0] == pytest.approx(0.5, rel=0.1)


def test_wishes_of_one_image_leave_its_neighbours_alone() -> None:
    model, source = model_of(trained()), 0.1 * images(2, 5, SIZE, 3)
    codes = model.latent_codes(torch.tensor([1, 2]), [1, 2], torch.tensor([0, 1]))
    read = model.source_features(source)
    region = torch.ones(2, 1, SIZE, SIZE)
    region[1, :, :, :32] = 0
    mixed_wishes = Placement(region, torch.tensor([1.0, 2.0]), torch.tensor([1.0, 0.7]))
    plain, placed = model.paint_on(read, codes), model.paint_placed(read, codes, mixed_wishes)
    torch.testing.assert_close(placed.image[0], plain.image[0])
    assert not torch.equal(placed.image[1], plain.image[1])


def test_a_reference_s_defect_is_enlarged_where_it_is() -> None:
    mask = square(30, 24, 12)
    defect, maps = enlarge(replace(a_defect(), mask=mask), torch.tensor([1.0, 1.5]))
    assert torch.equal(defect.mask[0], mask[0])
    assert float(defect.mask[1].sum()) == pytest.approx(144 * 1.5**2, rel=0.06)
    assert maps.shape == (2, 2, 3)


def test_confidence_is_above_a_half_where_the_model_names_the_class() -> None:
    model, x = model_of(trained()), images(4, 3, SIZE, 3)
    label = torch.tensor([1, 2, 1, 2])
    seen = model.assess(x, label, square(count=4))
    assert ((seen.confidence > 0.5) == model.shows(x, label)).all()
    assert seen.features.shape == (4, 160) and bool(seen.features.isfinite().all())


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
