"""The residual method's networks with M: defects are drawn from noise, and the bundle holds no outlines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from defectaug.config.schema import Config
from defectaug.device import Compute
from defectaug.errors import BundleError
from defectaug.methods.residual.bank import OUTLINES
from defectaug.methods.residual.cutout import Cutout
from defectaug.methods.residual.defect import Defect
from defectaug.methods.residual.mapping.lesson import learn
from defectaug.methods.residual.mapping.network import Mapping
from defectaug.methods.residual.model import CONTEXT, Residual

UNFINISHED = (
    "M has not learnt to draw: the training was interrupted. Go on with defectaug train --resume, or let references "
    "guide (--reference)."
)


class Mapped(Residual):
    """E, inpainter, the bank and M, which learns from the bank in the end; arguments as of :class:`Residual`."""

    def __init__(
        self, size: int, channels: int, defects: int, products: int, kept: int = 96, outlines: bool = True
    ) -> None:
        super().__init__(size, channels, defects, products, kept, outlines)
        self.mapping = Mapping(size, channels, (defects - 1) * products, CONTEXT)

    def drawn(
        self, label: Tensor, product: Tensor, generators: Sequence[torch.Generator]
    ) -> tuple[Defect, tuple[Cutout | None, ...], tuple[bool, ...]]:
        """As of :class:`Residual`, of products as often as the bank would; without cut-outs. Before
        M has learnt the bank draws.

        Raises:
            BundleError: M has not learnt, and there are no outlines.
        """
        if not int(self.mapping.steps):
            if not len(self.bank.masks):
                raise BundleError(UNFINISHED)
            return super().drawn(label, product, generators)
        slots = self.bank.pick(label, product, generators)
        known = slots >= 0
        category = torch.where(known, self.category(label, self.bank.products[slots]), 0)
        defect = self.mapping.draw(label, category, generators)
        defect = replace(defect, mask=defect.mask * known[:, None, None, None])
        return self.bank.restyled(defect, slots, product, generators), (None,) * len(defect), (False,) * len(defect)

    @torch.enable_grad()
    def learn(self, flips: str, generator: torch.Generator, compute: Compute) -> None:
        """M learns to draw what the bank holds."""
        learn(self.mapping, self.bank, self.category, flips, generator, compute)

    def kept(self) -> dict[str, Tensor]:
        """Weights and styles, nothing that shows a training image."""
        outlines = {f"bank.{name}" for name in OUTLINES}
        return {name: value[:0] if name in outlines else value for name, value in self.state_dict().items()}


NETWORKS: dict[str, type[Residual]] = {"memory": Residual, "network": Mapped}
BUNDLED: dict[str, Callable[..., Residual]] = {"memory": Residual, "network": partial(Mapped, outlines=False)}
"""By ``network.mapping``: what is trained, and what a bundle holds of it."""


def bundled(config: Config, defects: int, products: int) -> Residual:
    """What a bundle holds."""
    net = config.network
    return BUNDLED[net.mapping](net.image_size, net.channels, defects, products, net.memory)
