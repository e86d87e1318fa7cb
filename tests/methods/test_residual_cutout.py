"""The residual method at the scale of photographs, and under wishes for its defects."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from fake_model import info
from residual_parts import SIZE, a_defect, batch, model_of, square, trained
from scipy.ndimage import gaussian_filter
from small_networks import CPU, images
from torch import Tensor

from defectaug.data.framing import Photograph
from defectaug.io.images import NativeImage, to_model
from defectaug.io.windows import whole
from defectaug.methods.cutpaste.model import PlainPasting
from defectaug.methods.native import Change, native_change, view_of
from defectaug.methods.placement import Placement, Variety
from defectaug.methods.residual import cutout
from defectaug.methods.residual.bank import DefectBank
from defectaug.methods.residual.cutout import HUE, Cutout, Pasting, coded, decoded, enlarged, lit, shares
from defectaug.methods.residual.defect import decompose
from defectaug.methods.residual.inference import VARIETY, InferenceModel
from defectaug.methods.residual.model import CONTEXT
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


def style_of(view: np.ndarray, mask: Tensor) -> Tensor:
    return decompose(squeezed(view), torch.zeros(1, 3, SIZE, SIZE), mask)[1][0]


def pasting(view: np.ndarray, mask: Tensor, kind: type[Pasting] = Pasting, matrix: Tensor | None = None) -> Pasting:
    """The defect of a photograph, in its own style."""
    style = style_of(view, mask)
    made = Cutout.of(view, enlarged(mask[0], view.shape[:2]), style, torch.zeros(3), SCALE)
    assert made is not None
    nothing = torch.zeros(3, SIZE, SIZE)
    return kind(made, True, torch.ones_like(mask[0]), nothing, style, nothing[:, 0, 0], HUE, matrix, None)


def painted(one: Pasting, target: np.ndarray) -> np.ndarray:
    size = target.shape[:2]
    part = one.part(size)
    return target + part.spread(one(part.cut(target), part, size)[0], size)


SCALE = 3.5  # pixels of photograph() a pixel of the model's, about
INSIDE = (slice(80, 128), slice(72, 108))  # what the mask of square() covers


def with_blob() -> np.ndarray:
    view = photograph()
    view[INSIDE] -= 0.5
    return view


def test_shares_of_light_come_back_at_their_level() -> None:
    rng, level = np.random.default_rng(0), np.array([-0.6, 0.1, 0.9], np.float32)
    pixels = rng.uniform(-1, 1, (9, 7, 3)).astype(np.float32)
    share = shares(pixels, level)
    assert np.abs(lit(share, level) - pixels).max() < 1e-5
    assert np.abs(decoded(torch.from_numpy(coded(share.clip(-1, 1)))).numpy() - share.clip(-1, 1)).max() < 0.01


def test_a_defect_comes_with_its_pixels_onto_a_surface_like_its_own() -> None:
    view, mask = with_blob(), square(count=1)
    target = photograph(seed=3)
    made = painted(pasting(view, mask), target)
    assert np.abs(made - view)[INSIDE].max() < 0.05  # kept in 256 steps
    assert np.abs(made - target)[:60].max() == 0 and np.abs(made - target)[:, 130:].max() == 0
    coarse = native_change(squeezed(view - target)[0].numpy(), view.shape[:2], 3)
    assert (2 * coarse)[INSIDE].std() < 0.5 * (made - target)[INSIDE].std()  # what the model's size would leave of it


def test_a_defect_takes_the_light_of_its_new_place() -> None:
    view, mask = with_blob(), square(count=1)
    dim = (photograph(seed=3) + 1) * 0.5 - 1
    made, plain = (painted(pasting(view, mask, kind), dim) for kind in (Pasting, PlainPasting))
    inside, around = made[INSIDE].mean(), made[60:70, 60:130].mean()
    assert inside + 1 == pytest.approx(0.5 * (view[INSIDE].mean() + 1), abs=0.04)
    assert around == pytest.approx(dim.mean(), abs=0.05)  # brighter where what came with the defect kept its light
    assert plain[INSIDE].mean() == pytest.approx(view[INSIDE].mean(), abs=0.02)


def test_grain_that_a_mask_holds_dims_with_the_surface_and_a_bright_defect_does_not() -> None:
    """At half of the light: what is a twentieth brighter than the surface stays so, within what blends the two."""
    dim, mask = (photograph(seed=3) + 1) * 0.5 - 1, square(count=1)
    brighter = []
    for level in (0.05, 0.8):
        view = photograph()
        view[INSIDE] = level
        brighter.append(painted(pasting(view, mask), dim)[INSIDE].mean())
    assert brighter[0] < -0.43  # -0.41 if it kept its share of what is left to white
    assert brighter[1] > 1.8 * 0.5 - 1 + 0.4


def test_a_defect_takes_on_half_of_a_surface_s_hue() -> None:
    view, mask = with_blob(), square(count=1)
    blue = (photograph(seed=3) + 1) * np.array([0.7, 1.0, 1.3], np.float32) - 1
    own = pasting(view, mask)
    ratios = []
    for hue in (0.0, 0.5, 1.0):
        made = painted(replace(own, hue=hue), blue)
        ratios.append((made[INSIDE][..., 2].mean() + 1) / (made[INSIDE][..., 0].mean() + 1))
        assert np.abs(made[66:72, 75:105].mean((0, 1)) - blue[66:72, 75:105].mean((0, 1))).max() < 0.05
    assert ratios[0] == pytest.approx(1, abs=0.07) and ratios[2] == pytest.approx(1.3 / 0.7, rel=0.15)
    assert ratios[1] == pytest.approx((ratios[0] * ratios[2]) ** 0.5, rel=0.05)


def test_a_style_changes_the_defect_and_not_what_came_with_it() -> None:
    view, mask, target = with_blob(), square(count=1), photograph(seed=3)
    own = pasting(view, mask)
    other = replace(own, style=own.style * torch.tensor([0.2, 0.2, 0.2, 1.0]))
    change = np.abs(painted(other, target) - painted(own, target)).mean(2)
    assert change[90:118, 82:98].min() > 0.1
    outside = np.ones(change.shape, bool)
    outside[76:132, 68:112] = False
    assert change[outside].max() < 0.01


def test_what_surrounds_a_defect_stays_behind_where_the_product_is_another() -> None:
    view, mask, target = with_blob(), square(count=1), photograph(seed=3)
    own = pasting(view, mask)
    near = (slice(75, 77), slice(80, 100))  # rows some four above the mask
    alike, foreign = (np.abs(painted(replace(own, alike=way), target) - target) for way in (True, False))
    assert alike[near].mean() > 0.01 > 0.002 > foreign[near].mean()
    assert foreign[INSIDE].mean() == pytest.approx(alike[INSIDE].mean(), rel=0.1)


def coarse(seed: int) -> np.ndarray:
    """A surface of large soft blobs."""
    noise = np.random.default_rng(seed).normal(size=(128, 128, 1)).astype(np.float32)
    smooth = gaussian_filter(noise, (8, 8, 0))
    return np.repeat(0.15 * smooth / smooth.std(), 3, axis=2)


def steepest(image: np.ndarray) -> float:
    """Below the mark of the test that follows."""
    return float(np.percentile(np.abs(np.diff(image[67:82, 30:100], axis=0)), 95))


def test_a_coarse_surface_is_not_outlined_around_a_defect(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over a narrow rim its blobs would go over into those that came with the defect too fast."""
    mask = np.zeros((128, 128), np.float32)
    mask[62:66, 30:100] = 1
    steps: dict[float, list[float]] = {1: [], cutout.WIDEST: []}
    for widest, found in steps.items():
        monkeypatch.setattr(cutout, "WIDEST", widest)
        for seed in range(6):
            view, target = coarse(seed), coarse(seed + 10)
            view[mask > 0] -= 0.5
            made = Cutout.of(view, mask, torch.tensor([-0.5, -0.5, -0.5, -3.0]), torch.zeros(3), 1)
            assert made is not None
            nothing = torch.zeros(3, 128, 128)
            one = Pasting(made, True, nothing[:1] + 1, nothing, made.style, made.level, HUE, None, None)
            found.append(steepest(painted(one, target)))
    own = np.mean([steepest(coarse(seed + 10)) for seed in range(6)])
    narrow, wide = (float(np.mean(found)) for found in steps.values())
    assert wide < 0.85 * narrow and wide < 2.5 * own, (narrow, wide, own)


@pytest.mark.parametrize("kind", [Pasting, PlainPasting])
def test_strength_is_a_factor_on_all_of_a_defect(kind: type[Pasting]) -> None:
    view, target = with_blob(), np.zeros((256, 192, 3), np.float32)
    whole_change, half = (
        painted(replace(pasting(view, square(count=1), kind), strength=strength), target)[INSIDE]
        for strength in (1.0, 0.5)
    )
    ratio = np.abs(half).mean() / np.abs(whole_change).mean()
    assert ratio == pytest.approx(0.5, abs=0.03)


def test_a_cutout_moves_with_its_mask() -> None:
    view, mask = with_blob(), square(count=1)
    shifted = torch.tensor([[1.0, 0, -0.25], [0, 1.0, 0]])  # an eighth to the right: 24 of 192 pixels
    moved = replace(pasting(view, mask), matrix=shifted)
    made = painted(moved, photograph(seed=3))
    assert np.corrcoef(made[84:124, 99:129].ravel(), view[84:124, 75:105].ravel())[0, 1] > 0.9


def test_nothing_is_painted_where_a_cutout_ends() -> None:
    """A defect at the border of its image, put in the middle of another: beyond that border nothing is known."""
    view, mask = photograph(), torch.zeros(1, 1, SIZE, SIZE)
    view[:, :24] -= 0.5
    mask[..., 20:32, :8] = 1
    shifted = torch.tensor([[1.0, 0, -0.5], [0, 1.0, 0]])  # 48 of 192 pixels
    target = photograph(seed=3)
    made = painted(replace(pasting(view, mask), matrix=shifted), target)
    assert np.abs(made - target)[:, :47].max() == 0 and np.abs(made - target)[90:110, 50:60].max() > 0.2


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("model_channels", [1, 3])
def test_a_change_at_native_scale_has_the_channels_of_its_image(channels: int, model_channels: int) -> None:
    pixels = (127.5 * (with_blob() + 1)).clip(0, 255).astype(np.uint8)
    image = NativeImage(pixels if channels == 3 else pixels[..., 0])
    facts = info(image_size=SIZE, channels=model_channels)
    shown = view_of(image, whole(image.size), facts)
    seen, mask = torch.from_numpy(shown.pixels)[None], square(count=1)
    _, style = decompose(seen, torch.zeros_like(seen), mask)
    view = shown.photograph(1024).pixels
    made = Cutout.of(view, enlarged(mask[0], image.size), style[0], torch.zeros(model_channels), SCALE)
    assert made is not None and made.values.shape[2] == model_channels
    nothing = torch.zeros(model_channels, SIZE, SIZE)
    bright = torch.cat([torch.full((model_channels,), 0.5), style[0, -1:]])
    painting = Pasting(made, True, torch.ones_like(mask[0]), nothing, bright, nothing[:, 0, 0], HUE, None, None)
    change = shown.change(nothing.numpy(), painting)
    assert change.values.shape == image.pixels.shape and np.abs(change.values[INSIDE]).max() > 0.1
    found = change.mask(None)
    assert found[90:118, 82:98].all() and not found[:70].any()


def test_a_mask_tells_the_defect_from_what_came_with_it() -> None:
    values = np.full((32, 32), 0.2, np.float32)
    defect = np.zeros((32, 32), np.float32)
    defect[10:20, 10:20] = 1
    assert Change(values).mask(None).all()
    assert Change(values, defect).mask(None).sum() == pytest.approx(100, abs=50)


def test_an_empty_mask_has_no_cutout() -> None:
    assert Cutout.of(photograph(), np.zeros((256, 192), np.float32), torch.zeros(4), torch.zeros(3), SCALE) is None


@pytest.mark.parametrize("windows", [False, True])
def test_a_finished_run_keeps_cutouts_and_a_bundle_takes_them(windows: bool) -> None:
    """Of whole photographs, or of those that are seen in windows."""
    method = trained()
    shown = F.interpolate(batch(3).reference, scale_factor=2.0).permute(0, 2, 3, 1).numpy()
    side = 2 * SIZE if windows else None
    method.finish(lambda number: Photograph(shown[number], side))
    bank = method.average.bank
    slots = [slot for slot in range(len(bank.keys)) if bank.cutout(slot) is not None]
    model = model_of(method)
    assert slots and [s for s in range(len(bank.keys)) if model.networks.bank.cutout(s) is not None] == slots
    assert len(bank.cutouts) == int(bank.cut_ends[-1])
    codes = model.latent_codes(torch.tensor([1, 2]), [1, 2], torch.tensor([0, 1]))
    made = model.paint(torch.zeros(2, 3, SIZE, SIZE), codes)
    assert any(change is not None for change in made.changes())
    assert all(model.networks.bank.box(slot) == (0, 0, 1, 1) for slot in slots)


def test_a_model_tells_where_the_defect_that_it_draws_was_seen() -> None:
    bank = (model := model_of(trained())).networks.bank
    assert bank.box(-1) is None and model.seen_in(1, 5, 0) is None
    filled = (bank.keys >= 0).nonzero().flatten().tolist()
    bank.products[:] = 0
    for slot in filled:
        bank.seen_in[slot] = torch.tensor([slot / 100, 0.25, 0.5, 1])
    slots = [int(bank.draw(torch.tensor([1]), torch.tensor([0]), [torch.Generator().manual_seed(s)])[1][0])
             for s in range(9)]  # fmt: skip
    found = [model.seen_in(1, seed, 0) for seed in range(9)]
    for seen, slot in zip(found, slots, strict=True):
        assert seen is not None and seen.box == pytest.approx((slot / 100, 0.25, 0.5, 1))
        assert seen.around is not None and seen.around.shape[:2] == (CONTEXT, CONTEXT)
        assert np.allclose(seen.around.transpose(2, 0, 1), bank.contexts[slot].numpy() / 127.5 - 1, atol=1e-4)
    assert model.seen_in(1, 5, 1) is None and model.seen_in(1, 5, -1) is None  # another product's


def test_older_bundles_load() -> None:
    method = trained()
    old = {name: value for name, value in method.weights().items() if name not in SPEC.unsized}
    old |= {"painter.out.weight": torch.zeros(3), "bank.pictures": torch.zeros(7), "bank.ends": torch.zeros(8)}
    facts = info(image_size=SIZE, channels=3)
    bank = SPEC.load(method.config, facts, old, CPU).networks.bank  # type: ignore[union-attr]
    assert bank.cutout(0) is None and bank.box(0) is None


def test_cutouts_of_a_bank_come_back() -> None:
    bank = DefectBank(SIZE, 3, 3, CONTEXT, 8)
    smooth = np.tile(np.linspace(40, 220, 96, dtype=np.uint8)[:, None, None], (1, 64, 3))
    level = torch.tensor([0.1, -0.2, 0.3])
    alpha = np.zeros((96, 64), np.uint8)
    alpha[20:60, 10:30] = 255
    bank.keep_cutouts({2: Cutout(smooth, alpha, (-0.1, 0.2, 0.5, 1.6), level, torch.zeros(4))})
    back = bank.cutout(2)
    assert back is not None and bank.cutout(1) is None and bank.cutout(3) is None and bank.cutout(-1) is None
    assert np.abs(back.values.astype(int) - smooth).mean() < 2 and back.box == pytest.approx((-0.1, 0.2, 0.5, 1.6))
    assert np.array_equal(back.alpha, alpha)
    torch.testing.assert_close(back.level, level)
    assert bank.cutout(2) is back  # decoded once
    other = DefectBank(SIZE, 3, 3, CONTEXT, 8)
    other.keep_cutouts({2: Cutout(smooth[:50], alpha[:50], (0.0, 0.0, 1.0, 1.0), level, torch.zeros(4))})
    bank.load_state_dict(other.state_dict())
    again = bank.cutout(2)
    assert again is not None and again.alpha.shape == (50, 64)
    bank.keep_cutouts({})
    assert bank.cutout(2) is None


def test_a_source_that_is_known_to_be_normal_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """E takes what it has never seen on a product, a ring or a printing, for a defect."""
    model, source = model_of(trained()), 0.1 * images(2, 5, SIZE, 3)
    monkeypatch.setattr(InferenceModel, "_probability", lambda self, x: square(count=len(x)))
    for normal in (True, False):
        for x, clean in (one.parts for one in model.source_features(source, normal)):
            assert torch.equal(x, clean) == normal


def test_cut_and_paste_does_not_vary_what_it_pastes() -> None:
    model = model_of(trained())
    assert model.variety(1, 0).size == VARIETY.size
    model.info = replace(model.info, styles=False)
    assert model.variety(1, 0) == Variety()


def test_new_defects_are_no_fainter_and_no_stronger_than_known_ones_are() -> None:
    """Orange spots that are all opaque; a faint one would be mauve on blue metal."""
    model = model_of(trained())
    bank = model.networks.bank = DefectBank(SIZE, 3, 2, 4, 8)
    bank.keys[:], bank.products[:] = torch.arange(8), 0
    bank.styles[:] = torch.tensor([0.5, -0.5, -0.5, -20.0])
    bank.styles[:, :3] *= torch.linspace(0.8, 1.15, 8)[:, None]  # 0.05 apart
    least, most = model.variety(1, 0).strength
    assert (least, most) == pytest.approx((0.75 / 0.95, 1.2 / 0.95), rel=0.03)
    bank.styles[:, :3] *= torch.tensor([0.1, 1, 1, 1, 1, 1, 1, 5])[:, None]
    assert model.variety(1, 0).strength == VARIETY.strength  # as far as that is known to help
    bank.keys[2:] = -1
    assert model.variety(1, 0).strength == VARIETY.strength  # two tell nothing


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


def test_what_a_source_shows_elsewhere_does_not_speak_against_a_defect(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x, painted = model_of(trained()), images(2, 3, SIZE, 3), square(top=30)
    logits = torch.cat([4 * painted - 2, 12 * square(top=2) - 6], dim=1)  # its own class there; another elsewhere
    monkeypatch.setattr(type(model.networks.encoder), "from_features", lambda self, x, levels: logits)
    assert (model.assess(x, torch.tensor([1, 1]), painted).confidence > 0.5).all()
    assert (model.assess(x, torch.tensor([1, 1]), square(top=2)).confidence < 0.5).all()


def test_confidence_is_above_a_half_where_the_model_names_the_class() -> None:
    model, x = model_of(trained()), images(4, 3, SIZE, 3)
    label = torch.tensor([1, 2, 1, 2])
    seen = model.assess(x, label, square(count=4))
    assert ((seen.confidence > 0.5) == model.shows(x, label)).all()
    assert seen.features.shape == (4, 160) and bool(seen.features.isfinite().all())
