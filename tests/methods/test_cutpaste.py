"""Cut and paste is trained as the residual method is; how it pastes is tested beside that."""

from __future__ import annotations

from small_networks import CPU, training_batch

from defectaug.config.resolve import resolve
from defectaug.methods.cutpaste.model import CutPaste, PlainPasting
from defectaug.methods.cutpaste.spec import CutPasteMethod

SIZE = 32


def test_cut_and_paste_learns_to_find_and_nothing_else() -> None:
    config = resolve("cutpaste", flags={"network": {"image_size": SIZE, "memory": 8}, "run": {"warmup": 1}})
    method = CutPasteMethod(config, 3, 2, CPU, seed=0)
    method.step(training_batch(), 0, 0.0)
    method.begin_validation()
    assert isinstance(method.average, CutPaste) and method.average.pasting is PlainPasting
    values = method.step(training_batch(), 1, 1.0)
    assert set(values) == {"area", "pasted", "normal", "weak", "fill"}
