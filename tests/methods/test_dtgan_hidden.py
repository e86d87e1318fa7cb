"""What is not in the paper and off in its recipes: hiding the defect from G, and D on the change."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import pytest
import torch
from small_networks import CPU, codes_like, images, small_config, small_method, small_model, training_batch

from defectaug.config.resolve import recipe_names, resolve
from defectaug.methods.adversarial import TrainingBatch
from defectaug.methods.dtgan import hiding, losses
from defectaug.methods.dtgan.hidden import HiddenObjective
from defectaug.methods.dtgan.hiding import Hiding, covered
from defectaug.methods.dtgan.objective import Objective
from defectaug.nn.weights import WeightsFile

CLASSES = torch.tensor([1, 2])
ON = {"run": {"hide": True}, "loss": {"direct": 1}}


def rng() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def square(count: int = 4, size: int = 32) -> torch.Tensor:
    """Masks of a square off the centre."""
    mask = torch.zeros(count, 1, size, size)
    mask[:, :, 4:12, 4:12] = 1
    return mask


class Told(Hiding):
    """Whose defects are the same square in every image, as in :func:`square`."""

    def __init__(self, products: int) -> None:
        torch.nn.Module.__init__(self)
        self.looks = torch.tensor(hiding.LOOKS)

    def mask(self, x: torch.Tensor, defect: torch.Tensor, product: torch.Tensor) -> torch.Tensor:
        return square(len(x)) * (defect != 0)[:, None, None, None]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A method whose defects are where :class:`Told` says."""
    monkeypatch.setattr("defectaug.methods.dtgan.method.find_hiding", Told)
    return small_method(small_config("paper", ON))


@pytest.mark.parametrize("recipe", [name for name in recipe_names() if resolve(name).method == "dtgan"])
def test_off_in_the_papers_recipes(recipe: str) -> None:
    config = resolve(recipe)
    assert not (config.run.hide or config.run.detail or config.loss.direct)
    assert config.network.fold == 1


def test_folded_pixels_have_values_of_their_own() -> None:
    model = small_model()
    torch.nn.init.normal_(model.generator.image.weight)
    made = model.generator(images(2), codes_like(model, CLASSES))
    assert made[..., ::2, :].sub(made[..., 1::2, :]).abs().mean() > 0.01


def test_cover_holds_nothing_of_what_it_covers() -> None:
    x, mask = images(4, size=128), square(4, 128)
    cover = covered(x, mask).image
    assert torch.equal(covered(torch.where(mask > 0, -x, x), mask).image, cover)
    assert torch.equal(cover[mask == 0], x[mask == 0])
    assert cover[mask > 0].std() > 0.1  # a smooth one would show where the defect was


def test_what_stands_out_is_put_back_and_no_more() -> None:
    x = 0.1 * images(2)
    x[:, :, 6:10, 6:8] = 0.9
    cover = covered(x, square(2))
    assert cover.share[:, :, 7:9, 6:8].min() == 1 and cover.share[:, :, 4:12, 10:12].mean() < 0.5
    assert torch.equal(cover.pasted[:, :, 7:9, 6:8], x[:, :, 7:9, 6:8])
    assert cover.image[:, :, 6:10, 6:8].max() < 0.4


def test_defects_are_rebuilt_from_the_code_alone(told: Any) -> None:
    objective, batch = told.objective, TrainingBatch.on(CPU.device, training_batch(), guided=3)
    assert isinstance(objective, HiddenObjective)
    seen: list[torch.Tensor] = []
    objective.model.generator.trunk.register_forward_pre_hook(lambda module, x: seen.append(x[0]))
    own = objective.model.encoder(batch.image, batch.defect)
    objective._rebuilt(batch, own).backward()
    defective = batch.defect != 0
    assert (seen[0] != batch.image)[defective][..., 4:12, 4:12].float().mean() > 0.9
    assert torch.equal(seen[0][~defective], batch.image[~defective])
    assert objective.model.encoder.shape.out.conv.weight.grad.abs().sum() > 0


def test_codes_are_silent_elsewhere_whatever_their_size() -> None:
    there = square(2, 16)
    inside, everywhere = there.expand(2, 4, 16, 16).clone(), torch.ones(2, 4, 16, 16)
    assert losses.silence(inside, there) == 0
    assert losses.silence(everywhere, there) == pytest.approx(0.75, abs=1e-3)
    assert losses.silence(0.1 * everywhere, there) == pytest.approx(0.75, abs=1e-3)


def test_sources_stay_where_the_reference_has_no_defect(told: Any) -> None:
    batch = TrainingBatch.on(CPU.device, training_batch(), guided=3)
    out = told.objective.forward(batch, rng())
    inside, outside = out.fake.clone(), out.fake.clone()
    inside[..., 4:12, 4:12] += 1
    outside[..., 20:, 20:] += 1
    as_it_is, allowed, wrong = (
        told.objective._elsewhere(batch, replace(out, fake=fake)).item() for fake in (out.fake, inside, outside)
    )
    assert as_it_is == allowed != wrong


@pytest.mark.parametrize("warmup", [0, 5])
def test_trains_with_everything_on(told: Any, warmup: int) -> None:
    method = told
    object.__setattr__(method.config.run, "warmup", warmup)
    before = [weight.clone() for weight in method.model.encoder.parameters()]
    values = method.step(training_batch(), 1, 0.0)
    assert "direct" in values and ("cycle" in values) == (warmup == 0)
    assert any(not torch.equal(a, b) for a, b in zip(before, method.model.encoder.parameters(), strict=True))


def test_before_it_is_ready_the_warm_up_fills_the_prior(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hiding, "LOOKS", 2)
    some = Hiding(products=2)
    batch = TrainingBatch.on(CPU.device, training_batch())
    some.look(batch, rng())
    assert not some.ready and int(some.prior.seen.sum()) > 0
    some.look(batch, rng())
    assert some.ready
    mask = some.mask(batch.image, batch.defect, batch.product)
    assert mask.shape == batch.image.shape and mask[batch.defect == 0].eq(0).all()


def test_goes_on_without_weights_and_says_so(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def none() -> WeightsFile | None:
        return None

    monkeypatch.setattr(hiding, "find_weights", none)
    with caplog.at_level(logging.WARNING, logger="defectaug"):
        method = small_method(small_config("paper", ON))
    assert type(method.objective) is Objective and "hiding" not in method.modules
    assert [record.message for record in caplog.records] == [hiding.MISSING]


def test_d_sees_the_change_on_the_source() -> None:
    config = small_config("paper", {"run": {"detail": True}})
    method, batch = small_method(config), TrainingBatch.on(CPU.device, training_batch(), guided=3)
    out = method.objective.forward(batch, rng())
    own = method.model.generator(batch.image, out.own)
    assert torch.allclose(out.fake, batch.image + out.render - own, atol=1e-5)
    papers = small_method(small_config()).objective.forward(batch, rng())
    assert torch.equal(papers.fake, papers.render)
