"""The structure of the layered form, where it differs from the paper."""

from __future__ import annotations

import torch
from small_networks import codes_like, images, small_model, with_opacity

from defectaug.methods.dtgan.anchor import anchor_like
from defectaug.methods.layered.codes import union
from defectaug.methods.layered.generator import RIM
from defectaug.nn.blocks import dilated

CLASSES = torch.tensor([0, 1, 2, 1])


def test_style_does_not_reach_pixels_without_opacity() -> None:
    model = small_model()
    codes = codes_like(model, CLASSES)
    codes.c[..., :, codes.c.shape[-1] // 2 :] = 0  # no defect on the right
    codes.s.requires_grad_(True)
    made = with_opacity(model).generator(images(4), codes)
    bare = union(codes.c).detach().eq(0).expand_as(made)
    assert 0.05 < bare.float().mean() < 0.95
    (gradient,) = torch.autograd.grad(made[bare].sum(), codes.s, retain_graph=True)
    assert gradient.eq(0).all()
    (gradient,) = torch.autograd.grad(made[~bare].sum(), codes.s)
    assert gradient.abs().sum() > 0


def test_zero_map_paints_nothing_at_all() -> None:
    model = with_opacity(small_model())
    codes = codes_like(model, CLASSES)
    background = model.generator.background(images(4))
    layers = model.generator.layers(background.canvas, anchor_like(codes))
    assert layers.opacity.eq(0).all()
    assert torch.equal(layers.over(background.clean), background.clean)
    assert not torch.equal(model.generator.render(background.canvas, codes), background.clean)


def test_what_is_not_removed_is_the_source_itself() -> None:
    model, x = with_opacity(small_model()), images(4)
    background = model.generator.background(x)
    kept = dilated(background.removed, RIM).eq(0)
    assert kept.any()
    assert torch.equal(background.clean[kept], x[kept])
