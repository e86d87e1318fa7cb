"""M of the layered form: which shapes it stores, and what it draws from them."""

from __future__ import annotations

import math

import pytest
import torch
from small_networks import SIZE, small_config, small_method, small_model, training_batch, with_shapes
from torch import Tensor

from defectaug.methods.dtgan.codes import Codes
from defectaug.methods.dtgan.mapping import Latent
from defectaug.methods.layered import shape_bank
from defectaug.methods.layered.shape_bank import ShapeBank


def fresh(**network: int) -> ShapeBank:
    made = small_model(**network).mapping
    assert isinstance(made, ShapeBank)
    return made


def square(top: int, left: int, side: int = 6, level: float = 1.0) -> Tensor:
    """A map with a square in its first layer."""
    c = torch.zeros(1, 2, SIZE, SIZE)
    c[:, 0, top : top + side, left : left + side] = level
    return c


def codes(c: Tensor, defect: int = 1, style: float = 1.0) -> Codes:
    return Codes(c, torch.full((len(c), 8), style), torch.full((len(c),), defect))


def products(keys: list[int]) -> Tensor:
    """All of the first product."""
    return torch.zeros(len(keys), dtype=torch.int64)


def still(count: int = 1) -> Latent:
    """Latents that bend nothing and take the first shape, in the middle of the reach."""
    z = torch.zeros(count, shape_bank.NUMBERS)
    z[:, [0, 1]] = -9.0
    z[:, [9, 10]] = 1.0  # not mirrored
    return Latent(z, [torch.zeros(count, 2, shape_bank.KNOTS, shape_bank.KNOTS)])


def test_a_shape_comes_back_where_it_was() -> None:
    bank, c = fresh(), square(8, 18)
    bank.store(codes(c), products([5]), torch.tensor([5]))
    found = bank(still(), torch.tensor([1]))
    assert torch.allclose(found.c > 0.5, c > 0.5)
    assert torch.allclose(found.s.square().mean(), torch.ones(()), atol=1e-4)
    assert bank(still(), torch.tensor([2])).c.eq(0).all()  # nothing of this class is stored
    assert bank(still(), torch.tensor([0])).c.eq(0).all()


def test_places_are_drawn_within_the_reach() -> None:
    bank = fresh()
    bank.store(codes(torch.cat([square(6, 6), square(20, 16)])), products([1, 2]), torch.tensor([1, 2]))
    many = bank(bank.draw(64, torch.Generator().manual_seed(0)), torch.ones(64, dtype=torch.int64))
    at = shape_bank.centres(many.c)
    low, high = ((torch.tensor(edge) + 3) / SIZE - 0.5 for edge in ([6, 6], [20, 16]))
    slack = 0.04  # bending moves centres a little
    assert ((at > low - slack) & (at < high + slack)).all()
    assert ((at.amax(0) - at.amin(0)) > 0.6 * (high - low)).all()


def test_shapes_of_the_product_itself_come_first() -> None:
    bank = fresh()
    bank.store(codes(square(6, 6), style=1.0), torch.tensor([0]), torch.tensor([1]))
    bank.store(codes(torch.cat([square(20, 16)] * 3), style=-1.0), torch.tensor([1, 1, 1]), torch.tensor([2, 3, 4]))
    latent, defect = bank.draw(200, torch.Generator().manual_seed(0)), torch.ones(200, dtype=torch.int64)

    def share(product: int | None) -> float:
        """Of the first product's."""
        wanted = None if product is None else torch.full((200,), product)
        return (bank(latent, defect, wanted).s[:, 0] > 0).float().mean().item()

    assert share(0) == pytest.approx(shape_bank.OWN + (1 - shape_bank.OWN) / 4, abs=0.08)
    assert share(1) == pytest.approx((1 - shape_bank.OWN) / 4, abs=0.06)
    assert share(None) == share(-1) == share(7) == pytest.approx(1 / 4, abs=0.08)  # the others have none of their own


def test_no_two_latents_give_one_shape() -> None:
    model = with_shapes(small_model())
    many = model.mapping(model.mapping.draw(40, torch.Generator().manual_seed(0)), torch.tensor([1, 2] * 20))
    flat = many.c.flatten(1)
    alike = torch.cdist(flat, flat) + torch.eye(40) * 99
    assert alike.min() > 0.5
    assert many.c.amax() < 1 and many.c.amin() >= 0


def test_mirrors_turns_and_sizes() -> None:
    c = torch.zeros(1, 2, SIZE, SIZE)
    c[:, 0, 15:17, 8:24], c[:, 1, 8:16, 8:10] = 1.0, 1.0
    middle = torch.zeros(1, 2)

    def change(number: int, value: float) -> Tensor:
        latent = still()
        latent.z[:, number] = value
        return shape_bank.warped(c, latent, middle)

    assert torch.allclose(shape_bank.warped(c, still(), middle), c, atol=1e-5)
    assert torch.allclose(change(9, -1.0), c.flip(3), atol=1e-5)
    assert torch.allclose(change(10, -1.0), c.flip(2), atol=1e-5)
    quarter = change(6, math.pi / 2 / shape_bank.TURN)
    assert torch.allclose(quarter, c.rot90(1, (2, 3)), atol=1e-4)
    larger = change(7, math.log(1.3) / shape_bank.SIZE)
    assert larger.sum() == pytest.approx(1.3**2 * c.sum().item(), rel=0.1)


def test_an_image_is_kept_once_and_the_newest_of_it() -> None:
    bank = fresh()
    for style in (1.0, 2.0):
        bank.store(codes(square(10, 10), style=style), products([7]), torch.tensor([7]))
    assert bank.keys.ge(0).sum() == 1
    assert bank.styles[bank.keys == 7].eq(2.0).all()


def test_a_full_class_takes_from_no_other() -> None:
    bank = fresh(memory=4)  # two a class
    bank.store(codes(square(10, 10), defect=2), products([50]), torch.tensor([50]))
    for key in range(5):
        bank.store(codes(square(10, 10 + key)), products([key]), torch.tensor([key]))
    assert sorted(bank.keys.tolist()) == [-1, 3, 4, 50]


def test_normal_images_and_empty_maps_are_not_kept() -> None:
    bank = fresh()
    bank.store(codes(torch.zeros(1, 2, SIZE, SIZE)), products([1]), torch.tensor([1]))
    bank.store(codes(square(10, 10), defect=0), products([2]), torch.tensor([2]))
    assert bank.keys.eq(-1).all()


def test_faint_parts_far_off_and_the_edge_are_left_out() -> None:
    c = square(12, 12) + square(16, 19, 2, 0.2) + square(24, 26, 2, 0.2)
    c[:, :, 0] = 1.0
    found = shape_bank.clean_mask(c)
    assert found[0, 0, 12:18, 12:18].eq(1).all() and found[0, 0, 16, 19] > 0
    assert not found[..., 24:26, 26:].any() and not found[:, :, : shape_bank.EDGE].any()


def test_centres() -> None:
    c = torch.cat([square(0, 0, SIZE), square(26, 13), torch.zeros(1, 2, SIZE, SIZE)])
    assert torch.allclose(shape_bank.centres(c), torch.tensor([[0, 0], [13 / SIZE, 0], [0, 0]]), atol=1e-6)


def test_training_stores_the_shapes_of_references() -> None:
    method = small_method(small_config("layered_tiny"))
    mapping = method.model.mapping
    assert isinstance(mapping, ShapeBank)
    with torch.no_grad():
        method.model.encoder.shape.out.conv.weight.mul_(10)  # type: ignore[union-attr, operator]
    batch = training_batch()
    method.step(batch, 0, 0.0)
    guided = int(len(batch) * method.config.run.latent_share)
    assert set(mapping.keys[mapping.keys >= 0].tolist()) <= set(batch.reference_index[guided:].tolist())
    assert mapping.keys.ge(0).any()
    assert torch.equal(method.weights()["mapping.shapes"], mapping.shapes)
