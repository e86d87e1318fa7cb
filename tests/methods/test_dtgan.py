"""The structure of DT-GAN: what depends on what, and what does not."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest
import torch
from small_networks import (
    CPU,
    codes_like,
    images,
    small_config,
    small_method,
    small_model,
    training_batch,
)
from torch import Tensor, nn
from torch.optim import Optimizer

from defectaug.config.resolve import recipe_names, resolve
from defectaug.methods.adversarial import NORMAL, Networks, TrainingBatch
from defectaug.methods.dtgan.anchor import anchor_like
from defectaug.methods.dtgan.codes import Codes
from defectaug.methods.dtgan.discriminator import FlatHead, PooledHead
from defectaug.methods.dtgan.encoder import CoarseShape
from defectaug.methods.dtgan.mapping import MappingNetwork
from defectaug.methods.dtgan.model import DTGAN

RECIPES = [name for name in recipe_names() if resolve(name).method == "dtgan"]
CLASSES = torch.tensor([0, 1, 2, 1])
PRODUCTS = 2  # of small_model


def latent_codes(model: Networks, defect: Tensor, first: int = 0) -> Codes:
    return model.mapping(model.mapping.draw_seeded(range(first, first + len(defect))), defect)


def watch(module: nn.Module) -> list[Tensor]:
    """Collects what a module returns (of several values the first)."""
    seen: list[Tensor] = []
    module.register_forward_hook(lambda m, i, out: seen.append(out[0] if isinstance(out, tuple) else out))
    return seen


# Background and style


def test_background_has_no_gradient_from_the_style() -> None:
    model = small_model().requires_grad_(False)
    parts = {name: watch(getattr(model.generator, name)) for name in ("trunk", "back", "front")}
    codes = codes_like(model, CLASSES)
    codes.s.requires_grad_(True)
    made = model.generator(images(4), codes)
    for name in ("trunk", "back"):
        assert parts[name] and not any(out.requires_grad for out in parts[name]), name
    assert parts["front"][0].requires_grad
    made.sum().backward()
    assert codes.s.grad is not None and codes.s.grad.abs().sum() > 0


# Anchor


def test_normal_has_the_zero_map_from_both_guides() -> None:
    model = small_model()
    for codes in (latent_codes(model, CLASSES), model.encoder(images(4), CLASSES)):
        empty = codes.c.flatten(1).eq(0).all(1)
        assert empty.tolist() == [True, False, False, False]
    assert anchor_like(codes).c.eq(0).all()
    assert anchor_like(codes).defect.eq(NORMAL).all()


def test_without_anchor_normal_has_a_map() -> None:
    model = small_model("ablation_d")
    assert latent_codes(model, CLASSES).c[0].abs().sum() > 0
    assert model.encoder(images(4), CLASSES).c[0].abs().sum() > 0


def test_reference_codes_are_cut_from_the_graph() -> None:
    method = small_method(small_config())
    batch = TrainingBatch.on(CPU.device, training_batch(), guided=3)
    codes = method.objective.forward(batch, torch.Generator().manual_seed(0)).codes
    assert method.model.encoder(batch.reference, batch.target).c.requires_grad and codes.c.requires_grad
    weights = list(method.model.encoder.parameters())
    assert all(one is None for one in torch.autograd.grad(codes.c.sum() + codes.s.sum(), weights, allow_unused=True))


# Domains


def shake(weight: Tensor, domain: int, shape: tuple[int, ...] = (3, -1)) -> None:
    """Changes a domain's rows of a branched layer, whose rows unfold to ``shape``; the domains' axis is that of 3."""
    with torch.no_grad():
        weight.unflatten(0, shape).movedim(shape.index(3), 0)[domain].add_(0.5)


def disturb(model: DTGAN, domain: int) -> None:
    """Changes every branch of one domain: of M, of E, and of D's adversarial heads."""
    assert isinstance(model.mapping, MappingNetwork) and isinstance(model.encoder.shape, CoarseShape)
    with torch.no_grad():
        for parameter in model.mapping.shape.branches[domain].parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(9)))
    for weight in (
        model.mapping.style.linear.weight,
        model.encoder.shape.out.conv.weight,
        model.encoder.style.linear.weight,
    ):
        shake(weight, domain)
    heads = [head for name, head in model.discriminator.named_children() if name.startswith("real")]
    for head in heads:
        assert isinstance(head, FlatHead | PooledHead)
        shake(head.linear.weight, domain, (PRODUCTS, 3, -1))


def outputs(model: DTGAN, domain: int) -> list[Tensor]:
    defect = torch.full((4,), domain)
    made, read = latent_codes(model, defect), model.encoder(images(4), defect)
    return [made.c, made.s, read.c, read.s, model.discriminator(images(4)).of(defect, defect % PRODUCTS)]


@pytest.mark.parametrize("heads", ["flat", "pooled"])
@pytest.mark.parametrize("changed", [1, 2])
@torch.no_grad()
def test_a_domains_branch_touches_no_other_domain(changed: int, heads: str) -> None:
    model = small_model("paper", product_branches=True, heads=heads)
    before = [outputs(model, domain) for domain in range(3)]
    disturb(model, changed)
    for domain in range(3):
        same = [torch.equal(a, b) for a, b in zip(before[domain], outputs(model, domain), strict=True)]
        assert same == [domain != changed] * 5


@pytest.mark.parametrize("size", [32, 48, 128])
@torch.no_grad()
def test_flat_heads_look_at_all_places_of_any_size(size: int) -> None:
    model = small_model("paper", image_size=size)
    x = images(2, size=size)
    changed = x.clone()
    changed[..., -4:, -4:] = 1
    for one, other in zip(*(vars(model.discriminator(image)).values() for image in (x, changed)), strict=True):
        assert one.shape[0] == 2 and not torch.equal(one, other)


@torch.no_grad()
def test_styles_have_a_size_in_the_paper_alone() -> None:
    for on in (True, False):
        styles = small_model("paper", style_norm=on).encoder(images(4), CLASSES).s
        assert torch.allclose(styles.square().mean(1), torch.ones(4), atol=1e-3) == on
    assert not resolve("paper").network.style_norm and resolve("paper").network.heads == "flat"


@torch.no_grad()
def test_each_product_has_branches_of_its_own_where_the_recipe_says_so() -> None:
    product = torch.tensor([0, 1, 0, 1])
    for apart in (True, False):
        head = small_model(product_branches=apart).discriminator
        before = head(images(4)).of(CLASSES, product)
        head.real.linear.bias[: 3 if apart else None] += 1  # those of the first product
        moved = head(images(4)).of(CLASSES, product) - before
        assert torch.allclose(moved, torch.tensor([1.0, 0, 1, 0] if apart else [1.0] * 4), atol=1e-5)


@torch.no_grad()
def test_batch_of_one_equals_batch_of_four() -> None:
    model, x = small_model().eval(), images(4)
    together = latent_codes(model, CLASSES)
    read = model.encoder(x, CLASSES)
    made = model.generator(x, together)
    verdict = model.discriminator(x)
    for row in range(4):
        one = slice(row, row + 1)
        alone = latent_codes(model, CLASSES[one], first=row)
        singles = [alone, model.encoder(x[one], CLASSES[one])]
        for codes, batch in zip(singles, (together, read), strict=True):
            assert torch.allclose(codes.c, batch.c[one], atol=1e-5)
            assert torch.allclose(codes.s, batch.s[one], atol=1e-5)
        assert torch.allclose(model.generator(x[one], alone), made[one], atol=1e-4)
        assert torch.allclose(model.discriminator(x[one]).real, verdict.real[one], atol=1e-4)


@torch.no_grad()
def test_latents_of_seeds_are_independent_of_the_batch() -> None:
    mapping = small_model().mapping
    some, others = mapping.draw_seeded([5, 6]), mapping.draw_seeded([9, 6, 5])
    for a, b in zip([some.z, *some.noise], [others.z, *others.noise], strict=True):
        assert torch.equal(a[0], b[2]) and torch.equal(a[1], b[1]) and not torch.equal(a[0], b[0])


@torch.no_grad()
def test_noise_alone_changes_a_shape_and_never_the_style() -> None:
    mapping, defect = small_model().mapping, torch.tensor([1, 1])
    latent = mapping.draw_seeded([3, 4])
    latent.z[1] = latent.z[0]
    codes = mapping(latent, defect)
    assert torch.equal(codes.s[0], codes.s[1])
    assert not torch.equal(codes.c[0], codes.c[1])


@pytest.mark.parametrize("size", [48, 96])
@torch.no_grad()
def test_sizes_that_are_no_power_of_two(size: int) -> None:
    model = small_model(image_size=size)
    made = model.generator(images(4, size=size), latent_codes(model, CLASSES))
    read = model.encoder(images(4, size=size), CLASSES)
    assert made.shape == (4, 1, size, size)
    assert read.c.shape == latent_codes(model, CLASSES).c.shape


@pytest.mark.parametrize("recipe", ["paper", "ablation_a", "ablation_c"])
@pytest.mark.parametrize("fold", [1, 2, 3, 4, 6])
@torch.no_grad()
def test_images_are_as_large_as_their_sources_whatever_the_fold(recipe: str, fold: int) -> None:
    model, x = small_model(recipe, fold=fold, image_size=96), images(2, size=96)
    assert model.generator(x, codes_like(model, CLASSES[1:3])).shape == x.shape


def test_no_product_classifier_for_one_product() -> None:
    assert small_model(products=1).discriminator.product is None
    assert small_model(products=2).discriminator.product is not None
    ablated = small_model("ablation_a").discriminator
    assert ablated.product is None and ablated.defect is None
    with pytest.raises(ValueError, match="no defect classifier"):
        ablated.name_defect(images(1))


# Phases

PLAYERS = ("mapping", "encoder", "generator")


def snapshot(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def changed_modules(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    return {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}


def on_step(optimizer: Optimizer, before: Callable[[], object], after: Callable[[], object]) -> None:
    optimizer.register_step_pre_hook(lambda *_: before() and None)
    optimizer.register_step_post_hook(lambda *_: after() and None)


@pytest.mark.parametrize("warmup", [0, 5])
def test_a_phase_changes_its_own_modules_alone(warmup: int) -> None:
    method = small_method(small_config("paper", {"run": {"warmup": warmup}, "loss": {"direct": 1}}))
    found: dict[str, set[str]] = {name: set() for name in method.optimizers}
    states: list[dict[str, Tensor]] = []
    for name, optimizer in method.optimizers.items():
        on_step(
            optimizer,
            lambda: states.append(snapshot(method.model)),
            lambda name=name: found[name].update(changed_modules(states[-1], snapshot(method.model))),
        )
    for step in range(2):
        method.step(training_batch(seed=step), step, 0.0)
    assert found["discriminator_optimizer"] == {"discriminator"}
    # In the warm-up G meets the styles of E, and none of M.
    assert found["generator_optimizer"] == ({"generator", "encoder"} if warmup else set(PLAYERS))
    assert all(parameter.requires_grad for parameter in method.model.parameters())


def without_gradient(recipe: str, steps: int = 3) -> list[str]:
    """Parameters that no phase of a few steps gives a gradient to."""
    method = small_method(small_config(recipe))
    missing = dict(method.model.named_parameters())

    def strike_out() -> None:
        for name in list(missing):
            grad = missing[name].grad
            if grad is not None and grad.abs().sum() > 0:
                del missing[name]

    for optimizer in method.optimizers.values():
        on_step(optimizer, strike_out, lambda: None)
    for step in range(steps):
        batch = training_batch(seed=step)
        batch.target[0] = NORMAL
        method.step(batch, step, 0.0)
    return sorted(missing)


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_parameter_learns_in_some_phase(recipe: str) -> None:
    idle = without_gradient(recipe)
    if recipe in ("ablation_a", "stargan2"):  # no shape reaches G
        allowed = "mapping.shape."
    elif small_config(recipe).network.anchor:  # the zero map leaves M's normal shape head without effect
        allowed = "mapping.shape.branches.0."
    else:
        allowed = "none"
    assert [name for name in idle if not name.startswith(allowed)] == []


# Recipes


@pytest.mark.parametrize(
    ("recipe", "domains", "products"),
    [*((recipe, *s) for recipe in RECIPES for s in ((3, 2), (2, 1))), ("paper", 3, 1), ("paper", 2, 2)],
)
def test_recipes_take_steps(recipe: str, domains: int, products: int) -> None:
    method = small_method(small_config(recipe), domains, products)
    for step in range(2):
        values = method.step(training_batch(4, domains, products, step), step, step / 2)
    assert all(torch.tensor(value).isfinite() for value in values.values())
    named = recipe not in ("ablation_a", "ablation_b", "stargan2")
    assert {"adversarial", "d_adversarial", "code", "cycle", "diversity"} <= set(values)
    assert ("split" in values) == (recipe not in ("ablation_a", "stargan2"))
    assert ("defect_class" in values) == ("d_defect_class" in values) == named
    assert ("product_class" in values) == ("d_product_class" in values) == (named and products > 1)
    assert method.grid(training_batch(2, domains, products)).shape[0] == 1
    assert "score" in method.score(training_batch(8, domains, products))


@pytest.mark.parametrize("normal", [0, 6])
def test_batches_of_normal_or_of_defective_images_alone(normal: int) -> None:
    batch = training_batch()
    batch.defect[:] = torch.tensor([0] * normal + [1] * (6 - normal))
    for warmup in (0, 1):
        method = small_method(small_config("paper", {"run": {"warmup": warmup}, "loss": {"direct": 1}}))
        values = method.step(batch, 0, 0.0)
        assert all(torch.tensor(value).isfinite() for value in values.values())


def test_normal_targets_have_no_diversity() -> None:
    batch = training_batch()
    batch.target[:] = NORMAL
    assert small_method(small_config("paper")).step(batch, 0, 0.0)["diversity"] == 0


def test_a_step_waits_for_few_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each transfer of a value to the host makes a GPU's queue run dry."""
    waits: list[str] = []

    def counted(name: str) -> Callable[..., object]:
        read = getattr(Tensor, name)

        def counting(x: Tensor, *args: object) -> object:
            caller = sys._getframe(1)
            if caller.f_globals["__name__"].startswith("defectaug."):
                waits.append(f"{name} in {caller.f_code.co_name}")
            return read(x, *args)

        return counting

    method = small_method(small_config())
    method.step(training_batch(), 0, 0.0)
    for name in ("tolist", "item", "cpu", "nonzero", "unique", "__float__", "__int__", "__bool__", "__index__"):
        monkeypatch.setattr(Tensor, name, counted(name))
    method.step(training_batch(), 1, 0.0)
    waits.remove("tolist in average_values")  # of what `cpu` has brought
    assert len(waits) <= 3, waits


# Learning


@pytest.mark.slow
def test_a_small_model_overfits_a_few_images() -> None:
    loss = {"adversarial": 0, "defect_class": 0, "product_class": 0, "r1": 0, "diversity": 0, "direct": 5}
    rates = {"rate": 3e-3, "beta1": 0.5, "weight_decay": 0}
    method = small_method(small_config("paper", {"loss": loss, "optimizer": rates}))
    batch = training_batch()
    batch.image[:] = -0.5
    batch.image[:, :, 8:20, 12:20] = torch.where(batch.defect > 0, 1.0, -0.5)[:, None, None, None]
    first = method.step(batch, 0, 0.0)["direct"]
    later = [method.step(batch, step, 0.0)["direct"] for step in range(1, 200)]
    assert min(later) < first / 10  # single steps jump, at this rate
    assert min(later) < (batch.image + 0.5).mean() / 3  # which is what the defects make of it
