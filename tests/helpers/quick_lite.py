"""The frozen network of classifiers built once for all tests, where the package builds one for each classifier."""

from __future__ import annotations

from dataclasses import replace

import torch

from defectaug.nn import backbones
from defectaug.nn.backbones import LITE, Backbone, FrozenLite, InitialWeights, Standardised, build_backbone, frozen_lite


def build_once() -> None:
    """From now on in this process; building takes no random numbers then, so that a seed means the same each time."""
    lite, *others = backbones.FAMILIES

    def build(name: str, weights: InitialWeights) -> Backbone:
        if weights.file is None:
            return lite.build(name, weights)
        with torch.random.fork_rng():
            network = frozen_lite(weights.file)
        return Backbone(Standardised(FrozenLite.features), FrozenLite.features, network)

    backbones.FAMILIES = (replace(lite, build=build), *others)


def build_it_now() -> None:
    """As :func:`build_once`, before any child process begins."""
    build_once()
    build_backbone(LITE, backbones.find_weights(LITE, "auto", print))
