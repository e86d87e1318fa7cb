"""Network parts by themselves."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from small_networks import images, small_model
from torch import Tensor, nn

from defectaug.methods.dtgan.codes import FeatureForm
from defectaug.methods.dtgan.mapping import map_sizes
from defectaug.nn.augment import differentiable_augment, mirror_and_shift
from defectaug.nn.blocks import AdaIN, NoiseInjection, Resample, ResBlock, Trunk, blur3, dilated, pool_max_mean
from defectaug.nn.branches import PAD, BranchedConv1x1, BranchedLinear, Branches, pick
from defectaug.nn.norm import InstanceNorm
from defectaug.nn.shapes import shapes_alone


def features(count: int = 3, channels: int = 4, size: int = 8, seed: int = 0) -> Tensor:
    return torch.randn(count, channels, size, size, generator=torch.Generator().manual_seed(seed))


# Blocks


@pytest.mark.parametrize(("how", "size"), [("keep", 8), ("down", 4), ("up", 16)])
@pytest.mark.parametrize("norm", [False, True])
def test_residual_block_sizes(how: Resample, size: int, norm: bool) -> None:
    assert ResBlock(4, 6, how, norm=norm)(features()).shape == (3, 6, size, size)


def lasting(x: Tensor) -> Tensor:
    return x.to(memory_format=torch.channels_last)


@pytest.mark.parametrize("affine", [True, False])
def test_instance_norm_of_channels_last_is_that_of_pytorch_also_twice_differentiated(affine: bool) -> None:
    torch.manual_seed(0)
    x = lasting(3 + 2 * torch.randn(3, 5, 8, 6)).requires_grad_()
    norm = InstanceNorm(5, affine=affine)
    for parameter in norm.parameters():
        nn.init.normal_(parameter)

    def derivatives(function: Callable[[Tensor], Tensor]) -> list[Tensor]:
        y, weights = function(x), [x, *norm.parameters()]
        first = torch.autograd.grad((y * torch.arange(y.numel()).sin().view_as(y)).sum(), weights, create_graph=True)
        return [y, *first, torch.autograd.grad(first[0].pow(3).sum(), x)[0]]

    theirs = derivatives(lambda x: F.instance_norm(x, weight=norm.weight, bias=norm.bias))
    for mine, wanted in zip(derivatives(norm), theirs, strict=True):
        torch.testing.assert_close(mine, wanted, rtol=1e-4, atol=1e-5)


def test_instance_norm_keeps_channels_last_and_is_as_exact_as_pytorchs_in_bf16() -> None:
    x = lasting(10 + features(4, 8, 32)).bfloat16().requires_grad_()
    y = InstanceNorm(8, affine=False)(x)
    y.backward(lasting(features(4, 8, 32, seed=1)).bfloat16())
    assert x.grad is not None
    assert all(t.is_contiguous(memory_format=torch.channels_last) and t.dtype == x.dtype for t in (y, x.grad))
    exact = F.instance_norm(x.detach().float())
    assert (y - exact).square().mean() < 1.1 * (F.instance_norm(x.detach()) - exact).square().mean()


@pytest.mark.parametrize("reach", [1, 2, 8])
def test_dilated_is_max_pooling(reach: int) -> None:
    x = features(2, 2, 20).relu()
    assert torch.equal(dilated(x, reach), F.max_pool2d(x, 2 * reach + 1, stride=1, padding=reach))


def test_adain_sets_mean_and_deviation_by_style() -> None:
    torch.manual_seed(0)
    layer, style = AdaIN(4, 5), torch.randn(3, 5)
    result = layer(features() * 7 + 3, style)
    scale, shift = layer.affine(style).chunk(2, dim=1)
    assert torch.allclose(result.mean((2, 3)), shift, atol=1e-5)
    assert torch.allclose(result.std((2, 3), correction=0), (1 + scale).abs(), atol=1e-4)


def test_noise_injection() -> None:
    layer, noise = NoiseInjection(4, 0.5), torch.ones(3, 1, 8, 8)
    assert torch.equal(layer(features(), noise), features() + 0.5)


def test_trunk_levels_halve() -> None:
    levels = Trunk(1, (4, 6, 8), fold=2, blocks=1).levels(images(2))
    assert [tuple(level.shape) for level in levels] == [(2, 4, 16, 16), (2, 6, 8, 8), (2, 8, 4, 4)]


def test_pool_max_mean() -> None:
    h = torch.zeros(1, 2, 4, 4)
    h[0, 0, 1, 1] = 16.0
    assert pool_max_mean(h).tolist() == [[16.0, 0.0, 1.0, 0.0]]


def test_blur_keeps_constants_and_spreads_a_point() -> None:
    assert torch.allclose(blur3(torch.full((1, 1, 6, 6), 0.7)), torch.tensor(0.7))
    point = torch.zeros(1, 1, 5, 5)
    point[..., 2, 2] = 16
    assert blur3(point)[0, 0, 1:4, 1:4].tolist() == [[1, 2, 1], [2, 4, 2], [1, 2, 1]]


# Codes


def test_a_decoded_code_is_features() -> None:
    response = features(2, 5)
    assert torch.equal(FeatureForm(5, 8).activate(response), response.tanh())


# Branches


def test_pick() -> None:
    branches = torch.arange(6).reshape(3, 2)
    assert pick(branches, torch.tensor([1, 0, 1])).tolist() == [1, 2, 5]


@pytest.mark.parametrize("kind", ["conv", "linear"])
def test_branched_layers_are_a_layer_per_domain(kind: str) -> None:
    torch.manual_seed(0)
    domain = torch.tensor([2, 0, 2])
    if kind == "conv":
        layer: nn.Module = BranchedConv1x1(4, 5, 3)
        x, weight = features(), layer.conv.weight.flatten(1)  # type: ignore[union-attr]
        mine = [weight[5 * d : 5 * d + 5] for d in domain.tolist()]
        alone = [torch.einsum("oc,chw->ohw", w, row) for w, row in zip(mine, x, strict=True)]
    else:
        layer = BranchedLinear(4, 5, 3)
        x, linear = features().mean((2, 3)), layer.linear
        alone = [
            linear.weight[5 * d : 5 * d + 5] @ row + linear.bias[5 * d : 5 * d + 5]  # type: ignore[union-attr]
            for d, row in zip(domain, x, strict=True)
        ]
    assert torch.allclose(layer(x, domain), torch.stack(alone), atol=1e-5)


class Scaled(nn.Module):
    """Multiplies by a number of its own and notes how many rows it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(0.0))
        self.rows = 0

    def forward(self, x: Tensor, more: list[Tensor]) -> Tensor:
        self.rows = len(x)
        return self.scale * x + more[0]


@pytest.mark.parametrize("domain", [[0], [1, 1, 1, 1, 1], [2, 0, 2, 1, 0, 2], [0, 1] * 4])
def test_branches_take_their_rows_padded_and_keep_the_order(domain: list[int]) -> None:
    branches = Branches(Scaled, 3)
    for number, branch in enumerate(branches.branches):
        branch.scale.data.fill_(10.0**number)  # type: ignore[union-attr, operator]
    x = torch.arange(1.0, len(domain) + 1)
    result = branches(torch.tensor(domain), x, [0.5 * x])
    assert result.tolist() == [10.0**d * (row + 1) + 0.5 * (row + 1) for row, d in enumerate(domain)]
    for number, branch in enumerate(branches.branches):
        rows = -(-domain.count(number) // PAD) * PAD
        assert branch.rows == rows


def test_padded_rows_add_no_gradient() -> None:
    branches = Branches(Scaled, 1)
    x = torch.tensor([1.0, 2.0, 4.0])
    branches(torch.zeros(3, dtype=torch.int64), x, [x]).sum().backward()
    assert branches.branches[0].scale.grad == 7  # type: ignore[union-attr]


@pytest.mark.parametrize("code_size", [2, 4, 8, 16, 20, 24, 36, 64])
def test_maps_grow_by_doubling_to_the_codes_size(code_size: int) -> None:
    sizes = map_sizes(code_size)
    assert sizes[-1] == code_size
    assert all(b in (2 * a, 2 * a - 1) for a, b in pairwise(sizes))
    assert sizes[0] < 8


# Augmentation


def draw(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_mirror_and_shift_moves_pixels_whole() -> None:
    x = torch.zeros(16, 1, 32, 32)
    x[:, :, 12:15, 18] = 1.0
    moved = mirror_and_shift(x, draw(0))
    assert moved.shape == x.shape
    assert moved.sum((1, 2, 3)).tolist() == [3.0] * 16
    rows, columns = ((moved == 1).nonzero()[:, axis].reshape(16, 3) for axis in (2, 3))
    assert (columns == columns[:, :1]).all()
    assert {tuple(r) for r in (rows - rows[:, :1]).tolist()} == {(0, 1, 2)}
    assert len({(r, c) for r, c in zip(rows[:, 0].tolist(), columns[:, 0].tolist(), strict=True)}) > 8
    # At most an eighth of the side from where it was, or from its mirror image.
    assert all(min(abs(c - 18), abs(c - 13)) <= 4 for c in columns[:, 0].tolist())


def test_augmentation_hangs_on_its_generator_alone() -> None:
    x = images(4)
    assert torch.equal(differentiable_augment(x, draw(3)), differentiable_augment(x, draw(3)))
    assert not torch.equal(differentiable_augment(x, draw(3)), differentiable_augment(x, draw(4)))


def test_augmentation_is_differentiable() -> None:
    x = images(4).requires_grad_(True)
    differentiable_augment(x, draw(0)).square().sum().backward()
    assert x.grad is not None
    assert (x.grad != 0).float().mean() > 0.6  # what was shifted out has none


# Shapes


@pytest.mark.parametrize("recipe", ["mokady", "paper"])
def test_shapes_alone_are_those_of_the_networks_and_nothing_is_drawn(
    recipe: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = {name: value.shape for name, value in small_model(recipe).state_dict().items()}

    def draw(tensor: Tensor, *_: object, **__: object) -> Tensor:
        raise AssertionError(f"{tuple(tensor.shape)} is initialised")

    for name in ("_no_grad_normal_", "_no_grad_uniform_", "_no_grad_trunc_normal_"):
        monkeypatch.setattr(nn.init, name, draw)
    with shapes_alone():
        state = small_model(recipe).state_dict()
    assert {name: value.shape for name, value in state.items()} == wanted
    assert all(value.is_meta for value in state.values())
