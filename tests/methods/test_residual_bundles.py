"""The residual method's bundles on disk: those that ship, and those that were made when there was a game."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

from defectaug.bundle import load_model, read_weights, write_weights
from defectaug.methods.residual.bank import CUTOUTS

MODELS = Path(__file__).parents[2] / "models"


@pytest.mark.parametrize("name", ["demo", "more/colour"])
def test_models_that_ship_paste_what_they_draw(name: str) -> None:
    model = load_model(MODELS / name, "cpu")
    bank = model.networks.bank  # type: ignore[attr-defined]
    filled = (bank.keys >= 0).nonzero().flatten().tolist()
    assert filled and all(bank.cutout(slot) is not None for slot in filled)
    codes = model.latent_codes(torch.tensor([1, 2]), [1, 2], torch.tensor([0, 2]))
    size = model.info.image_size
    painted = model.paint(torch.zeros(2, model.info.channels, size, size), codes)
    assert all(change is not None for change in painted.changes())


def test_a_bundle_from_the_time_of_the_game_loads_and_paints(tmp_path: Path) -> None:
    settings = yaml.safe_load((MODELS / "demo/config.yaml").read_text(encoding="utf-8"))
    settings["settings"]["residual"] = {"adversarial": 0.3, "rate": 0.0005}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    weights, _ = read_weights(MODELS / "demo")
    old = {key: value for key, value in weights.items() if key.removeprefix("bank.") not in CUTOUTS}
    old |= {"painter.out.weight": torch.zeros(3), "discriminator.out.weight": torch.zeros(2),
            "bank.pictures": torch.zeros(7, dtype=torch.uint8), "bank.boxes": torch.zeros(96, 4)}  # fmt: skip
    write_weights(tmp_path, old)
    model = load_model(tmp_path, "cpu")
    codes = model.latent_codes(torch.tensor([1, 2]), [1, 2], torch.tensor([0, 2]))
    painted = model.paint(torch.zeros(2, 1, 128, 128), codes)
    assert float(painted.delta.abs().amax((1, 2, 3)).min()) > 0.05
    assert all(change is None for change in painted.changes())
