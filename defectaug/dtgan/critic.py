"""Shape critic of the layered form: are latent defects shaped and styled as encoded ones?

Not in the paper. E learns place, shape and style of real defects within a few hundred steps, since every real
defect has to be rebuilt; M, taught by D alone, long paints one smear for all latents. The critic compares the two
where nothing else distracts it: on opacities and style vectors. An adversarial autoencoder's prior (Makhzani et al.
2015) the other way round: the prior is fitted to the encoder. It sees a batch at once (minibatch standard
deviation, Karras et al. 2018), so that a mapping network that has collapsed is found out at a glance.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from defectaug.config import NetworkConfig
from defectaug.nn.augment import mirror_and_shift
from defectaug.nn.blocks import ResBlock, activate, conv3, pool_max_mean
from defectaug.nn.branches import pick

FOLD = 4


class ShapeCritic(nn.Module):
    """Logits of the layers' opacities (N, layers, S, S) with styles (N, style_dim), by domain."""

    def __init__(self, net: NetworkConfig, layers: int, domains: int) -> None:
        super().__init__()
        self.stem = conv3(layers * FOLD * FOLD, 32)
        self.blocks = nn.Sequential(ResBlock(32, 48, "down"), ResBlock(48, 64, "down"))
        self.last = conv3(64 + 1, 64)
        self.head = nn.Sequential(nn.Linear(2 * 64 + net.style_dim + 1, 64), nn.LeakyReLU(0.2), nn.Linear(64, domains))

    def forward(self, opacity: Tensor, style: Tensor, domain: Tensor) -> Tensor:
        """(N,) logits of the domains' branches."""
        h = self.blocks(self.stem(F.pixel_unshuffle(opacity, FOLD)))
        spread = batch_spread(h).expand(len(h), 1, *h.shape[2:])
        h = pool_max_mean(activate(self.last(torch.cat([activate(h), spread], dim=1))))
        styles = batch_spread(style[:, :, None, None]).expand(len(h), 1, 1, 1).flatten(1)
        return pick(self.head(torch.cat([h, style, styles], dim=1)), domain).float()

    def judge(self, opacities: Tensor, style: Tensor, domain: Tensor, generator: torch.Generator) -> Tensor:
        """The same on mirrored and shifted opacities: tens of shapes would be learnt by heart. The batch moves as one:
        moved one by one, equal shapes would look different and a collapse go unseen."""
        seen = mirror_and_shift(opacities, generator, shift=0.125, outside="constant", together=True)
        with torch.autocast(seen.device.type, enabled=False):
            return self(seen.float(), style, domain)


def batch_spread(h: Tensor) -> Tensor:
    """Mean over all features of the standard deviation across the batch, (1, 1, 1, 1)."""
    return (h.var(0, correction=0) + 1e-8).sqrt().mean().view(1, 1, 1, 1)
