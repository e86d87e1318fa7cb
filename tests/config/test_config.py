"""Settings: who beats whom, and what is refused."""

from __future__ import annotations

import dataclasses
import typing
from pathlib import Path
from typing import Any

import pytest
import yaml

from defectaug.config.resolve import from_mapping, recipe_names, resolve
from defectaug.config.schema import Config, Range, check
from defectaug.errors import ConfigError


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_recipe_then_file_then_flags(tmp_path: Path) -> None:
    assert resolve("tiny").network.image_size == 64
    assert resolve("tiny").optimizer == resolve("small").optimizer  # its base
    file = write(tmp_path / "c.yaml", "network: {image_size: 96, code_channels: 8}\nrun: {steps: 10}\n")
    config = resolve("tiny", file, {"network": {"image_size": None}, "run": {"steps": 20, "seed": None}})
    assert (config.network.image_size, config.network.code_channels, config.run.steps) == (96, 8, 20)
    assert config.recipe == "tiny"
    untouched = dataclasses.replace(config.network, image_size=64, code_channels=16)
    assert untouched == resolve("tiny").network


@pytest.mark.parametrize("name", recipe_names())
def test_recipes_resolve_and_survive_yaml(name: str) -> None:
    config = resolve(name)
    again = from_mapping(Config, yaml.safe_load(yaml.safe_dump(dataclasses.asdict(config))), "here")
    assert again == config
    assert check(again) is again


def test_ablations_switch_one_part_after_the_other() -> None:
    nets = [resolve(f"ablation_{letter}").network for letter in "abcde"]
    assert [net.generator for net in nets] == ["styled", "joint", "joint", "separate", "separate"]
    assert [net.defect_classifier for net in nets] == [False, False, True, True, True]
    assert [net.anchor and net.noise for net in nets] == [False] * 4 + [True]
    assert nets[4] == resolve("paper").network


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("network: {image_sise: 64}", "'network.image_sise'; did you mean 'network.image_size'"),
        ("lost: {r1: 1}", "'lost'; did you mean 'loss'"),
        ("1: 2", "unknown setting '1'"),
        ("seed: 3", "unknown setting 'seed'; did you mean 'run.seed'?"),
        ("run: {cycle: 3}", "unknown setting 'run.cycle'; did you mean 'loss.cycle'?"),
        ("network: 3", "'network' must hold settings"),
        ("network:", "'network' must hold settings"),
        ("network: {image_size: big}", "'network.image_size' is 'big'; it must be of kind int"),
        ("network: {image_size: 64.0}", "of kind int"),
        ("network: {image_size: true}", "of kind int"),
        ("network: {anchor: 1}", "of kind bool"),
        ("network: {generator: layers}", "one of layered, separate, joint, styled"),
        ("network: {generator: [layered]}", "one of layered"),
        ("network: {encoder_widths: 16}", "must be a list"),
        ("network: {encoder_widths: [16, x]}", "of kind int"),
        ("loss: {r1: much}", "of kind float"),
        ("loss: {r1: true}", "of kind float"),
        ("data: {framing: null}", "one of auto, whole, crop"),
        ("- 1", "key: value"),
        ("a: [", "not valid YAML"),
        ("a: !!python/object/apply:os.getcwd []", "not valid YAML"),
    ],
)
def test_unknown_keys_and_wrong_kinds(tmp_path: Path, text: str, message: str) -> None:
    file = write(tmp_path / "c.yaml", text)
    with pytest.raises(ConfigError) as error:
        resolve("tiny", file)
    assert message in str(error.value)
    assert "c.yaml" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"network": {"image_size": 16}}, "--image-size 16: must be a multiple of 8 from 32"),
        ({"network": {"image_size": 100}}, "--image-size 100"),
        ({"network": {"image_size": 2048}}, "to 1024"),
        ({"network": {"discriminator_widths": [8, 16, 16, 16], "image_size": 32}}, "from 64 to 1024"),
        ({"network": {"encoder_widths": [16]}}, "of one length"),
        ({"network": {"encoder_widths": []}}, "network.encoder_widths"),
        ({"network": {"generator_widths": [16, 0]}}, "network.generator_widths is 0"),
        ({"network": {"channels": 2}}, "must be 1 or 3"),
        ({"network": {"memory": 10**9}}, "network.memory is 1000000000; it must be at most"),
        ({"network": {"generator": "joint", "code_channels": 64}}, "network.code_channels is 64"),
        ({"run": {"steps": 0}}, "run.steps is 0; it must be at least 1"),
        ({"run": {"batch_size": 1}}, "at least 2"),
        ({"run": {"r1_every": 0}}, "run.r1_every is 0"),
        ({"run": {"seed": -1}}, "run.seed is -1"),
        ({"optimizer": {"rate": -1e-3}}, "optimizer.rate is -0.001"),
        ({"optimizer": {"rate": float("nan")}}, "optimizer.rate is nan"),
        ({"optimizer": {"beta1": 1.0}}, "below 1"),
        ({"loss": {"cycle": float("inf")}}, "loss.cycle is inf"),
        ({"data": {"normal_target": 1.5}}, "below 1"),
    ],
)
def test_settings_that_cannot_work(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        resolve("defectgan", flags=settings)
    assert message in str(error.value)


def test_every_number_has_a_range() -> None:
    sections = [field.default_factory for field in dataclasses.fields(Config) if field.name not in ("recipe", "method")]
    for section in sections:
        hints = typing.get_type_hints(section, include_extras=True)
        numbers = {hint for hint in hints.values() if typing.get_origin(hint) is not typing.Literal} - {bool}
        assert all(isinstance(getattr(hint, "__metadata__", [None])[0], Range) for hint in numbers), section


def test_numbers_that_yaml_takes_for_text(tmp_path: Path) -> None:
    assert yaml.safe_load("1e-4") == "1e-4"
    file = write(tmp_path / "c.yaml", "optimizer: {rate: 1e-4, beta1: 0}")
    rates = resolve("tiny", file).optimizer
    assert (rates.rate, rates.beta1) == (1e-4, 0.0)
    assert isinstance(rates.beta1, float)


@pytest.mark.parametrize(
    "text",
    [
        "&a {network: *a}",
        "network: &a {image_size: *a}",
        "network: {encoder_widths: &a [*a]}",
        "network: {image_size: &a [*a]}",
        "a: " + "[" * 3000,
        "network: {image_size: " + "[" * 60 + "]" * 60 + "}",
    ],
)
def test_yaml_that_refers_to_itself_or_is_too_deep(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError) as error:
        resolve("tiny", write(tmp_path / "c.yaml", text))
    assert len(str(error.value)) < 1000


def test_yaml_that_grows_when_shown(tmp_path: Path) -> None:
    levels = [f"&a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 6)]
    text = f"network: {{image_size: [&a0 [1, 1, 1], {', '.join(levels)}]}}"
    with pytest.raises(ConfigError) as error:
        resolve("tiny", write(tmp_path / "c.yaml", text))
    assert len(str(error.value)) < 1000


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no\.yaml: cannot be read"):
        resolve("tiny", tmp_path / "no.yaml")
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(ConfigError, match=r"b\.yaml"):
        resolve("tiny", tmp_path / "b.yaml")
    assert resolve("tiny", write(tmp_path / "empty.yaml", "")) == resolve("tiny")


def test_unknown_recipe_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"--preset huge: .*paper, small, .*tiny"):
        resolve("huge")


def test_shapes_are_kept_of_layers_alone_and_a_network_needs_latents() -> None:
    with pytest.raises(ConfigError, match=r"network\.mapping is memory"):
        resolve("paper", flags={"network": {"mapping": "memory"}})
    with pytest.raises(ConfigError, match=r"network\.mapping is network; method 'cutpaste'"):
        resolve("cutpaste", flags={"network": {"mapping": "network"}})
    with pytest.raises(ConfigError, match="M would learn nothing"):
        resolve("paper", flags={"run": {"latent_share": 0}})
    assert resolve("tiny", flags={"run": {"latent_share": 0}}).network.mapping == "memory"
