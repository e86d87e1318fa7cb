"""Masked content transfer: its terms at closed-form inputs, its codes, and what its structure promises."""

from __future__ import annotations

from dataclasses import replace
from math import log
from typing import Any

import pytest
import torch
from fake_model import info
from small_networks import CPU, SIZE, images, training_batch

from defectaug.config.resolve import resolve
from defectaug.errors import ConfigError
from defectaug.methods.adversarial import TrainingBatch
from defectaug.methods.mokady import losses
from defectaug.methods.mokady.code_bank import CodeBank
from defectaug.methods.mokady.method import MokadyMethod
from defectaug.methods.mokady.spec import SPEC

NETWORK: dict[str, Any] = {
    "image_size": SIZE, "encoder_widths": [8, 8, 16], "generator_widths": [8, 8, 16], "code_channels": 4,
    "mapping_width": 16, "memory": 8,
}  # fmt: skip
LABEL = torch.tensor([1, 2])


def small() -> MokadyMethod:
    return MokadyMethod(resolve("mokady", flags={"network": NETWORK}), 3, 2, CPU, seed=0)


def generators(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


# Terms


def test_terms_at_inputs_whose_values_are_known() -> None:
    a, b = torch.full((2, 1, 4, 4), 0.75), torch.full((2, 1, 4, 4), 0.25)
    assert float(losses.reconstruction(a, b)) == 0.5 and float(losses.cycle(a, b)) == 0.25
    unsure, sure = torch.zeros(4), torch.full((4,), 20.0)
    assert float(losses.domain(unsure, unsure)) == float(losses.confusion(unsure, unsure)) == pytest.approx(2 * log(2))
    assert float(losses.domain(sure, -sure)) < 1e-6 < 19 < float(losses.confusion(sure, -sure))
    assert float(losses.confusion(sure, sure)) < 1e-6  # both pass for normal


def test_a_focus_of_1_lays_half_of_the_weight_on_what_the_first_stage_cannot_rebuild() -> None:
    x, base = torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)
    base[..., 0, 0] = 1.0  # one place of 16
    there, elsewhere = x.clone(), x.clone()
    there[..., 0, 0], elsewhere[..., 3, 3] = 1.0, 1.0
    assert float(losses.focused(x, there, base, 0.0)) == pytest.approx(1 / 16)
    assert float(losses.focused(x, there, base, 1.0)) == pytest.approx((1 + 16) / 2 / 16)
    assert float(losses.focused(x, elsewhere, base, 1.0)) == pytest.approx(1 / 2 / 16)
    assert bool(losses.focused(x, x, x, 1.0).isfinite())


def test_a_batch_without_normal_sources_has_the_same_terms_and_teaches_nothing() -> None:
    method, batch = small(), training_batch()
    before = {name: value.clone() for name, value in method.model.named_parameters()}
    values = method.step(replace(batch, defect=torch.ones_like(batch.defect)), 0, 0.1)
    assert not any(values[name] for name in ("recon1_a", "recon1_b", "confusion", "d_confusion"))
    assert all(torch.equal(value, before[name]) for name, value in method.model.named_parameters())
    assert set(method.step(batch, 1, 0.1)) <= set(values)


def test_every_parameter_learns() -> None:
    method = small()
    before = {name: value.clone() for name, value in method.model.named_parameters()}
    for step in range(2):
        method.step(training_batch(), step, 0.1)
    assert not [name for name, value in method.model.named_parameters() if torch.equal(value, before[name])]


def test_a_size_that_cannot_be_halved_for_every_width_is_refused() -> None:
    with pytest.raises(ConfigError, match="must be a multiple of 16"):
        resolve("mokady", flags={"network": {"image_size": 72}})


# Structure


def test_the_first_stage_knows_nothing_of_the_defect() -> None:
    model, b = small().model, images(2)
    common = model.encoder.common(b)
    first = model.generator.normal(common)
    with torch.no_grad():
        model.encoder.heads.conv.weight.add_(1.0)
    assert torch.equal(model.generator.normal(model.encoder.common(b)), first)
    one, other = (model.encoder.separate(b, label) for label in (LABEL, LABEL.flip(0)))
    decode = model.generator.defective
    assert not torch.equal(decode(common, one, b).mask, decode(common, other, b).mask)


def test_pairs_are_normal_sources_and_references_of_their_targets() -> None:
    method, batch = small(), TrainingBatch.on(torch.device("cpu"), training_batch())
    out = method.objective.forward(batch, torch.Generator())
    rows = batch.defect == 0
    assert torch.equal(out.a, batch.image[rows]) and torch.equal(out.b, batch.reference[rows])
    assert torch.equal(out.label, batch.target[rows])


# Codes


def test_the_bank_keeps_an_image_s_latest_code_and_draws_between_those_of_a_category() -> None:
    bank = CodeBank((1, 1, 1), 3, 8)
    codes = torch.arange(1.0, 5.0)[:, None, None, None]
    label, product = torch.tensor([1, 1, 1, 2]), torch.tensor([0, 0, 1, 0])
    bank.remember(-codes, label, product, torch.arange(4))
    bank.remember(codes, label, product, torch.arange(4))
    assert bank.known(1).tolist() == [0, 1, 2] and bank.known(1, 1).tolist() == [2]
    drawn = bank.draw(torch.ones(20, dtype=torch.long), torch.zeros(20, dtype=torch.long), generators(*range(20)))
    assert 1 <= float(drawn.min()) < float(drawn.max()) <= 2 and len(set(drawn.flatten().tolist())) > 5
    assert 1 <= float(bank.draw(torch.tensor([1]), torch.tensor([-1]), generators(0))) <= 3
    assert float(CodeBank((1, 1, 1), 3, 8).draw(LABEL, LABEL, generators(0, 1)).abs().max()) == 0


def test_an_image_is_its_seed_s_alone_and_styles_are_refused() -> None:
    method = small()
    method.step(training_batch(), 0, 0.1)
    model = SPEC.load(method.config, info(image_size=SIZE, styles=False), method.weights(), CPU)
    x, label, product = images(4), torch.tensor([1, 2, 1, 2]), torch.tensor([0, 0, 1, 1])
    painted = model.paint(x, model.latent_codes(label, [1, 2, 3, 4], product))
    alone = model.paint(x[2:3], model.latent_codes(label[2:3], [3], product[2:3]))
    torch.testing.assert_close(alone.image[0], painted.image[2], atol=1e-5, rtol=0)
    torch.testing.assert_close(painted.image, x + painted.delta)
    assert model.restore(x).opacity.shape == (4, 1, SIZE, SIZE) and bool(model.shows(x, label).all())
    assert set(model.name_defect(x).tolist()) <= {0, 1, 2}
    with pytest.raises(ConfigError, match="no styles apart from shapes"):
        model.with_style(model.reference_codes(x, label), [1, 2, 3, 4])
