"""The methods that others are compared with: trained, resumed, synthesized, transferred, by their commands."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import Run
from data_helpers import COUNTS, native
from PIL import Image
from safetensors.torch import load_file
from small_networks import train_small

SETTINGS: dict[str, dict[str, Any]] = {
    "cutpaste": {"network": {"image_size": 32, "memory": 12}},
    "defectgan": {
        "network": {
            "image_size": 32, "encoder_widths": [8, 16], "generator_widths": [8, 16],
            "discriminator_widths": [8, 16, 16], "defect_width": 4, "generator_blocks": 1,
        }
    },
    "mokady": {
        "network": {
            "image_size": 32, "encoder_widths": [8, 8, 16], "generator_widths": [8, 8, 16], "code_channels": 4,
            "mapping_width": 16, "memory": 8,
        }
    },
}  # fmt: skip
"""What makes each recipe small."""
WITHOUT_REFERENCES = ("defectgan",)
WITHOUT_STYLES = ("defectgan", "mokady")
RUN = {"batch_size": 4, "warmup": 1, "save_every": 10, "sample_every": 10, "validate_every": 10}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return native(tmp_path_factory.mktemp("data") / "parts", COUNTS)


@pytest.fixture(scope="module", params=list(SETTINGS))
def trained(request: pytest.FixtureRequest, root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder of each recipe, after four steps."""
    return train(request.param, root, tmp_path_factory.mktemp(request.param) / request.param)


def train(recipe: str, root: Path, out: Path, **options: Any) -> Path:
    train_small(root, out, SETTINGS[recipe] | {"run": RUN}, preset=recipe, steps=4, **options)
    return out


def stop_at(step: int) -> Callable[[int, int], None]:
    """A progress bar that asks this process to end."""

    def progress(done: int, total: int) -> None:
        if done == step:
            os.kill(os.getpid(), signal.SIGTERM)

    return progress


def test_a_resumed_run_equals_an_unbroken_one_bit_for_bit(trained: Path, root: Path, tmp_path: Path) -> None:
    parts = tmp_path / "parts"
    with pytest.raises(KeyboardInterrupt):
        train(trained.name, root, parts, progress=stop_at(2))
    train(trained.name, root, parts, resume=True)
    for file in ("model.safetensors", "state/state.safetensors"):
        whole, resumed = load_file(trained / file), load_file(parts / file)
        assert whole.keys() == resumed.keys()
        assert all(torch.equal(whole[name], resumed[name]) for name in whole), file


def test_synthesis(trained: Path, root: Path, tmp_path: Path, run: Run) -> None:
    out = tmp_path / "out"
    asked = ("--product", "A", "--defect", "scratch", "--n", 3)
    code, _, error = run("synthesize", "--model", trained, *asked, "--masks", "--out", out)
    assert code == 0, error
    lines = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
    assert len(lines) == 3 and {(line["product"], line["defect"], line["guide"]) for line in lines} == {
        ("A", "scratch", "latent")
    }
    assert all(Image.open(out / line["file"]).size == (24, 20) for line in lines)


def test_transfer_works_or_is_refused_in_one_line(trained: Path, root: Path, tmp_path: Path, run: Run) -> None:
    source, reference = root / "A/normal/000.png", root / "A/scratch/000.png"
    out = tmp_path / "o.png"
    code, _, error = run("transfer", source, reference, "--model", trained, "--out", out)
    if trained.name in WITHOUT_REFERENCES:
        assert (code, error.count("\n"), out.exists()) == (2, 1, False) and "from latents alone" in error
    else:
        assert code == 0, error
        assert Image.open(out).size == (24, 20)


def test_other_styles_are_made_or_refused_in_one_line(trained: Path, root: Path, tmp_path: Path, run: Run) -> None:
    source, reference = root / "A/normal/000.png", root / "A/scratch"
    command = ("transfer", source, reference, "--model", trained, "--n-styles", 2, "--out", tmp_path / "made")
    code, _, error = run(*command)
    if trained.name in WITHOUT_STYLES:
        assert (code, error.count("\n"), (tmp_path / "made").exists()) == (2, 1, False), error
    else:
        assert code == 0 and len(list((tmp_path / "made").glob("*.png"))) == 6, error
