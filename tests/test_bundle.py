"""Model folders: written whole, read back bit for bit, refused when anything is wrong."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from small_networks import images, small_config, small_method
from torch import Tensor

from defectaug.bundle import (
    TrainedOn,
    find_bundle,
    load_model,
    read_config,
    read_weights,
    write_config,
    write_weights,
)
from defectaug.data.framing import Framing
from defectaug.errors import BundleError, OutputError

Change = Callable[[dict[str, Any]], object]
DATA = TrainedOn(
    products=("Ä teil", "B"),
    defects=("normal", "scratch", "spot"),
    counts={"Ä teil/scratch": 3, "B/spot": 0},
    layout="native",
    white=4095,
    root="../data",
)


def write_bundle(folder: Path, recipe: str = "paper") -> dict[str, Tensor]:
    """A bundle of fresh networks; returns their weights."""
    config = small_config(recipe)
    weights = small_method(config).weights()
    write_config(folder, config, DATA)
    write_weights(folder, weights)
    return weights


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    write_bundle(tmp_path / "m")
    return tmp_path / "m"


def edit(folder: Path, change: Change) -> None:
    path = folder / "config.yaml"
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")


# Round trip


@pytest.mark.parametrize("recipe", ["paper", "ablation_a", "mokady"])  # the last with whole numbers, too
def test_round_trip_bit_for_bit(tmp_path: Path, recipe: str) -> None:
    written = write_bundle(tmp_path / "m", recipe)
    assert read_config(tmp_path / "m") == (small_config(recipe), DATA)
    read, digest = read_weights(tmp_path / "m")
    assert read.keys() == written.keys()
    assert all(torch.equal(read[name], written[name]) for name in written)
    model = load_model(tmp_path / "m", "cpu")
    loaded = model.networks.state_dict()  # type: ignore[attr-defined]
    assert loaded.keys() == written.keys()
    assert all(torch.equal(loaded[name], written[name]) for name in written)
    info = model.info
    assert (info.products, info.defects, info.normal) == (DATA.products, DATA.defects, "normal")
    assert (info.name, info.white, info.weights_sha256) == ("m", 4095, digest)
    assert info.data_root == str(tmp_path / "data")  # found from the bundle on


def test_how_products_are_framed_is_kept_and_was_the_same_for_all(tmp_path: Path) -> None:
    framings = {"Ä teil": Framing(64, (300, 200)), "B": Framing(None, (90, 80))}
    config = small_config()
    write_config(tmp_path / "new", config, replace(DATA, framings=framings))
    assert read_config(tmp_path / "new")[1].framings == framings
    for name, side in (("whole", None), ("crop", config.network.image_size)):
        old = tmp_path / name
        write_bundle(old)
        edit(old, lambda c, name=name: c["settings"]["data"].update(framing=name))
        assert {load_model(old, "cpu").info.window(product, (50, 50)) for product in DATA.products} == {side}


def test_loaded_models_paint_the_same(bundle: Path) -> None:
    first, second = (load_model(bundle, "cpu") for _ in range(2))
    defect = torch.tensor([1, 2])
    painted = [m.paint(images(2), m.latent_codes(defect, [4, 5])).image for m in (first, second)]
    assert torch.equal(*painted)
    codes = first.reference_codes(images(2), defect)
    other = first.with_style(codes, [4, 5])
    assert torch.equal(other.c, codes.c) and not torch.equal(other.s, codes.s)


def test_a_decoded_model_adds_what_the_defect_changes_alone(tmp_path: Path) -> None:
    write_bundle(tmp_path / "m", "paper")
    model = load_model(tmp_path / "m", "cpu")
    normal = model.latent_codes(torch.tensor([0, 0]), [1, 2])
    assert model.paint(images(2), normal).delta.eq(0).all()
    assert model.restore(images(2)).image.shape == (2, 1, 32, 32)


def test_nothing_but_the_two_files_is_left(bundle: Path) -> None:
    assert sorted(path.name for path in bundle.iterdir()) == ["config.yaml", "model.safetensors"]


# Refusals


@pytest.mark.parametrize("kept", [0, 4, 1000, -1])
def test_truncated_weights_are_refused(bundle: Path, kept: int) -> None:
    file = bundle / "model.safetensors"
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(BundleError, match=r"model\.safetensors: cut short or damaged"):
        load_model(bundle, "cpu")


def test_missing_weights_are_refused(bundle: Path) -> None:
    (bundle / "model.safetensors").unlink()
    with pytest.raises(BundleError, match=r"missing; copy config\.yaml and model\.safetensors together"):
        load_model(bundle, "cpu")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(bundle: Path, value: float) -> None:
    weights, _ = read_weights(bundle)
    name = next(name for name, weight in weights.items() if weight.is_floating_point())
    weights[name].view(-1)[0] = value
    write_weights(bundle, weights)
    with pytest.raises(BundleError, match=f"'{name}' holds values that are not finite"):
        load_model(bundle, "cpu")


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c["settings"]["network"].update(style_dim=12),
        lambda c: c["settings"].pop("method") and c["settings"]["network"].update(generator="layered"),
        lambda c: c["data"].update(defects=["normal", "scratch"]),
        lambda c: c["data"].update(products=["A"]),
    ],
)
def test_weights_of_other_shapes_are_refused(bundle: Path, change: Change) -> None:
    edit(bundle, change)
    with pytest.raises(BundleError, match=r"does not fit config\.yaml") as error:
        load_model(bundle, "cpu")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_other_versions_are_refused(bundle: Path, version: object) -> None:
    edit(bundle, lambda c: c.update(format=version, defectaug="9.9"))
    with pytest.raises(BundleError, match=r"written by defectaug 9\.9; this is defectaug .* reads format 1"):
        read_config(bundle)


@pytest.mark.parametrize("name", ["a/b", "../up", "..", ".", "", "a\\b", "a\0b"])
@pytest.mark.parametrize("kind", ["products", "defects"])
def test_class_names_that_lead_elsewhere_are_refused(bundle: Path, kind: str, name: str) -> None:
    edit(bundle, lambda c: c["data"].update({kind: [*c["data"][kind], name]}))
    with pytest.raises(BundleError, match="cannot be a folder name"):
        read_config(bundle)


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c.pop("settings"),
        lambda c: c.pop("data"),
        lambda c: c["data"].pop("products"),
        lambda c: c["data"].update(products=[]),
        lambda c: c["data"].update(products=None),
        lambda c: c["data"].update(defects=["normal"]),
        lambda c: c["data"].update(counts=[1]),
        lambda c: c["data"].update(white="x"),
        lambda c: c["data"].update(framings=[1]),
        lambda c: c["data"].update(framings={"B": {"window": None}}),
        lambda c: c["data"].update(framings={"B": {"window": 0}, "Ä teil": {"window": None}}),
        lambda c: c["settings"]["network"].update(image_size=33),
        lambda c: c["settings"]["network"].update(surprise=1),
    ],
)
def test_damaged_settings_are_refused(bundle: Path, change: Change) -> None:
    edit(bundle, change)
    with pytest.raises(BundleError, match=r"config\.yaml: damaged, or not a bundle"):
        read_config(bundle)


def test_settings_that_are_no_yaml_are_refused(bundle: Path) -> None:
    (bundle / "config.yaml").write_bytes(b"\x00\xff{")
    with pytest.raises(BundleError, match=r"config\.yaml"):
        read_config(bundle)


# Writing


def test_what_cannot_be_written_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    (tmp_path / "m" / "model.safetensors").mkdir(parents=True)
    with pytest.raises(OutputError, match=r"config\.yaml: cannot be written"):
        write_config(tmp_path / "file", small_config(), DATA)
    with pytest.raises(OutputError, match=r"model\.safetensors: cannot be written"):
        write_weights(tmp_path / "m", {"a": torch.zeros(1)})
    assert (tmp_path / "file").read_text() == "kept"
    assert [path.name for path in (tmp_path / "m").iterdir()] == ["model.safetensors"]


def test_a_failed_write_keeps_the_weights_before(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (bundle / "model.safetensors").read_bytes()

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="no space left"):
        write_weights(bundle, {"a": torch.zeros(1)})
    assert (bundle / "model.safetensors").read_bytes() == before


# Finding


def store_of(tmp_path: Path, **times: float) -> Path:
    """Empty bundles with the times their weights were written."""
    store = tmp_path / "models"
    store.mkdir()
    for name, time in times.items():
        (store / name).mkdir()
        for file in ("config.yaml", "model.safetensors"):
            (store / name / file).write_text("")
            os.utime(store / name / file, (time, time))
    return store


def test_the_only_bundle_is_found(tmp_path: Path) -> None:
    store = store_of(tmp_path, one=5)
    (store / "unfinished").mkdir()
    (store / "unfinished" / "config.yaml").write_text("")
    (store / "a file").write_text("")
    assert find_bundle(store=store) == store / "one"


def test_the_newest_bundle_is_found(tmp_path: Path) -> None:
    store = store_of(tmp_path, old=1000, new=2000, older=500)
    assert find_bundle(store=store) == store / "new"


def test_bundles_of_equal_standing_are_listed(tmp_path: Path) -> None:
    store = store_of(tmp_path, b=1000.2, a=1000.0, old=10)
    with pytest.raises(BundleError, match=r"several models of equal standing: a, b; name one with --model"):
        find_bundle(store=store)


def test_bundles_by_path_and_by_name(tmp_path: Path) -> None:
    store = store_of(tmp_path, a=1, b=2)
    assert find_bundle(store / "a", store) == store / "a"
    assert find_bundle("a", store) == store / "a"
    with pytest.raises(BundleError, match=r"c: no bundle there .*there are: a, b"):
        find_bundle("c", store)


def test_no_bundle_at_all(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no trained model there; run 'defectaug train DATA'"):
        find_bundle(store=tmp_path / "models")
    with pytest.raises(BundleError, match="no bundle there"):
        read_config(tmp_path)
