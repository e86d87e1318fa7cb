"""Cut and paste: nothing but what was cut out, and no game."""

from __future__ import annotations

from dataclasses import replace

import torch
from small_networks import CPU, images, training_batch

from defectaug.config.resolve import resolve
from defectaug.methods.cutpaste.model import CutPaste, Paste
from defectaug.methods.cutpaste.spec import CutPasteMethod
from defectaug.methods.residual.defect import Defect
from defectaug.methods.residual.model import CONTEXT

SIZE = 32
NOISE = torch.zeros(2, 1, SIZE, SIZE)


def a_square(tone: float) -> Defect:
    """A square without structure, faint in contrast, in one tone."""
    mask = torch.zeros(2, 1, SIZE, SIZE)
    mask[:, :, 8:20, 8:20] = 1
    style, context = torch.tensor([[tone, -9.0]] * 2), torch.zeros(2, 1, CONTEXT, CONTEXT)
    return Defect(mask, torch.zeros(2, 1, SIZE, SIZE), style, context, torch.tensor([1, 2]))


def test_the_tone_is_fitted_to_the_source() -> None:
    clean = torch.tensor([0.6, -0.5])[:, None, None, None].expand(2, 1, SIZE, SIZE)
    made = Paste()(clean, clean, a_square(-0.5), NOISE)
    torch.testing.assert_close(made.image[:, 0, 12, 12], torch.tensor([0.6 - 0.8, -0.5 - 0.25]))  # half of the light
    assert torch.equal(made.image[:, :, 24:], clean[:, :, 24:]) and torch.equal(made.image, made.draft)


def test_an_empty_mask_leaves_the_source_and_noise_does_nothing() -> None:
    clean, defect = images(2, 0, SIZE) * 0.5, a_square(0.4)
    assert torch.equal(Paste()(clean, clean, replace(defect, mask=torch.zeros_like(defect.mask)), NOISE).image, clean)
    assert torch.equal(Paste()(clean, clean, defect, NOISE).image, Paste()(clean, clean, defect, NOISE + 1).image)


def test_there_is_no_game() -> None:
    model = CutPaste(SIZE, 1, 3, 2, 8)
    assert not any(name.startswith(("painter", "discriminator")) for name in model.state_dict())
    config = resolve("cutpaste", flags={"network": {"image_size": SIZE, "memory": 8}, "run": {"warmup": 1}})
    method = CutPasteMethod(config, 3, 2, CPU, seed=0)
    method.step(training_batch(), 0, 0.0)
    method.begin_validation()
    values = method.step(training_batch(), 1, 1.0)
    assert set(values) == {"area", "pasted", "normal", "weak", "fill"}
