"""Which latent a defect has: the posterior of a variational autoencoder (Kingma and Welling 2014) whose decoder is M.

Not in the paper, and of use in training alone, like the critic.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from defectaug.config import NetworkConfig
from defectaug.dtgan.codes import Codes
from defectaug.nn.blocks import ResBlock, activate, conv3, pool_max_mean
from defectaug.nn.branches import BranchedLinear

GRID = 4  # the map that is flattened: a place needs more than pooled features
FURTHEST = 3.0  # means stay within this: of drawn latents one in 400 does not
SPREAD = 4.0  # logarithms of variances stay within this


class Posterior(nn.Module):
    """Normal distributions of z, one dimension independent of the other, given encoded defects."""

    def __init__(self, net: NetworkConfig, domains: int) -> None:
        super().__init__()
        self.stem = conv3(net.code_channels, 24)
        self.blocks = nn.Sequential(ResBlock(24, 32, "down"), ResBlock(32, 48, "down"), ResBlock(48, 64, "down"))
        self.narrow = nn.Conv2d(64, 8, 1)
        self.pool = nn.AdaptiveAvgPool2d(GRID)
        width = 8 * GRID**2 + 2 * 64 + net.style_dim
        self.head = nn.Sequential(nn.Linear(width, 128), nn.LeakyReLU(0.2))
        self.out = BranchedLinear(128, 2 * net.latent_dim, domains)
        # Narrow at first, like a plain autoencoder: from wide ones M learns to disregard z.
        with torch.no_grad():
            self.out.linear.bias.unflatten(0, (domains, 2, net.latent_dim))[:, 1] = -3.0

    def forward(self, codes: Codes, strength: Tensor | float = 1.0) -> tuple[Tensor, Tensor]:
        """Codes, their maps of the given strength, to mean and logarithm of the variance, (N, latent_dim) each."""
        h = activate(self.blocks(self.stem(codes.c / strength)))
        places = self.pool(self.narrow(h)).flatten(1)
        h = self.head(torch.cat([places, pool_max_mean(h), codes.s], dim=1))
        mean, log_variance = self.out(h, codes.defect).float().chunk(2, dim=1)
        return FURTHEST * torch.tanh(mean / FURTHEST), SPREAD * torch.tanh(log_variance / SPREAD)
