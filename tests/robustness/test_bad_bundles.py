"""Bundles from strangers: they can at worst be refused."""

from __future__ import annotations

import json
import resource
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file
from small_networks import small_config, small_method

from defectaug.bundle import TrainedOn, load_model, read_weights, write_config, write_weights
from defectaug.errors import BundleError

Change = Callable[[dict[str, Any]], object]
DATA = TrainedOn(("A",), ("normal", "scratch"), {}, "native")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes]:
    """A good bundle's two files."""
    folder = tmp_path_factory.mktemp("m")
    config = small_config()
    write_config(folder, config, DATA)
    write_weights(folder, small_method(config, 2, 1).weights())
    load_model(folder, "cpu")
    return (folder / "config.yaml").read_bytes(), (folder / "model.safetensors").read_bytes()


@pytest.fixture
def bundle(tmp_path: Path, made: tuple[bytes, bytes]) -> Path:
    (tmp_path / "config.yaml").write_bytes(made[0])
    (tmp_path / "model.safetensors").write_bytes(made[1])
    return tmp_path


def refused(folder: Path, said: str = "") -> None:
    with pytest.raises(BundleError, match=said) as error:
        load_model(folder, "cpu")
    assert "\n" not in str(error.value) and len(str(error.value)) < 1500
    assert "config.yaml" in str(error.value) or "model.safetensors" in str(error.value)


def edit(folder: Path, change: Change) -> None:
    path = folder / "config.yaml"
    content = yaml.safe_load(path.read_text())
    change(content)
    path.write_text(yaml.safe_dump(content))


@pytest.mark.parametrize("seed", range(4))
def test_weights_with_any_bytes_changed(bundle: Path, made: tuple[bytes, bytes], seed: int) -> None:
    """Refused, or read as numbers: never anything else."""
    rng = np.random.default_rng(seed)
    header = struct.unpack("<Q", made[1][:8])[0] + 8
    for number in range(50):
        content = bytearray(made[1])
        for _ in range(rng.integers(1, 4)):
            at = int(rng.integers(header if number % 2 else len(content)))
            content[at : at + int(rng.integers(0, 6))] = rng.bytes(int(rng.integers(0, 6)))
        if number % 5 == 0:
            del content[int(rng.integers(len(content))) :]
        (bundle / "model.safetensors").write_bytes(content)
        try:
            load_model(bundle, "cpu")
        except BundleError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda w: w.popitem(), "missing"),
        (lambda w: w.update(surprise=torch.zeros(2)), "'surprise' is .* unknown here"),
        (lambda w: w.update({"../../x": torch.zeros(2)}), "unknown here"),
        (lambda w: w.update({next(iter(w)): torch.zeros(0)}), "does not fit"),
        (lambda w: w.update({next(iter(w)): torch.zeros(3, 3, 3, 3, 3)}), "does not fit"),
        (lambda w: w.clear(), "does not fit"),
    ],
)
def test_other_tensors(bundle: Path, change: Change, said: str) -> None:
    weights, _ = read_weights(bundle)
    change(weights)
    write_weights(bundle, weights)
    refused(bundle, said)


@pytest.mark.parametrize("kind", [torch.int32, torch.uint8, torch.bool, torch.float8_e4m3fn, torch.complex64])
def test_tensors_of_other_kinds(bundle: Path, kind: torch.dtype) -> None:
    weights, _ = read_weights(bundle)
    save_file({name: value.to(kind) for name, value in weights.items()}, bundle / "model.safetensors")
    refused(bundle, "no kind of weights|damaged")


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_other_precision_load(bundle: Path, kind: torch.dtype) -> None:
    weights, _ = read_weights(bundle)
    plain = {name: value.to(kind) if value.is_floating_point() else value for name, value in weights.items()}
    save_file(plain, bundle / "model.safetensors")
    assert load_model(bundle, "cpu").info.products == ("A",)


def test_a_pickle_is_not_opened(bundle: Path) -> None:
    torch.save({"a": torch.zeros(1)}, bundle / "model.safetensors")
    refused(bundle, "damaged")


def test_a_header_that_claims_the_world(bundle: Path) -> None:
    for header in ({"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}, {"a": 5}, [], {"a": {}}):
        text = json.dumps(header).encode()
        (bundle / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text)
        refused(bundle)
    (bundle / "model.safetensors").write_bytes(struct.pack("<Q", 2**63) + b"{}")
    refused(bundle, "damaged")


@pytest.mark.parametrize(
    "change",
    [
        lambda n: n.update(encoder_widths=[16_000, 16_000], generator_widths=[16_000, 16_000]),
        lambda n: n.update(
            encoder_blocks=16, generator_blocks=16, encoder_widths=[9000] * 2, generator_widths=[9000] * 2
        ),
        lambda n: n.update(mapping="network", mapping_layers=64, mapping_width=16_000),
        lambda n: n.update(memory=16_000, image_size=1024),
        lambda n: n.update(encoder_widths=[10**12] * 2),
        lambda n: n.update(encoder_widths=[8] * 10**4),
        lambda n: n.update(encoder_blocks=10**9),
        lambda n: n.update(fold=10**9),
        lambda n: n.update(image_size=2**40),
        lambda n: n.update(style_dim=10**400),
    ],
)
def test_networks_that_no_memory_holds(bundle: Path, change: Change) -> None:
    edit(bundle, lambda content: change(content["settings"]["network"]))
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    refused(bundle)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 1024
    assert time.process_time() - start < 20


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.update(products=[f"p{n}" for n in range(300)], defects=["normal", *(f"d{n}" for n in range(300))]),
        lambda d: d.update(products=["A", "A"]),
        lambda d: d.update(products=[["A"]]),
        lambda d: d.update(products=[None]),
        lambda d: d.update(products={"A": 1}, defects={"normal": 1, 5: 2}),
        lambda d: d.update(white=0),
        lambda d: d.update(white=-255),
        lambda d: d.update(white=float("inf")),
        lambda d: d.update(counts={"a": float("inf")}),
        lambda d: d.update(root="a\0b"),
        lambda d: d.update(root=["x"]),
        lambda d: d.update(normal={}),
        lambda d: d.update(defects=["normal", "/etc/x"]),
    ],
)
def test_what_it_was_trained_on(bundle: Path, change: Change) -> None:
    edit(bundle, lambda content: change(content["data"]))
    refused(bundle, r"config\.yaml")


def test_a_newer_bundle_names_the_version_that_reads_it(bundle: Path) -> None:
    edit(bundle, lambda content: content.update(format=2, defectaug="3.1.4"))
    refused(bundle, r"format 2, written by defectaug 3\.1\.4; this is defectaug .* reads format 1")
