"""Defect-GAN: its terms at closed-form inputs, and what its structure promises."""

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
from defectaug.methods.defectgan import losses
from defectaug.methods.defectgan.discriminator import Predictions
from defectaug.methods.defectgan.generator import control_map
from defectaug.methods.defectgan.method import DefectGANMethod
from defectaug.methods.defectgan.objective import Objective, Pass, ways
from defectaug.methods.defectgan.spec import SPEC
from defectaug.methods.layers import Layers

NETWORK: dict[str, Any] = {
    "image_size": SIZE, "encoder_widths": [8, 16], "generator_widths": [8, 16], "discriminator_widths": [8, 16, 16],
    "defect_width": 4, "generator_blocks": 1,
}  # fmt: skip
LABEL = torch.tensor([1, 2])


def small() -> DefectGANMethod:
    config = resolve("defectgan", flags={"network": NETWORK, "run": {"warmup": 1, "batch_size": 6}})
    return DefectGANMethod(config, 3, 2, CPU, seed=0)


def noise_of(method: DefectGANMethod, seed: int = 0) -> list[torch.Tensor]:
    return method.model.generator.draw_noise(2, torch.Generator().manual_seed(seed), torch.device("cpu"))


# Terms


def test_terms_at_inputs_whose_values_are_known() -> None:
    nothing = torch.zeros(4, 10)
    assert float(losses.adversarial_d(nothing, nothing)) == pytest.approx(2 * log(2))
    assert float(losses.adversarial_g(nothing)) == pytest.approx(log(2))
    assert float(losses.classification(torch.zeros(4, 3), torch.tensor([0, 1, 2, 0]))) == pytest.approx(log(3))
    a, b = torch.full((2, 1, 4, 4), 0.75), torch.full((2, 1, 4, 4), 0.25)
    assert float(losses.cycle(a, b)) == float(losses.mask_cycle(a, b)) == 0.5
    assert float(losses.mask_area(a, b)) == 1.0


def test_r1_of_a_linear_function_is_half_its_squared_slope() -> None:
    x = images(3).requires_grad_(True)
    assert float(losses.r1(2 * x.flatten(1), x)) == pytest.approx(0.5 * 4 / SIZE**2)


# Structure


def test_where_the_mask_is_0_the_source_stays_and_where_it_is_1_it_is_gone() -> None:
    x, out = images(2), images(2, 1, channels=2)
    for logit, shown in ((-200.0, x), (200.0, out[:, :1].tanh())):
        out[:, 1:] = logit
        assert torch.equal(Layers.over(x, out).image, shown)
    assert torch.equal(Layers.over(x, out, 0.0).painted(x).delta, torch.zeros_like(x))


def test_defects_are_painted_only_where_the_control_map_names_one() -> None:
    method, x = small(), images(2)
    control = control_map(LABEL, 3, 8).clone()
    control[..., 4:] = 0
    painted = method.model.generator(x, control, noise_of(method)).image
    assert torch.equal(painted[..., SIZE // 2 :], x[..., SIZE // 2 :])
    assert not torch.equal(painted[..., : SIZE // 2], x[..., : SIZE // 2])


def test_class_and_noise_decide_what_is_painted() -> None:
    method, x = small(), images(2)
    control = method.model.control

    def painted(label: torch.Tensor, seed: int) -> torch.Tensor:
        image: torch.Tensor = method.model.generator(x, control(label), noise_of(method, seed)).image
        return image

    assert torch.equal(painted(LABEL, 0), painted(LABEL, 0))
    assert not torch.equal(painted(LABEL, 0), painted(LABEL, 1))
    assert not torch.equal(painted(LABEL, 0), painted(LABEL.flip(0), 0))


def test_normal_sources_are_defaced_and_defective_ones_restored() -> None:
    method = small()
    batch = TrainingBatch.on(torch.device("cpu"), training_batch())
    out = Objective(method.model, method.config.defectgan, augment=False).forward(batch, torch.Generator())
    for source, target, label in zip(batch.defect.tolist(), batch.target.tolist(), out.label.tolist(), strict=True):
        assert label == (0 if source else target)


def test_whether_an_image_has_a_defect_does_not_give_away_that_it_is_real(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches hold more defective images than normal ones, so that G makes more normal ones: were they counted as they
    come, D_src would know real images by their defects, and G would leave defects where it should take them away."""
    method = small()
    defect = torch.tensor([0, 1, 2, 1, 2, 1])
    target = torch.ones(6, dtype=torch.long)
    rows = replace(TrainingBatch.on(CPU.device, training_batch()), defect=defect, target=target)
    shown = torch.where(defect == 0, -1.0, 1.0)[:, None, None, None].expand(-1, 1, SIZE, SIZE)
    perfect = Pass(torch.where(defect == 0, 1, 0), *[Layers(-shown, shown)] * 2, ways(defect))
    for slope in (-1.0, 0.2, 1.0):
        monkeypatch.setattr(
            method.model.discriminator,
            "forward",
            lambda x, slope=slope: Predictions(slope * x.mean((1, 2, 3))[:, None], torch.zeros(len(x), 3)),
        )
        objective = Objective(method.model, method.config.defectgan, augment=False)
        batch = replace(rows, image=shown)
        assert float(objective.discriminator_terms(batch, perfect, torch.Generator())["d_adversarial"]) > 2 * log(2)


def test_both_ways_count_alike_and_one_alone_as_it_is() -> None:
    weight = ways(torch.tensor([0, 2, 1, 1]))
    torch.testing.assert_close(weight, torch.tensor([2.0, 2 / 3, 2 / 3, 2 / 3]))
    assert torch.equal(ways(torch.tensor([1, 2])), torch.ones(2)) and torch.equal(ways(torch.zeros(2)), torch.ones(2))
    a, b = torch.full((4, 1, 2, 2), 0.75), torch.full((4, 1, 2, 2), 0.25)
    b[1:] = 0.75
    assert float(losses.cycle(a, b, weight)) == 0.25 and float(losses.cycle(a, b)) == 0.125


def test_every_parameter_learns() -> None:
    method = small()
    before = {name: value.clone() for name, value in method.model.named_parameters()}
    for step in range(3):
        values = method.step(training_batch(), step, 0.1)
    terms = {"d_adversarial", "d_real_class", "adversarial", "fake_class", "cycle", "mask_cycle", "mask_area"}
    assert terms < set(values)
    still = {name for name, value in method.model.named_parameters() if torch.equal(value, before[name])}
    assert still <= {"generator.out.bias"}, still


def test_an_image_is_its_seed_s_alone_and_references_are_refused() -> None:
    method = small()
    facts = info(image_size=SIZE, references=False)
    model = SPEC.load(method.config, facts, method.weights(), CPU)
    x, label = images(4), torch.tensor([1, 2, 1, 2])
    painted = model.paint(x, model.latent_codes(label, [1, 2, 3, 4]))
    alone = model.paint(x[2:3], model.latent_codes(label[2:3], [3]))
    torch.testing.assert_close(alone.image[0], painted.image[2], atol=1e-5, rtol=0)
    torch.testing.assert_close(painted.image, x + painted.delta)
    assert model.restore(x).opacity.shape == (4, 1, SIZE, SIZE) and model.name_defect(x).shape == (4,)
    with pytest.raises(ConfigError, match="draws defects from latents alone"):
        model.reference_codes(x, label)
