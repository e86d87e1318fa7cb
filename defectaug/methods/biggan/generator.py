"""G: a part of the noise goes to every block, beside a vector of the label that all share (appendix B)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from defectaug.config.schema import BigGANConfig, NetworkConfig
from defectaug.methods.biggan.layers import EPSILON, ConditionalNorm, attention_at, conv, linear
from defectaug.nn.blocks import resample


def truncated_normal(uniform: Tensor, threshold: float) -> Tensor:
    """Values of (0, 1) as those of a normal distribution that is drawn anew where it is beyond the threshold (section
    3.1, the truncation trick): by its quantiles, so that each value needs one draw. A threshold of 0 gives 0."""
    inside = math.erf(threshold / math.sqrt(2))
    quantile = math.sqrt(2) * torch.erfinv((2 * uniform.double() - 1) * inside)
    return quantile.clamp(-threshold, threshold).to(uniform.dtype)


class Block(nn.Module):
    """Residual block that doubles the size."""

    def __init__(self, c_in: int, c_out: int, condition: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = ConditionalNorm(c_in, condition), ConditionalNorm(c_out, condition)
        self.conv1, self.conv2 = conv(c_in, c_out, 3), conv(c_out, c_out, 3)
        self.skip = conv(c_in, c_out, 1)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        h = self.conv1(resample(F.relu(self.norm1(x, condition)), "up"))
        h = self.conv2(F.relu(self.norm2(h, condition)))
        return h + resample(self.skip(x), "up")


class Generator(nn.Module):
    """Noise (N, parts, D) and labels (N,) to images (N, C, S, S).

    Attributes:
        parts: pieces of the noise, one for the first layer and one for each block.
    """

    def __init__(self, net: NetworkConfig, own: BigGANConfig, labels: int) -> None:
        super().__init__()
        widths = net.generator_widths[::-1]  # from coarse to fine
        self.fold, self.base = net.fold, net.image_size // net.fold // 2 ** (len(widths) - 1)
        self.parts, self.latent_dim = len(widths), net.latent_dim
        self.embedding = nn.Embedding(labels, own.embedding)
        nn.init.orthogonal_(self.embedding.weight)  # as all else; N(0, 1) would drown the noise beside it
        self.first = linear(net.latent_dim, widths[0] * self.base**2)
        condition = net.latent_dim + own.embedding
        self.blocks = nn.ModuleList(Block(a, b, condition) for a, b in pairwise(widths))
        sides = [self.base * 2**level for level in range(1, len(widths))]
        self.attention = nn.ModuleList(
            attention_at(side, own.attention, width) for side, width in zip(sides, widths[1:], strict=True)
        )
        self.norm = nn.BatchNorm2d(widths[-1], eps=EPSILON)
        self.to_image = conv(widths[-1], net.channels * net.fold**2, 3, fold=net.fold)

    def draw(self, count: int, rng: torch.Generator) -> Tensor:
        """Noise (N, parts, D) of the untruncated distribution."""
        return torch.randn(count, self.parts, self.latent_dim, generator=rng)

    def draw_seeded(self, seeds: Sequence[int], threshold: float) -> Tensor:
        """Truncated noise, each row from its own seed alone."""
        shape = (self.parts, self.latent_dim)
        draws = [torch.rand(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        return truncated_normal(torch.stack(draws).clamp(1e-6, 1 - 1e-6), threshold)

    def forward(self, z: Tensor, label: Tensor) -> Tensor:
        own = self.embedding(label)
        h = self.first(z[:, 0]).unflatten(1, (-1, self.base, self.base))
        h = h.contiguous(memory_format=torch.channels_last)
        for number, (block, attention) in enumerate(zip(self.blocks, self.attention, strict=True), start=1):
            h = attention(block(h, torch.cat([z[:, number], own], dim=1)))
        return torch.tanh(F.pixel_shuffle(self.to_image(F.relu(self.norm(h))).float(), self.fold))


@torch.no_grad()
def settle(generator: Generator, labels: int, passes: int = 16, batch: int = 32) -> None:
    """Standing statistics (appendix E): means and variances of batch normalisation from ``passes`` batches of the
    weights as they are, instead of those that trail the training."""
    norms = [module for module in generator.modules() if isinstance(module, nn.BatchNorm2d)]
    rng, device = torch.Generator().manual_seed(0), generator.embedding.weight.device
    for norm in norms:
        norm.reset_running_stats()
        norm.train()
        norm.momentum = None  # the mean of all batches
    for number in range(passes):
        label = (torch.arange(batch, device=device) + number * batch) % labels
        generator(generator.draw(batch, rng).to(device), label)
    for norm in norms:
        norm.eval()
        norm.momentum = 0.1
