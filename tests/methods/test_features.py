"""Frozen features with their normalisations in their convolutions."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import nn

from defectaug.methods.features import ImageNetFeatures


def test_folded_features_are_the_same_to_rounding() -> None:
    torch.manual_seed(0)
    features = ImageNetFeatures()
    norms = [module for module in features.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:  # fresh ones would change nothing
        for values in (norm.weight.data, norm.running_var):
            values.uniform_(0.5, 2)
        for values in (norm.bias.data, norm.running_mean):
            values.normal_(0, 0.5)
    folded = deepcopy(features)
    folded.fold()
    assert len(norms) > 20 and not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    x = torch.rand(2, 3, 64, 64) * 2 - 1
    for before, after in zip(features(x), folded(x), strict=True):
        torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-3 * float(before.abs().max()))
