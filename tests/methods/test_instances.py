"""What the defects of a class share, and normal images lack."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_networks import images

from defectaug.methods.features import ImageNetFeatures, find_weights, load_weights
from defectaug.methods.instances import INSTANCES, Bag, Instances, held_out_scores, likeliest, separator, spread
from defectaug.methods.prior import FeaturePrior

SIZE, IMAGES = 64, 8
DIRT, DEFECT = 5.0, 3.0


def bags() -> tuple[list[torch.Tensor], list[torch.Tensor], torch.Tensor]:
    """Defective images in which dirt (feature 0), which normal ones have, too, takes more places than defects (1)."""
    generator = torch.Generator().manual_seed(0)
    inside, heats = [], []
    for _ in range(IMAGES):
        places = 0.3 * torch.randn(20, 6, generator=generator)
        places[:8, 0] += DIRT
        places[8:12, 1] += DEFECT
        inside.append(places)
        heats.append(torch.cat([torch.full((12,), 2.0), torch.full((8,), 1.2)]))
    normal = 0.3 * torch.randn(400, 6, generator=generator)
    normal[:60, 0] += DIRT
    return inside, heats, normal


def test_what_normal_images_have_too_is_told_from_what_the_defective_ones_share() -> None:
    inside, heats, normal = bags()
    weights = separator(inside, heats, normal)
    scores = torch.stack([one @ weights[:-1] + weights[-1] for one in inside])
    usual = normal @ weights[:-1] + weights[-1]
    assert abs(float(usual.median())) < 1e-3 and abs(float(torch.quantile(usual, 0.99)) - 1) < 1e-3
    assert float(scores[:, 8:12].mean()) > 1.1 > 1 > float(scores[:, :8].mean())


def test_every_image_weighs_alike_however_few_of_its_places_are_likely() -> None:
    assert likeliest(torch.tensor([0.1, 4.0, 0.2])).tolist() == [1] * INSTANCES
    assert sorted(set(likeliest(torch.arange(100) / 100.0 + 3).tolist())) == list(range(92, 100))
    assert spread(torch.tensor([0.1, 2.0, 1.5, 0.9])).tolist() == [1, 2]


def test_images_that_share_what_others_lack_score_higher_though_nothing_stands_out() -> None:
    def some(seed: int, mark: float) -> list[Bag]:
        found = torch.randn(12, 30, 16, generator=torch.Generator().manual_seed(seed))
        found[:, :4, 0] += mark
        return [(one, torch.ones(30)) for one in found]

    marked, normal = held_out_scores(some(0, 6), some(1, 0))
    assert len(marked) == len(normal) == 12 and min(marked) > max(normal)
    same, normal = held_out_scores(some(0, 0), some(1, 0))
    assert 0.25 < np.mean([one > other for one in same for other in normal]) < 0.75
    assert len(held_out_scores(some(0, 0)[:2], some(1, 0)[:3])[0]) == 2


def test_the_evidence_of_a_class_is_lower_where_normal_images_are_as_odd() -> None:
    """Bright spots on all images, of which the prior has seen none; dark bars on the defective ones alone."""
    weights = find_weights()
    if weights is None:
        pytest.skip("the ImageNet weights are not installed")
    features, prior = ImageNetFeatures(), FeaturePrior(1)
    load_weights(features, weights)
    zeros = torch.zeros(IMAGES, dtype=torch.long)
    plain = 0.05 * images(IMAGES, 3, SIZE, 3)
    prior.observe(features(plain), zeros, torch.arange(IMAGES), torch.Generator().manual_seed(0))
    prior.calibrate()
    dirty = plain.clone()
    dirty[:, :, 40:52, 8:20] = 0.9
    defective = dirty.clone()
    defective[:, :, 8:20, 30:60] = -0.9
    instances = Instances(prior)
    for label, some in ((0, dirty), (1, defective)):
        for one in some.split(1):
            heat = instances.observe(features(one), label)
    instances.learn()
    kept = instances.evidence(features(defective[-1:]), 1) / heat
    assert float(kept[11:13, 2:5].mean()) < 0.7 < 0.9 < float(kept[2:5, 8:14].mean())
