"""Small networks and batches for the tests; one thread, so that sums are taken in one order."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

import defectaug
from defectaug.config.resolve import overlay, resolve
from defectaug.config.schema import Config
from defectaug.data.batches import Batch
from defectaug.device import Compute
from defectaug.methods.adversarial import Networks
from defectaug.methods.base import BundleInfo, method_spec, trainer
from defectaug.methods.dtgan.codes import Codes

torch.set_num_threads(1)

CPU = Compute(torch.device("cpu"), bf16=False)
SIZE = 32
SMALL: dict[str, Any] = {
    "network": {
        "image_size": SIZE,
        "fold": 2,
        "encoder_widths": [8, 16],
        "encoder_blocks": 1,
        "generator_widths": [8, 16],
        "generator_blocks": 1,
        "discriminator_widths": [8, 16, 16],
        "code_channels": 4,
        "style_dim": 8,
        "latent_dim": 4,
        "mapping_width": 16,
        "mapping_layers": 2,
        "defect_width": 8,
        "memory": 12,
    },
    "run": {"batch_size": 6, "warmup": 0},
}


def small_config(recipe: str = "paper", changes: Mapping[str, Any] | None = None) -> Config:
    """A recipe with its widths shrunk."""
    return resolve(recipe, flags=overlay(SMALL, changes or {}))


def train_small(root: Path, out: Path, settings: Mapping[str, Any] | Path | None, **options: Any) -> Path | None:
    """A short training of recipe `paper` on the CPU; settings that are no file become one beside the model."""
    if isinstance(settings, Mapping):
        out.with_name("small.yaml").write_text(yaml.safe_dump(dict(settings)))
        settings = out.with_name("small.yaml")
    fixed = {"preset": "paper", "config": settings, "steps": 2, "device": "cpu", "precision": "fp32"}
    return defectaug.train(root, out=out, **(fixed | options))


def stopped_at(step: int, number: int = signal.SIGTERM) -> Callable[[int, int], None]:
    """A progress bar that sends this process a signal."""

    def progress(done: int, total: int) -> None:
        if done == step:
            os.kill(os.getpid(), number)

    return progress


def small_model(recipe: str = "paper", domains: int = 3, products: int = 2, **network: Any) -> Any:
    """Freshly initialised networks of the recipe's method, the same every time."""
    torch.manual_seed(0)
    config = small_config(recipe, {"network": network})
    return method_spec(config.method).networks(config, domains, products)


def small_method(config: Config, domains: int = 3, products: int = 2) -> Any:
    """The networks with their optimisers."""
    return trainer(config.method)(config, domains, products, CPU, 0)


def small_inference(recipe: str, info: BundleInfo) -> Any:
    """:func:`small_model` as synthesis uses it."""
    config = small_config(recipe)
    return method_spec(config.method).load(config, info, small_model(recipe).state_dict(), CPU)


def images(count: int, seed: int = 0, size: int = SIZE, channels: int = 1) -> Tensor:
    """Random images in [-1, 1]."""
    return torch.rand(count, channels, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def codes_like(model: Networks, defect: Tensor, seed: int = 0) -> Codes:
    """Random codes of classes (N,), large enough to show."""
    generator = torch.Generator().manual_seed(seed)
    count, form = len(defect), model.encoder.form
    c = form.activate(torch.randn(count, form.channels, form.size, form.size, generator=generator))
    return Codes(c, torch.randn(count, model.net.style_dim, generator=generator), defect)


def training_batch(count: int = 6, domains: int = 3, products: int = 2, seed: int = 0) -> Batch:
    """A batch of random images that has every class as source and every defect as target."""
    rows = torch.arange(count)
    target = 1 + rows % (domains - 1)
    return Batch(
        image=images(count, seed),
        defect=rows % domains,
        product=rows % products,
        index=rows,
        target=target,
        reference=images(count, seed + 1),
        reference_product=rows % products,
        reference_index=rows,
    )
