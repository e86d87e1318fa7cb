"""The training step of a clone of clovaai/stargan-v2, timed beside this package's at the same resolution and batch.

At 128 x 128 the clone's own widths are those of recipe `ablation_a`; at other sizes it chooses others.
"""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from defectaug.config.resolve import resolve
from defectaug.device import Compute

from .plain import trained
from .timing import Result, in_turns
from .training import DOMAINS, PRODUCTS, random_batch

UNUSED = ("ffmpeg", "munch", "metrics.eval", "core.data_loader", "core.wing")
"""What its modules import beside what a training step runs: video, face landmarks, metrics, data loading."""


class Namespace(dict):
    """A dictionary whose keys are attributes, as the clone expects of `munch`."""

    __getattr__ = dict.__getitem__

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value


class _Absent(types.ModuleType):
    """Takes the place of a module that is imported and not used."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Namespace if name == "Munch" else object


@contextmanager
def _importable(clone: Path) -> Iterator[None]:
    before = dict(sys.modules)
    sys.path.insert(0, str(clone))
    sys.modules.update({name: _Absent(name) for name in UNUSED})
    try:
        yield
    finally:
        sys.path.remove(str(clone))
        for name in set(sys.modules) - set(before):
            if name.split(".")[0] in ("core", "metrics") or name in UNUSED:
                del sys.modules[name]


@dataclass(frozen=True)
class ReferenceResult(Result):
    """Seconds a step: of the clone's code, and of recipe `ablation_a`."""

    image_size: int
    batch_size: int
    reference: float
    package: float

    @property
    def speedup(self) -> float:
        return self.reference / self.package

    def __str__(self) -> str:
        return (
            f"stargan-v2 at {self.image_size}, batch {self.batch_size}: {self.reference:.2f} s a step, "
            f"ablation_a {self.package:.2f} s, {self.speedup:.1f} times as fast"
        )


class ReferenceStep:
    """One iteration of the clone's training loop: D by latents, D by references, G by latents, G by references."""

    def __init__(self, clone: Path, size: int, batch: int, device: torch.device) -> None:
        with _importable(clone):
            self.solver = importlib.import_module("core.solver")
            model = importlib.import_module("core.model")
            he_init = importlib.import_module("core.utils").he_init
        self.args = Namespace(
            img_size=size, style_dim=64, latent_dim=16, num_domains=DOMAINS, w_hpf=0,
            lambda_reg=1.0, lambda_sty=1.0, lambda_ds=1.0, lambda_cyc=1.0,
        )  # fmt: skip
        nets, averages = model.build_model(self.args)
        # Its build wraps the networks for several GPUs; one device needs no wrapper.
        self.nets = Namespace({name: net.module.to(device) for name, net in nets.items()})
        self.averages = {name: net.module.to(device) for name, net in averages.items()}
        for net in self.nets.values():
            net.apply(he_init)
        self.optimizers = {
            name: torch.optim.Adam(
                net.parameters(), lr=1e-6 if name == "mapping_network" else 1e-4, betas=(0.0, 0.99), weight_decay=1e-4
            )
            for name, net in self.nets.items()
        }
        rng = torch.Generator().manual_seed(0)
        self.x, self.x_ref, self.x_ref2 = (
            (torch.rand(batch, 3, size, size, generator=rng) * 2 - 1).to(device) for _ in range(3)
        )
        self.z, self.z2 = (torch.randn(batch, 16, generator=rng).to(device) for _ in range(2))
        self.y = (torch.arange(batch) % DOMAINS).to(device)

    def __call__(self) -> None:
        s, nets, args, y = self.solver, self.nets, self.args, self.y
        for given in ({"z_trg": self.z}, {"x_ref": self.x_ref}):
            self._step(s.compute_d_loss(nets, args, self.x, y, y, **given)[0], ["discriminator"])
        self._step(
            s.compute_g_loss(nets, args, self.x, y, y, z_trgs=[self.z, self.z2])[0],
            ["generator", "mapping_network", "style_encoder"],
        )
        self._step(s.compute_g_loss(nets, args, self.x, y, y, x_refs=[self.x_ref, self.x_ref2])[0], ["generator"])
        for name, average in self.averages.items():
            s.moving_average(nets[name], average, beta=0.999)

    def _step(self, loss: torch.Tensor, networks: list[str]) -> None:
        for optimizer in self.optimizers.values():
            optimizer.zero_grad()
        loss.backward()
        for name in networks:
            self.optimizers[name].step()


def benchmark(clone: Path, compute: Compute, repeats: int, size: int = 128, batch: int = 8) -> ReferenceResult:
    """Times both in turn.

    Raises:
        FileNotFoundError: not a clone of stargan-v2.
    """
    if not (clone / "core" / "solver.py").is_file():
        raise FileNotFoundError(f"{clone}: no core/solver.py; give a clone of clovaai/stargan-v2")
    step = ReferenceStep(clone, size, batch, compute.device)
    config = resolve("ablation_a", flags={"network": {"image_size": size, "channels": 3}, "run": {"batch_size": batch}})
    package, images = trained(config, DOMAINS, PRODUCTS, compute, seed=0), random_batch(config)
    works = {"reference": step, "package": lambda: package.step(images, 1, 0.0)}
    times = in_turns(works, compute.device, repeats, warmups=1)
    return ReferenceResult(size, batch, times["reference"].median, times["package"].median)
