"""Shape critic of the layered form: are latent defects shaped and styled as encoded ones?

Not in the paper. E learns place, shape and style of real defects within a few hundred steps, since every real
defect has to be rebuilt; M, taught by D alone, long paints one smear for all latents. The critic compares the two
where nothing else distracts it: on shape maps and style vectors. An adversarial autoencoder's prior (Makhzani et
al. 2015) the other way round: the prior is fitted to the encoder. It sees a batch at once (minibatch standard
deviation, Karras et al. 2018), so that a mapping network that has collapsed is found out at a glance.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from defectaug.config import NetworkConfig
from defectaug.dtgan.codes import Codes
from defectaug.nn.augment import shift_together
from defectaug.nn.blocks import ResBlock, activate, conv3, pool_max_mean
from defectaug.nn.branches import pick

REACH = 4  # CHOICE: cells of the shape map by which a batch is moved, at most


class ShapeCritic(nn.Module):
    """Logits of shape maps and styles, by domain."""

    def __init__(self, net: NetworkConfig, domains: int) -> None:
        super().__init__()
        self.stem = conv3(net.code_channels, 48)
        self.blocks = nn.Sequential(ResBlock(48, 48, "down"), ResBlock(48, 64, "down"))
        self.last = conv3(64 + 1, 64)
        self.head = nn.Sequential(nn.Linear(2 * 64 + net.style_dim + 1, 64), nn.LeakyReLU(0.2), nn.Linear(64, domains))

    def forward(self, seen: Tensor, style: Tensor, domain: Tensor) -> Tensor:
        """Shape maps (N, C, h, h), styles and domains to the logits (N,) of the domains' branches."""
        h = self.blocks(self.stem(seen))
        spread = batch_spread(h).expand(len(h), 1, *h.shape[2:])
        h = pool_max_mean(activate(self.last(torch.cat([activate(h), spread], dim=1))))
        styles = batch_spread(style[:, :, None, None]).expand(len(h), 1, 1, 1).flatten(1)
        return pick(self.head(torch.cat([h, style, styles], dim=1)), domain).float()

    def judge(self, codes: Codes, scale: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Logits (N,) of maps, brought to unit size by ``scale`` and shifted, and these maps, for a gradient with
        respect to them. Tens of shapes would be learnt by heart. The batch moves as one: moved one by one, equal shapes
        would look different and a collapse go unseen."""
        seen = shift_together(codes.c / scale, generator, REACH)
        if not seen.requires_grad:
            seen.requires_grad_(True)
        with torch.autocast(seen.device.type, enabled=False):
            return self(seen, codes.s, codes.defect), seen


def batch_spread(h: Tensor) -> Tensor:
    """Mean over all features of the standard deviation across the batch, (1, 1, 1, 1)."""
    return (h.var(0, correction=0) + 1e-8).sqrt().mean().view(1, 1, 1, 1)
