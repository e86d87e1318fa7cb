"""StyleGAN2: its losses at closed-form inputs, its layers, styles, truncation and adaptive augmentation."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from small_networks import CPU, training_batch
from torch import Tensor
from torch.optim import Optimizer

from defectaug.config.resolve import resolve
from defectaug.config.schema import Config
from defectaug.errors import ConfigError
from defectaug.methods.dtgan.losses import r1
from defectaug.methods.stylegan2.ada import Adaptive, moved, recoloured
from defectaug.methods.stylegan2.discriminator import with_deviation
from defectaug.methods.stylegan2.layers import EqualConv, ModulatedConv, StyledConv, doubled
from defectaug.methods.stylegan2.losses import path_length_penalty, path_lengths
from defectaug.methods.stylegan2.method import StyleGAN2Method
from defectaug.methods.stylegan2.model import StyleGAN2

SIZE = 32


def config(**own: object) -> Config:
    network = {"image_size": SIZE, "generator_widths": [8, 16], "discriminator_widths": [8, 16], "style_dim": 8}
    network |= {"latent_dim": 8, "mapping_width": 8, "mapping_layers": 2}
    return resolve("stylegan2", flags={"network": network, "stylegan2": own, "run": {"batch_size": 3}})


@pytest.fixture
def model() -> StyleGAN2:
    torch.manual_seed(0)
    made = StyleGAN2(config(), defects=3, products=2)
    return made.eval().requires_grad_(False)


# Losses


def test_path_length_of_a_linear_generator() -> None:
    w = torch.zeros(2, 1, 3, requires_grad=True)
    slope = torch.tensor([1.0, 2.0, -2.0])  # every pixel moves by it
    image = (w @ slope)[:, :, None, None].expand(-1, 1, 4, 4)
    y = torch.ones(2, 1, 4, 4) * torch.tensor([1.0, 0.5])[:, None, None, None]
    lengths = path_lengths(image, w, y)  # J^T y = 16 y slope / sqrt(16), and |slope| = 3
    torch.testing.assert_close(lengths, torch.tensor([12.0, 6.0]))
    assert float(path_length_penalty(lengths, torch.tensor(8.0))) == pytest.approx((16 + 4) / 2)


def test_path_length_takes_the_mean_square_over_layers() -> None:
    w = torch.zeros(1, 2, 1, requires_grad=True)
    image = (3 * w[:, 0] + 4 * w[:, 1])[:, :, None, None]
    torch.testing.assert_close(path_lengths(image, w, torch.ones(1, 1, 1, 1)), torch.tensor([math.sqrt(12.5)]))


def test_r1_of_a_linear_discriminator() -> None:
    x = torch.zeros(2, 1, 2, 2, requires_grad=True)
    assert float(r1(3 * x.sum((1, 2, 3)), x)) == pytest.approx(0.5 * 9 * 4)


# Layers


def test_modulation_of_the_input_is_that_of_the_weights() -> None:
    torch.manual_seed(0)
    layer, x, style = ModulatedConv(3, 4, 3, 5), torch.randn(2, 3, 6, 6), torch.rand(2, 3) + 0.5
    weights = layer.conv.weight * layer.conv.scale * style[:, None, :, None, None]  # (N, out, in, 3, 3), Eq. (1)
    norm = torch.rsqrt(weights.square().sum((2, 3, 4)) + 1e-8)  # Eq. (3)
    expected = torch.cat([F.conv2d(one[None], own, padding=1) for one, own in zip(x, weights, strict=True)])
    torch.testing.assert_close(layer(x, style), expected)
    torch.testing.assert_close(layer.demodulation(style), norm)


def test_layers_keep_the_variance() -> None:
    torch.manual_seed(0)
    x, w, noise = torch.randn(8, 64, 16, 16), torch.randn(8, 16), torch.zeros(8, 1, 16, 16)
    assert float(EqualConv(64, 64, 3)(x).var()) == pytest.approx(1, abs=0.2)
    assert float(StyledConv(64, 64, 16)(x, w, noise).square().mean()) == pytest.approx(1, abs=0.2)


def test_doubling_is_the_filter_1_3_3_1_between_zeros() -> None:
    x = torch.zeros(1, 1, 4, 4)
    x[0, 0, 1, 1] = 16
    taps = torch.tensor([1.0, 3, 3, 1])
    torch.testing.assert_close(doubled(x)[0, 0, 1:5, 1:5], torch.outer(taps, taps))


def test_the_deviation_of_equal_images_is_none() -> None:
    same, other = torch.ones(4, 2, 4, 4), torch.randn(4, 2, 4, 4)
    assert float(with_deviation(same)[:, 2].abs().max()) == pytest.approx(1e-4)
    found = with_deviation(other)[:, 2]
    assert float(found.std()) < 1e-6 and float(found[0, 0, 0]) > 0.3  # one group, one value


# Styles


def test_truncation_0_gives_the_mean_image_of_each_class(model: StyleGAN2) -> None:
    label = torch.tensor([1, 1, 5])
    first, again, other = model.images(label, [1, 2, 3], truncation=0.0)
    assert torch.allclose(first, again, atol=1e-5) and not torch.allclose(first, other, atol=1e-3)
    wild = model.images(label, [1, 2, 3], truncation=1.0)
    assert not torch.allclose(wild[0], wild[1], atol=1e-3)


def test_pixels_beside_each_other_stay_so_through_all_levels() -> None:
    """Two by two pixels that coarse features make are enlarged as an image is, not each by itself."""
    torch.manual_seed(0)
    synthesis = StyleGAN2(config(), 3, 2).generator.synthesis.requires_grad_(False)
    for to_image in synthesis.to_image:
        to_image.bias.zero_()
        to_image.conv.conv.weight.zero_()
    synthesis.to_image[0].bias.copy_(torch.tensor([1.0, 0, 0, 0]))
    noise = synthesis.draw_noise(1, torch.Generator())
    image = synthesis(torch.zeros(1, synthesis.layers, 8), noise)[0, 0]
    assert image.shape == (SIZE, SIZE) and float((image[:, 1:] - image[:, :-1]).abs().max()) <= 0.5


def test_an_image_depends_on_its_own_seed_alone(model: StyleGAN2) -> None:
    both = model.images(torch.tensor([1, 4]), [7, 8], 0.7)
    torch.testing.assert_close(both[1:], model.images(torch.tensor([4]), [8], 0.7))


def test_the_label_decides_on_image_and_judgement(model: StyleGAN2) -> None:
    a, b = model.images(torch.tensor([0, 1]), [1, 1], 1.0)
    assert not torch.allclose(a, b, atol=1e-3)
    logits = model.discriminator(torch.stack([a] * 2), torch.tensor([0, 1]))
    assert float((logits[0] - logits[1]).abs()) > 1e-4


def test_style_mixing_changes_later_layers_alone(model: StyleGAN2) -> None:
    label = torch.zeros(64, dtype=torch.long)
    plain = model.generator.styles(label, torch.Generator().manual_seed(0), mixing=0.0)
    mixed = model.generator.styles(label, torch.Generator().manual_seed(0), mixing=1.0)
    assert torch.equal(plain[:, 0], plain[:, -1]) and torch.equal(plain[:, 0], mixed[:, 0])
    same = (plain == mixed).all(2)
    assert not same[:, -1].any() and torch.equal(same.int().cummin(1).values, same.int())
    assert len(same.sum(1).unique()) == model.generator.synthesis.layers - 1  # every cut is drawn


# Training


def test_two_steps_change_all_of_both_players() -> None:
    method = StyleGAN2Method(config(path_every=1), 3, 2, CPU, seed=0)
    before = {name: value.clone() for name, value in method.model.named_parameters()}
    values = [method.step(training_batch(3), step, 0.0) for step in range(2)]
    assert all(set(one) == {"d_adversarial", "adversarial", "real_sign"} for one in values)
    same = {name for name, value in method.model.named_parameters() if torch.equal(value, before[name])}
    assert same == set()
    assert float(method.path.mean) > 0


def test_penalties_come_every_few_steps_and_count_so_often(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[float] = []

    def penalty(self: StyleGAN2Method, label: Tensor, rng: torch.Generator) -> Tensor:
        return (next(self.model.generator.parameters()) ** 2).sum() * 0 + 1

    method = StyleGAN2Method(config(path_every=2, path_length=3.0), 3, 2, CPU, seed=0)

    def descend(optimizer: Optimizer, loss: Tensor) -> None:
        taken.append(float(loss)) if optimizer is method.optimizers["generator_optimizer"] else None

    monkeypatch.setattr(StyleGAN2Method, "_path_penalty", penalty)
    monkeypatch.setattr("defectaug.methods.stylegan2.method.descend", descend)
    values = [method.step(training_batch(3), step, 0.0)["adversarial"] for step in range(2)]
    assert taken == pytest.approx([values[0] + 2 * 3, values[1]])
    rate = method.config.optimizer.rate
    assert method.optimizers["generator_optimizer"].defaults["lr"] == pytest.approx(rate * 2 / 3)


# Adaptive augmentation


def test_the_chance_rises_while_discriminator_is_sure() -> None:
    adaptive = Adaptive(target=0.6, images=100)
    for sign in (0.9, 0.7, 0.9, 0.7):
        adaptive.adjust(sign, count=5)
    assert float(adaptive.chance) == pytest.approx(5 * 4 / 100) and adaptive.signs.tolist() == [0, 0]
    for _ in range(8):
        adaptive.adjust(0.5, count=5)
    assert float(adaptive.chance) == 0  # down again, not below 0


@pytest.mark.parametrize("channels", [1, 3])
def test_at_chance_0_nothing_is_augmented_and_at_1_all_is(channels: int) -> None:
    x = torch.rand(4, channels, 16, 16) * 2 - 1
    for change in (moved, recoloured):
        assert torch.allclose(change(x, 0.0, torch.Generator().manual_seed(0)), x, atol=1e-6)
        changed = change(x, 1.0, torch.Generator().manual_seed(0))
        assert changed.shape == x.shape and all((a - b).abs().max() > 0.1 for a, b in zip(changed, x, strict=True))
    y = x.clone().requires_grad_(True)
    Adaptive(0.6, 1)(y, torch.Generator().manual_seed(0)).sum().backward()
    assert y.grad is not None


def test_saturation_and_hue_leave_grey_as_it_is() -> None:
    grey = torch.rand(64, 1, 2, 2).expand(-1, 3, -1, -1)
    made = recoloured(grey, 1.0, torch.Generator().manual_seed(0))
    assert torch.allclose(made, made.mean(1, keepdim=True).expand_as(made), atol=1e-5)


def test_sizes_that_do_not_go_with_the_widths_are_refused() -> None:
    for size in (8, 36, 66):
        with pytest.raises(ConfigError, match=rf"--image-size {size}: must be a multiple of 16 from 64 to 1024"):
            resolve("stylegan2", flags={"network": {"image_size": size}})
    with pytest.raises(ConfigError, match="must be of one length here"):
        resolve("stylegan2", flags={"network": {"generator_widths": [8, 8]}})
