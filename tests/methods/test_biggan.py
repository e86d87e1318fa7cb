"""BigGAN: its losses at closed-form inputs, spectral norms, truncation, standing statistics."""

from __future__ import annotations

import pytest
import torch
from small_networks import CPU, training_batch
from torch import nn

from defectaug.config.resolve import resolve
from defectaug.config.schema import Config
from defectaug.methods.biggan.generator import settle, truncated_normal
from defectaug.methods.biggan.layers import ConditionalNorm, SelfAttention, conv
from defectaug.methods.biggan.losses import hinge_d, hinge_g, orthogonal
from defectaug.methods.biggan.method import BigGANMethod, regularised
from defectaug.methods.biggan.model import BigGAN

SIZE = 32


def config(**own: object) -> Config:
    network = {"image_size": SIZE, "generator_widths": [8, 16], "discriminator_widths": [8, 16], "latent_dim": 4}
    flags = {"network": network, "biggan": {"embedding": 4} | own, "run": {"batch_size": 4}}
    return resolve("biggan", flags=flags)


@pytest.fixture(scope="module")
def model() -> BigGAN:
    torch.manual_seed(0)
    made = BigGAN(config(), defects=3, products=2).requires_grad_(False)
    settle(made.generator, 6)
    return made.eval()


# Losses


def test_hinge() -> None:
    real, fake = torch.tensor([2.0, 0.5]), torch.tensor([-3.0, 0.0])
    assert float(hinge_d(real, fake)) == pytest.approx((0 + 0.5) / 2 + (0 + 1) / 2)
    assert float(hinge_g(fake)) == pytest.approx(1.5)


def test_orthogonal_regularisation_leaves_norms_free() -> None:
    at_right_angles = torch.diag(torch.tensor([3.0, 0.5]))
    slanted = torch.tensor([[1.0, 0.0], [2.0, 1.0]])  # the product of its rows is 2, counted both ways
    assert float(orthogonal([at_right_angles])) == 0
    assert float(orthogonal([at_right_angles, slanted[:, :, None, None]])) == pytest.approx(8)


def test_what_is_regularised_is_what_is_learnt(model: BigGAN) -> None:
    weights = regularised(model.generator)
    layers = [m for m in model.generator.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(weights) == len(layers) and not any(w is model.generator.embedding.weight for w in weights)


# Layers


def test_layers_have_spectral_norm_1() -> None:
    torch.manual_seed(0)
    layer = conv(4, 6, 3)
    with torch.no_grad():
        layer.parametrizations.weight.original.mul_(7)  # type: ignore[union-attr]
        for _ in range(20):
            _ = layer.weight  # each use in training is a step of the power iteration
        assert float(torch.linalg.matrix_norm(layer.weight.flatten(1), 2)) == pytest.approx(1, abs=1e-3)


def test_conditional_norm_is_that_of_its_condition() -> None:
    torch.manual_seed(0)
    norm, x = ConditionalNorm(4, 3), torch.randn(8, 4, 5, 5) * 3 + 2
    plain = norm(x, torch.zeros(8, 3))
    assert plain.mean((0, 2, 3)).abs().max() < 1e-5 and plain.var((0, 2, 3), correction=0).sub(1).abs().max() < 1e-3
    condition = torch.randn(1, 3).expand(8, -1)
    scale, shift = 1 + norm.scale(condition)[0], norm.shift(condition)[0]
    torch.testing.assert_close(norm(x, condition), plain * scale[:, None, None] + shift[:, None, None])


def test_attention_adds_nothing_at_first_and_then_what_is_far() -> None:
    torch.manual_seed(0)
    attention, x = SelfAttention(8), torch.randn(2, 8, 8, 8)
    assert torch.equal(attention(x), x)
    with torch.no_grad():
        attention.strength.fill_(1.0)
    other = x.clone()
    other[:, :, 0, 0] += 5
    assert (attention(other) - attention(x))[:, :, 7, 7].abs().max() > 1e-4


# Labels


def test_at_the_start_noise_counts_for_more_than_the_label() -> None:
    """Vectors of unit norm and at right angles, as all weights at the start; of N(0, 1), they drown the noise."""
    torch.manual_seed(0)
    generator = BigGAN(resolve("biggan"), defects=3, products=3).requires_grad_(False).generator
    vectors = generator.embedding.weight
    torch.testing.assert_close(vectors @ vectors.T, torch.eye(9), atol=1e-5, rtol=0)
    noise, labels = generator.draw(4, torch.Generator().manual_seed(0)), torch.arange(9)
    made = generator(noise.repeat_interleave(9, 0), labels.repeat(4)).unflatten(0, (4, 9))
    assert float(made.var(0).mean()) > 2 * float(made.var(1).mean())


# Truncation


def test_truncated_normal() -> None:
    uniform = torch.linspace(0.001, 0.999, 999)
    assert truncated_normal(uniform, 0.0).abs().max() == 0
    assert truncated_normal(uniform, 0.5).abs().max() <= 0.5
    torch.testing.assert_close(truncated_normal(uniform, 10.0), torch.distributions.Normal(0, 1).icdf(uniform))


def test_truncation_0_gives_one_image_of_each_class(model: BigGAN) -> None:
    first, again, other = model.images(torch.tensor([1, 1, 5]), [1, 2, 3], truncation=0.0)
    assert torch.allclose(first, again, atol=1e-5) and not torch.allclose(first, other, atol=1e-4)
    wild = model.images(torch.tensor([1, 1]), [1, 2], truncation=2.0)
    assert not torch.allclose(wild[0], wild[1], atol=1e-4)


def test_an_image_depends_on_its_own_seed_alone(model: BigGAN) -> None:
    both = model.images(torch.tensor([1, 4]), [7, 8], 2.0)
    torch.testing.assert_close(both[1:], model.images(torch.tensor([4]), [8], 2.0), rtol=1e-4, atol=1e-5)


def test_the_label_decides_on_the_judgement(model: BigGAN) -> None:
    x = torch.rand(1, 1, SIZE, SIZE).expand(2, -1, -1, -1)
    logits = model.discriminator(x, torch.tensor([0, 1]))
    assert float((logits[0] - logits[1]).abs()) > 1e-4


# Training


def test_two_steps_change_all_of_both_players() -> None:
    method = BigGANMethod(config(), 3, 2, CPU, seed=0)
    before = {name: value.clone() for name, value in method.model.named_parameters()}
    values = [method.step(training_batch(4, domains=3), step, 0.0) for step in range(2)]
    assert all(set(one) == {"d_adversarial", "adversarial", "orthogonal"} for one in values)
    same = {name for name, value in method.model.named_parameters() if torch.equal(value, before[name])}
    assert same == set()


def test_standing_statistics_are_those_of_the_averaged_weights() -> None:
    method = BigGANMethod(config(), 3, 2, CPU, seed=0)
    method.step(training_batch(4, domains=3), 0, 0.0)
    name = "generator.norm.running_mean"
    trailing = method.average.shadow.state_dict()[name].clone()
    standing = method.weights()[name].clone()
    assert not torch.allclose(trailing, standing, atol=1e-4)
    assert torch.equal(standing, method.weights()[name])  # and nothing of them trails
    assert not method.average.shadow.training


def test_each_step_of_discriminator_sees_other_images(monkeypatch: pytest.MonkeyPatch) -> None:
    method = BigGANMethod(config(discriminator_steps=3, augment="none"), 3, 2, CPU, seed=0)
    shown: list[torch.Tensor] = []
    monkeypatch.setattr(method, "seen", lambda x, rng: shown.append(x) or x)
    batch = training_batch(6, domains=3)
    method.step(batch, 0, 0.0)
    reals = torch.cat(shown[0:6:2])
    assert torch.equal(reals, torch.cat([batch.image, batch.reference])) and len(shown) == 7
