"""Cut and paste is trained as the residual method is; how it pastes is tested beside that."""

from __future__ import annotations

import torch
from small_networks import CPU, training_batch

from defectaug.config.resolve import resolve
from defectaug.methods.cutpaste.model import CutPaste, PlainPasting
from defectaug.methods.cutpaste.spec import CutPasteMethod
from defectaug.methods.residual.method import ResidualMethod

SIZE = 32
FLAGS = {"network": {"image_size": SIZE, "memory": 8}, "run": {"warmup": 1}}


def test_cut_and_paste_learns_to_find_and_nothing_else() -> None:
    config = resolve("cutpaste", flags=FLAGS)
    method = CutPasteMethod(config, 3, 2, CPU, seed=0)
    method.step(training_batch(), 0, 0.0)
    method.begin_validation()
    assert isinstance(method.average, CutPaste) and method.average.pasting is PlainPasting
    values = method.step(training_batch(), 1, 1.0)
    assert set(values) == {"area", "pasted", "normal", "weak", "fill"}


def test_what_it_learns_is_what_small_learns() -> None:
    weights = []
    for preset, kind in (("cutpaste", CutPasteMethod), ("small", ResidualMethod)):
        method = kind(resolve(preset, flags=FLAGS), 3, 2, CPU, seed=0)
        method.step(training_batch(), 0, 0.0)
        method.begin_validation()
        method.step(training_batch(), 1, 1.0)
        weights.append(method.weights())
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
