"""D: real or generated, per domain, with the defect classifier and the product classifier (section 3.1)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor, nn

from defectaug.config.schema import NetworkConfig
from defectaug.nn.blocks import ResBlock, Trunk, activate, pool_max_mean
from defectaug.nn.branches import pick


@dataclass(frozen=True)
class Predictions:
    """D's outputs for a batch: ``real`` (N, B, K) a logit per domain, by product (B = P) or for all (B = 1);
    ``defect`` (N, K) and ``product`` (N, P) class logits, or None where the recipe has no such classifier."""

    real: Tensor
    defect: Tensor | None
    product: Tensor | None

    def __getitem__(self, rows: slice | Tensor) -> Predictions:
        defect, product = (part if part is None else part[rows] for part in (self.defect, self.product))
        return Predictions(self.real[rows], defect, product)

    def of(self, domain: Tensor, product: Tensor) -> Tensor:
        """Logits (N,) of the branches of the given domains and products."""
        by_domain = pick(self.real, product) if self.real.shape[1] > 1 else self.real[:, 0]
        return pick(by_domain, domain)


class PooledHead(nn.Module):
    """Residual block, pooling by maximum and mean, linear layer. A flat 4x4 head stays at chance: a defect is
    3 % of the pixels."""

    def __init__(self, width: int, classes: int, *, norm: bool = False) -> None:
        super().__init__()
        self.block = ResBlock(width, width, norm=norm)
        self.linear = nn.Linear(2 * width, classes)

    def forward(self, h: Tensor) -> Tensor:
        return self.linear(pool_max_mean(activate(self.block(h))))


class Discriminator(nn.Module):
    """A shared trunk, an adversarial branch per domain, and the two classifiers.

    CHOICE: the defect classifier takes the trunk's second level, a quarter of the image's size with folding:
    on smaller maps small defects are lost, and until D can tell the defects, nothing is learnt. With instance
    normalisation it gets there in a third of the steps. The adversarial branches take both that level and the
    deepest: the one sees stripes and edges, the other shapes and how many there are. With ``product_branches`` there is
    one for each domain of each product (not in the paper): a scratch that is dark on one product and bright on another
    else has one branch for both looks.
    """

    LEVEL = 1

    def __init__(self, net: NetworkConfig, domains: int, products: int) -> None:
        super().__init__()
        widths = net.discriminator_widths
        self.trunk = Trunk(net.channels, widths, fold=net.fold, norm=net.discriminator_norm)
        self.deep = ResBlock(widths[-1], widths[-1], "down", norm=net.discriminator_norm)
        self.branches = (products if net.product_branches else 1, domains)
        self.real = PooledHead(widths[-1], math.prod(self.branches))
        self.real_fine = PooledHead(widths[self.LEVEL], math.prod(self.branches), norm=net.discriminator_norm)
        # With one product there is nothing to tell apart.
        self.product = PooledHead(widths[-1], products) if net.product_classifier and products > 1 else None
        self.defect = (
            PooledHead(widths[self.LEVEL], domains, norm=net.discriminator_norm)
            if net.defect_classifier
            else None
        )

    def forward(self, x: Tensor) -> Predictions:
        """Images (N, C, S, S) to predictions."""
        levels = self.trunk.levels(x)
        deep = self.deep(levels[-1])
        return Predictions(
            (self.real(deep) + self.real_fine(levels[self.LEVEL])).float().unflatten(1, self.branches),
            self.defect(levels[self.LEVEL]).float() if self.defect else None,
            self.product(deep).float() if self.product else None,
        )

    def name_defect(self, x: Tensor) -> Tensor:
        """Images to class numbers (N,), by the defect classifier.

        Raises:
            ValueError: the recipe has none.
        """
        if self.defect is None:
            raise ValueError("this recipe has no defect classifier")
        return self.defect(self.trunk.levels(x)[self.LEVEL]).argmax(1)
