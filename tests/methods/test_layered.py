"""Models of the layered form, which is no longer trained: they are read, and paint as they did."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import yaml
from command_line import Run
from data_helpers import COUNTS, native
from safetensors.torch import load_file
from torch import Tensor

from defectaug.bundle import load_model
from defectaug.config.schema import NetworkConfig
from defectaug.methods.dtgan.anchor import anchor_like
from defectaug.methods.dtgan.codes import Codes
from defectaug.methods.dtgan.mapping import Latent, MappingNetwork
from defectaug.methods.layered import shape_bank
from defectaug.methods.layered.codes import THRESHOLD, LayerForm, layer_form, soft_threshold, union
from defectaug.methods.layered.generator import RIM
from defectaug.methods.layered.inference import LayeredInferenceModel
from defectaug.methods.layered.shape_bank import ShapeBank
from defectaug.nn.blocks import dilated

MTD = Path(__file__).resolve().parents[2] / "examples" / "mtd" / "model"
OLD = Path(__file__).with_name("layered_bundles")
"""Two models of 32 x 32 pixels, M as a bank of shapes and as a network, and, in `painted.safetensors`, what they and
the one of magnetic tiles painted when they were written: by commit cd58a8f, the last that trained the form."""
SIZE = 32


def smooth(count: int, size: int) -> Tensor:
    """Images without noise, in (-1, 1), of sines: alike on every machine."""
    row = torch.arange(size) / size
    waves = [torch.sin((3 + n) * row)[:, None] * torch.cos((5 - n) * row + n) for n in range(count)]
    return 0.8 * torch.stack(waves)[:, None]


def painted(model: LayeredInferenceModel) -> dict[str, Tensor]:
    """What a model makes of the same sources and seeds."""
    x, defect = smooth(4, model.info.image_size), torch.tensor([1, 2, 1, 2])
    new = model.paint(x, model.latent_codes(defect, [3, 4, 5, 6], torch.zeros(4, dtype=torch.long)))
    read = model.reference_codes(new.image.flip(0), defect.flip(0))
    restyled = model.with_style(read, [7, 8, 9, 1])
    transferred, restored = model.paint(x, restyled), model.restore(new.image)
    return {
        "new": new.image, "mask": new.opacity, "transferred": transferred.image, "where": transferred.opacity,
        "restored": restored.image, "removed": restored.opacity, "shape": read.c, "style": read.s, "latent": restyled.s,
        "named": model.name_defect(new.image).float(),
    }  # fmt: skip


def small_enough(x: Tensor) -> Tensor:
    """Maps and images at 16 x 16."""
    return F.adaptive_avg_pool2d(x, 16) if x.ndim == 4 else x


def layered(folder: Path) -> LayeredInferenceModel:
    model = load_model(folder, "cpu")
    assert isinstance(model, LayeredInferenceModel)
    return model


@pytest.fixture(scope="module")
def tiles() -> LayeredInferenceModel:
    return layered(MTD)


@pytest.mark.parametrize("folder", [MTD, OLD / "memory", OLD / "network"], ids=lambda folder: folder.name)
def test_models_of_before_paint_as_they_did(folder: Path) -> None:
    model = layered(folder)
    assert isinstance(model.networks.mapping, MappingNetwork if folder.name == "network" else ShapeBank)
    then = load_file(OLD / "painted.safetensors")
    for name, value in painted(model).items():
        assert torch.allclose(small_enough(value), then[f"{folder.name}.{name}"].float(), atol=2e-3), name
    assert then[f"{folder.name}.mask"].float().amax((1, 2, 3)).min() > 0.1


ASKED = "no longer trained, but its models are still read; take --preset small"


@pytest.mark.parametrize("how", ["layered", "layered_tiny", "file", "generator", "resumed", "resumed by name"])
def test_training_is_refused_in_one_line_that_names_another_recipe(tmp_path: Path, run: Run, how: str) -> None:
    root, settings, out = native(tmp_path / "data", COUNTS), tmp_path / "old.yaml", tmp_path / "m"
    content = {"network": {"generator": "layered"}, "loss": {"area": 1, "area_end": 3.5, "mask": 2, "fill": 5}}
    settings.write_text(yaml.safe_dump(content | ({"method": "layered"} if how == "file" else {})))
    if how.startswith("resumed"):
        (out / "state").mkdir(parents=True)
        (out / "config.yaml").write_bytes((OLD / "memory/config.yaml").read_bytes())
    asked = {
        "layered": ["--preset", "layered"],
        "layered_tiny": ["--preset", "layered_tiny"],
        "file": ["--config", settings],
        "generator": ["--config", settings, "--preset", "paper"],
        "resumed": ["--resume"],
        "resumed by name": ["--resume", "--preset", "layered_tiny"],
    }[how]
    code, printed, said = run("train", root, "--out", out, *asked)
    expected = ASKED.replace("small", "tiny") if how == "layered_tiny" else ASKED
    assert (code, printed, said.count("\n")) == (2, "", 1) and expected in said
    assert not (out / "model.safetensors").exists()


# Painting


def wave_codes(model: LayeredInferenceModel) -> tuple[Tensor, Codes]:
    """Sources, and codes of their defects whose opacities vary from place to place."""
    x, defect = smooth(4, model.info.image_size), torch.tensor([1, 2, 1, 2])
    codes = model.reference_codes(x, defect)
    waves = smooth(4, model.info.image_size).clamp(min=0) * torch.tensor([1.0, 0.5])[:, None, None]
    return x, Codes(waves, codes.s, defect)


def test_zero_map_paints_nothing_at_all(tiles: LayeredInferenceModel) -> None:
    x, codes = wave_codes(tiles)
    bare, full = tiles.paint(x, anchor_like(codes)), tiles.paint(x, codes)
    assert bare.opacity.eq(0).all() and torch.equal(bare.image, tiles.restore(x).image)
    assert not torch.equal(full.image, bare.image)
    assert tiles.reference_codes(x, torch.zeros(4, dtype=torch.long)).c.eq(0).all()


def test_style_does_not_reach_pixels_without_opacity(tiles: LayeredInferenceModel) -> None:
    x, codes = wave_codes(tiles)
    other = codes.with_style(Codes(codes.c, codes.s.flip(0), codes.defect))
    changed = (tiles.paint(x, codes).image - tiles.paint(x, other).image).ne(0)
    bare = union(codes.c).eq(0)
    assert 0.05 < bare.float().mean() < 0.95
    assert not changed[bare].any() and changed[~bare].any()


def test_what_is_not_removed_is_the_source_itself(tiles: LayeredInferenceModel) -> None:
    x, codes = wave_codes(tiles)
    x = tiles.paint(x, codes).image
    restored = tiles.restore(x)
    kept = dilated(restored.opacity, RIM).eq(0)
    assert kept.any() and not kept.all()
    assert torch.equal(restored.image[kept], x[kept])


# Codes


def test_soft_threshold() -> None:
    response = torch.tensor([-3.0, 0.0, 0.05, 0.5, 30.0])
    wanted = [0.0, 0.0, 0.0, (torch.tensor(0.5).tanh().item() - THRESHOLD) / (1 - THRESHOLD), 1]
    assert soft_threshold(response).tolist() == pytest.approx(wanted)


def test_a_code_is_its_opacities_as_large_as_the_image() -> None:
    form = LayerForm(layers=2, fold=2, size=8)
    response = torch.full((1, form.channels, 8, 8), -1.0)
    response[:, 4:] = 9.0  # the second layer's four
    c = form.activate(response)
    assert c.shape == (1, 2, 16, 16)
    assert c[:, 0].eq(0).all() and torch.allclose(c[:, 1], torch.ones(()), atol=1e-3)


def test_union_of_layers() -> None:
    layers = torch.tensor([[0.5, 0.5], [0.0, 0.25], [1.0, 0.3]])[:, :, None, None]
    assert union(layers).flatten().tolist() == pytest.approx([0.75, 0.25, 1.0])


# M: what is drawn from stored shapes


def bank_of(*shapes: tuple[Tensor, int], defect: int = 1, style: float = 1.0) -> ShapeBank:
    """A bank with maps (2, S, S) of a class, each with its product."""
    net = NetworkConfig(image_size=SIZE, memory=12, style_dim=8)
    bank = ShapeBank(net, layer_form(net), 3)
    for slot, (c, product) in enumerate(shapes, (defect - 1) * bank.share):
        at = middle(c[None])[0]
        bank.shapes[slot] = (255 * c.roll((-(at * SIZE).round().long()).tolist(), (1, 2))).byte()
        bank.styles[slot], bank.centres[slot] = style * (-1.0) ** product, at
        bank.products[slot] = product
        bank.keys[slot] = slot
    return bank


def middle(c: Tensor) -> Tensor:
    """Centres (N, 2) of maps, as shares of the side from the middle."""
    weights, axis = c.sum(1), (torch.arange(SIZE) + 0.5) / SIZE - 0.5
    weights = weights / weights.sum((1, 2), keepdim=True)
    return torch.stack([weights.sum(2) @ axis, weights.sum(1) @ axis], dim=1)


def square(top: int, left: int, side: int = 6) -> Tensor:
    """A map with a square in its first layer."""
    c = torch.zeros(2, SIZE, SIZE)
    c[0, top : top + side, left : left + side] = 1
    return c


def still(count: int = 1) -> Latent:
    """Latents that bend nothing and take the first shape, in the middle of the reach."""
    z = torch.zeros(count, shape_bank.NUMBERS)
    z[:, [0, 1]] = -9.0
    z[:, [9, 10]] = 1.0  # not mirrored
    return Latent(z, [torch.zeros(count, 2, shape_bank.KNOTS, shape_bank.KNOTS)])


def test_a_shape_comes_back_where_it_was() -> None:
    c = square(8, 18)
    bank = bank_of((c, 0))
    found = bank(still(), torch.tensor([1]))
    assert torch.equal(found.c[0] > 0.5, c > 0.5)
    assert torch.allclose(found.s.square().mean(), torch.ones(()), atol=1e-4)
    assert bank(still(), torch.tensor([2])).c.eq(0).all()  # nothing of this class is stored
    assert bank(still(), torch.tensor([0])).c.eq(0).all()


def test_places_are_drawn_within_the_reach() -> None:
    bank = bank_of((square(6, 6), 0), (square(20, 16), 0))
    at = middle(bank(bank.draw(64, torch.Generator().manual_seed(0)), torch.ones(64, dtype=torch.int64)).c)
    low, high = ((torch.tensor(edge) + 3) / SIZE - 0.5 for edge in ([6, 6], [20, 16]))
    slack = 0.04  # bending moves centres a little
    assert ((at > low - slack) & (at < high + slack)).all()
    assert ((at.amax(0) - at.amin(0)) > 0.6 * (high - low)).all()


def test_shapes_of_the_product_itself_come_first() -> None:
    bank = bank_of((square(6, 6), 0), *[(square(20, 16), 1)] * 3)
    latent, defect = bank.draw(200, torch.Generator().manual_seed(0)), torch.ones(200, dtype=torch.int64)

    def share(product: int | None) -> float:
        """Of the first product's."""
        wanted = None if product is None else torch.full((200,), product)
        return (bank(latent, defect, wanted).s[:, 0] > 0).float().mean().item()

    assert share(0) == pytest.approx(shape_bank.OWN + (1 - shape_bank.OWN) / 4, abs=0.08)
    assert share(1) == pytest.approx((1 - shape_bank.OWN) / 4, abs=0.06)
    assert share(None) == share(-1) == share(7) == pytest.approx(1 / 4, abs=0.08)  # the others have none of their own


def test_no_two_latents_give_one_shape_and_each_depends_on_its_own_seed(tiles: LayeredInferenceModel) -> None:
    many = tiles.latent_codes(torch.tensor([1, 2] * 20), range(40))
    flat = many.c.flatten(1)
    assert (torch.cdist(flat, flat) + torch.eye(40) * 99).min() > 0.5
    assert many.c.amax() < 1 and many.c.amin() >= 0
    alone = tiles.latent_codes(torch.tensor([2]), [7])
    assert torch.allclose(alone.c, many.c[7:8], atol=1e-5) and torch.allclose(alone.s, many.s[7:8], atol=1e-5)


def test_mirrors_turns_and_sizes() -> None:
    c = torch.zeros(1, 2, SIZE, SIZE)
    c[:, 0, 15:17, 8:24], c[:, 1, 8:16, 8:10] = 1.0, 1.0
    origin = torch.zeros(1, 2)

    def change(number: int, value: float) -> Tensor:
        latent = still()
        latent.z[:, number] = value
        return shape_bank.warped(c, latent, origin)

    assert torch.allclose(shape_bank.warped(c, still(), origin), c, atol=1e-5)
    assert torch.allclose(change(9, -1.0), c.flip(3), atol=1e-5)
    assert torch.allclose(change(10, -1.0), c.flip(2), atol=1e-5)
    quarter = change(6, math.pi / 2 / shape_bank.TURN)
    assert torch.allclose(quarter, c.rot90(1, (2, 3)), atol=1e-4)
    larger = change(7, math.log(1.3) / shape_bank.SIZE)
    assert larger.sum() == pytest.approx(1.3**2 * c.sum().item(), rel=0.1)
