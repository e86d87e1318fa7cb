"""D: real or generated, per domain, with the defect classifier and the product classifier (section 3.1)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor, nn

from defectaug.config.schema import NetworkConfig
from defectaug.nn.blocks import ResBlock, Trunk, activate, pool_max_mean
from defectaug.nn.branches import pick

LEAST = 4  # height and width to which flat heads halve a map
NO_CLASSIFIER = "this recipe has no defect classifier"


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


class FlatHead(nn.Module):
    """StarGAN v2's: halved to a map of a few places, one convolution over all of it, and a linear layer."""

    def __init__(self, width: int, size: int, classes: int) -> None:
        super().__init__()
        halvings = max(0, int(math.log2(size / LEAST)))
        self.blocks = nn.Sequential(*(ResBlock(width, width, "down") for _ in range(halvings)))
        self.over_all = nn.Conv2d(width, width, size >> halvings)
        self.linear = nn.Linear(width, classes)

    def forward(self, h: Tensor) -> Tensor:
        return self.linear(activate(self.over_all(activate(self.blocks(h)))).flatten(1))


class DefectHead(nn.Module):
    """The paper's defect classifier, as Appendix D is read: a 1x1 convolution, four residual blocks, a linear layer.

    CHOICE: the blocks halve the map while it is larger than LEAST; the linear layer takes its mean.
    """

    def __init__(self, width: int, size: int, classes: int) -> None:
        super().__init__()
        self.mix = nn.Conv2d(width, width, 1)
        halvings = int(math.log2(size / LEAST)) if size > LEAST else 0
        self.blocks = nn.Sequential(*(ResBlock(width, width, "down" if n < halvings else "keep") for n in range(4)))
        self.linear = nn.Linear(width, classes)

    def forward(self, h: Tensor) -> Tensor:
        return self.linear(activate(self.blocks(self.mix(h))).mean((2, 3)))


class FlatDiscriminator(nn.Module):
    """The paper's D: a shared trunk, an adversarial branch per domain, and both classifiers on its last features.

    Args:
        net: dimensions.
        domains: number of defect classes, the normal one included.
        products: number of products; with one there is no product classifier.
    """

    def __init__(self, net: NetworkConfig, domains: int, products: int) -> None:
        super().__init__()
        width = net.discriminator_widths[-1]
        self.trunk = Trunk(net.channels, net.discriminator_widths, fold=net.fold, norm=net.discriminator_norm)
        size = net.image_size // net.fold >> len(net.discriminator_widths) - 1
        self.branches = (products if net.product_branches else 1, domains)
        self.real = FlatHead(width, size, math.prod(self.branches))
        self.product = FlatHead(width, size, products) if net.product_classifier and products > 1 else None
        self.defect = DefectHead(width, size, domains) if net.defect_classifier else None

    def forward(self, x: Tensor) -> Predictions:
        """Images (N, C, S, S) to predictions."""
        h = self.trunk(x)
        return Predictions(
            self.real(h).float().unflatten(1, self.branches),
            self.defect(h).float() if self.defect else None,
            self.product(h).float() if self.product else None,
        )

    def name_defect(self, x: Tensor) -> Tensor:
        """As of :meth:`Discriminator.name_defect`."""
        if self.defect is None:
            raise ValueError(NO_CLASSIFIER)
        return self.defect(self.trunk(x)).argmax(1)


class Discriminator(nn.Module):
    """The paper's for short trainings: a shared trunk, an adversarial branch per domain, and the two classifiers.

    Not in the paper: the defect classifier takes the trunk's second level, a quarter of the image's size with folding:
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
            raise ValueError(NO_CLASSIFIER)
        return self.defect(self.trunk.levels(x)[self.LEVEL]).argmax(1)


DISCRIMINATORS: dict[str, type[FlatDiscriminator | Discriminator]] = {
    "flat": FlatDiscriminator,
    "pooled": Discriminator,
}
