"""Methods by name, and settings that name none."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import asdict, replace

import pytest
import torch
from small_networks import CPU, small_config

from defectaug.config.resolve import config_from, recipe_names, resolve
from defectaug.config.schema import Config
from defectaug.errors import ConfigError
from defectaug.methods.base import METHODS, Method, MethodSpec, check_method, method_spec, trainer


@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_a_spec(name: str) -> None:
    assert isinstance(method_spec(name), MethodSpec)


def test_an_unknown_method_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"method is 'gan'; it must be one of (\w+, )*dtgan, layered"):
        check_method("gan")


@pytest.mark.parametrize("recipe", [name for name in recipe_names() if resolve(name).method == "dtgan"])
def test_settings_without_a_method_name_it_by_their_generator(recipe: str) -> None:
    settings = asdict(resolve(recipe))
    assert settings.pop("method") == "dtgan"
    assert config_from(settings, "a bundle").method == "dtgan"


@pytest.mark.parametrize(("method", "recipe"), [("dtgan", "small"), ("layered", "paper")])
def test_a_generator_of_another_method_is_refused(method: str, recipe: str) -> None:
    with pytest.raises(ConfigError, match=rf"network\.generator is \w+, which method '{method}' does not have"):
        resolve(recipe, flags={"method": method})


@pytest.mark.parametrize("recipe", ["mokady", "paper"])
def test_the_networks_on_the_meta_device_are_those_of_the_weights(recipe: str) -> None:
    config: Config = small_config(recipe)
    networks = method_spec(config.method).networks
    with torch.device("meta"):
        expected = {name: value.shape for name, value in networks(config, 3, 2).state_dict().items()}
    method: Method = trainer(config.method)(config, 3, 2, CPU, 0)
    assert {name: value.shape for name, value in method.weights().items()} == expected


def test_stargan2_is_ablation_a() -> None:
    assert replace(resolve("stargan2"), recipe="ablation_a") == resolve("ablation_a")


def test_the_registry_imports_no_torch() -> None:
    code = "import sys, defectaug.methods.base; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "False\n"
