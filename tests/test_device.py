"""Devices and precisions by name."""

from __future__ import annotations

import pytest
import torch
from small_networks import images, small_model

from defectaug import device
from defectaug.errors import ConfigError


@pytest.mark.parametrize(
    ("name", "precision", "message"),
    [
        ("gpu", "auto", "--device gpu: must be one of auto, cpu, cuda, mps"),
        ("meta", "auto", "--device meta: must be one of"),
        ("cpu", "fp8", "--precision fp8: must be one of auto, fp32, bf16"),
    ],
)
def test_unknown_devices_and_precisions(name: str, precision: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        device.choose(name, precision)


def test_absent_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="--device cuda: no CUDA GPU is usable here; use --device cpu"):
        device.choose("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ConfigError, match="--device cuda:7: there are 2 GPUs"):
        device.choose("cuda:7", "fp32")
    assert device.choose("cuda:1", "fp32").device.index == 1


def test_bf16_runs_where_it_is_asked_for() -> None:
    compute = device.choose("cpu", "bf16")
    assert compute.bf16 and "bf16" in compute.describe()
    with compute.autocast():
        assert small_model().encoder.trunk(images(2)).dtype == torch.bfloat16
