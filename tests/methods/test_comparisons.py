"""The methods that others are compared with: trained, resumed, synthesized, transferred, by their commands."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import Run
from data_helpers import COUNTS, native
from PIL import Image
from safetensors.torch import load_file
from small_networks import SMALL, stopped_at, train_small

from defectaug.config.resolve import resolve
from defectaug.methods.base import METHODS, MethodSpec, method_spec
from defectaug.methods.biggan.generator import settle

NOISE = {
    "image_size": 32, "generator_widths": [8, 16], "discriminator_widths": [8, 16],
    "style_dim": 8, "latent_dim": 8, "mapping_width": 8,
}  # fmt: skip
SETTINGS: dict[str, dict[str, Any]] = {
    "biggan": {"network": NOISE | {"latent_dim": 4}, "biggan": {"embedding": 4}},
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
    "stargan2": SMALL,
    "stylegan2": {"network": NOISE, "stylegan2": {"augment": "ada", "ada_images": 100, "path_every": 2}},
}  # fmt: skip
"""What makes each recipe small."""
pytestmark = pytest.mark.xdist_group("comparisons")
RUN = {"batch_size": 4, "warmup": 1, "save_every": 10, "sample_every": 10, "validate_every": 10}


@pytest.fixture(autouse=True, scope="module")
def settled_quickly() -> Iterator[None]:
    """BigGAN's standing statistics of few images."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("defectaug.methods.biggan.method.settle", partial(settle, passes=2, batch=8))
        yield


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


def spec_of(trained: Path) -> MethodSpec:
    """Of the method that a model folder is of."""
    return method_spec(resolve(trained.name).method)


def test_every_method_is_tried_here_but_our_own() -> None:
    """Those have tests of their own (`tests/training`, `tests/synthesis`); another one must not be left out."""
    assert {resolve(name).method for name in SETTINGS} == set(METHODS) - {"residual", "layered"}


def test_a_resumed_run_equals_an_unbroken_one_bit_for_bit(trained: Path, root: Path, tmp_path: Path) -> None:
    parts = tmp_path / "parts"
    with pytest.raises(KeyboardInterrupt):
        train(trained.name, root, parts, progress=stopped_at(2))
    train(trained.name, root, parts, resume=True)
    for file in ("model.safetensors", "state/state.safetensors"):
        whole, resumed = load_file(trained / file), load_file(parts / file)
        assert whole.keys() == resumed.keys()
        assert all(torch.equal(whole[name], resumed[name]) for name in whole), file


def test_synthesis(trained: Path, root: Path, tmp_path: Path, run: Run) -> None:
    out = tmp_path / "out"
    asked = ("synthesize", "--model", trained, "--product", "A", "--defect", "scratch", "--n", 3, "--out", out)
    paints = spec_of(trained).sources
    code, _, error = run(*asked, "--masks")
    assert code == (0 if paints else 2), error
    if not paints:
        why = f"--masks: model {trained.name} makes whole images and knows no masks of them; leave it out\n"
        assert error.endswith(why)
        assert not out.exists() and run(*asked)[0] == 0
    lines = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
    assert len(lines) == 3 and {(line["product"], line["defect"], line["guide"]) for line in lines} == {
        ("A", "scratch", "latent")
    }
    assert all(Image.open(out / line["file"]).size == (24, 20) for line in lines)
    assert {line["source"] is not None for line in lines} == {paints}


def test_transfer_works_or_is_refused_in_one_line(trained: Path, root: Path, tmp_path: Path, run: Run) -> None:
    source, reference = root / "A/normal/000.png", root / "A/scratch/000.png"
    out = tmp_path / "o.png"
    code, _, error = run("transfer", source, reference, "--model", trained, "--out", out)
    if spec_of(trained).references:
        assert code == 0, error
        assert Image.open(out).size == (24, 20)
    else:
        assert (code, error.count("\n"), out.exists()) == (2, 1, False) and f"model {trained.name} " in error


def test_other_styles_are_made_or_refused_in_one_line(trained: Path, root: Path, tmp_path: Path, run: Run) -> None:
    source, reference = root / "A/normal/000.png", root / "A/scratch"
    command = ("transfer", source, reference, "--model", trained, "--n-styles", 2, "--out", tmp_path / "made")
    code, _, error = run(*command)
    if spec_of(trained).styles and spec_of(trained).references:
        assert code == 0 and len(list((tmp_path / "made").glob("*.png"))) == 6, error
    else:
        assert (code, error.count("\n"), (tmp_path / "made").exists()) == (2, 1, False), error
