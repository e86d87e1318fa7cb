"""Defects and trained networks of the residual method, small, for its tests."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from functools import cache

import torch
from fake_model import info
from small_networks import CPU, images, training_batch
from torch import Tensor

from defectaug.config.resolve import resolve
from defectaug.data.batches import Batch
from defectaug.methods.residual.defect import Defect, decompose
from defectaug.methods.residual.inference import InferenceModel
from defectaug.methods.residual.method import ResidualMethod
from defectaug.methods.residual.model import CONTEXT
from defectaug.methods.residual.spec import SPEC

SIZE = 64


def square(top: int = 20, left: int = 24, side: int = 12, count: int = 2) -> Tensor:
    mask = torch.zeros(count, 1, SIZE, SIZE)
    mask[:, :, top : top + side, left : left + side] = 1
    return mask


def a_defect(channels: int = 3, count: int = 2) -> Defect:
    x, mask = images(count, size=SIZE, channels=channels) * 0.5, square(count=count)
    structure, style = decompose(x, torch.zeros_like(x), mask)
    context = torch.zeros(count, channels, CONTEXT, CONTEXT)
    edges = torch.zeros(count, 4, dtype=torch.bool)
    return Defect(mask, structure, style, context, torch.ones(count, dtype=torch.long), edges)


def small(channels: int = 1, size: int = SIZE, mapping: str = "memory") -> ResidualMethod:
    network = {"image_size": size, "memory": 8, "channels": channels, "mapping": mapping}
    config = resolve("tiny", flags={"network": network, "run": {"warmup": 2}})
    return ResidualMethod(config, 3, 2, CPU, seed=0)


def batch(channels: int = 1, size: int = SIZE) -> Batch:
    made = training_batch()
    normal = 0.1 * images(12, 1, size, channels)
    dark = 0.8 * square(count=6)[..., 16 : 16 + size, 16 : 16 + size] if size < SIZE else 0.8 * square(count=6)
    return replace(made, image=normal[:6], reference=(normal[6:] - dark).clamp(-1, 1))


def trained(channels: int = 3, mapping: str = "memory") -> ResidualMethod:
    """A method that has read some defects; each caller has its own."""
    return deepcopy(_trained(channels, mapping))


@cache
def _trained(channels: int, mapping: str) -> ResidualMethod:
    method = small(channels, mapping=mapping)
    for step in range(6):
        method.step(batch(channels), step, 0.35)
        if step == 1:
            method.begin_validation()
    for bank in (method.model.bank, method.average.bank):
        defect = replace(a_defect(channels, 4), label=torch.tensor([1, 2, 1, 2]))
        bank.remember(defect, torch.tensor([0, 0, 1, 1]), torch.arange(4))
    return method


def model_of(method: ResidualMethod, channels: int = 3) -> InferenceModel:
    facts = info(image_size=SIZE, channels=channels)
    return SPEC.load(method.config, facts, method.weights(), CPU)  # type: ignore[return-value]
