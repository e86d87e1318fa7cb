"""The mapping network from noise and label to styles, and the synthesis network from styles to images."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from defectaug.config.schema import NetworkConfig
from defectaug.methods.stylegan2.layers import GAIN, EqualLinear, ModulatedConv, StyledConv, doubled
from defectaug.nn.blocks import unfold_evenly


def normalised(x: Tensor) -> Tensor:
    """(N, C) divided by the root mean square of each row."""
    return x * torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-8)


class Mapping(nn.Module):
    """z (N, latent_dim) and labels (N,) to styles (N, style_dim), which learn at a hundredth of the rate."""

    def __init__(self, net: NetworkConfig, labels: int) -> None:
        super().__init__()
        self.latent_dim = net.latent_dim
        self.embedding = nn.Embedding(labels, net.latent_dim)
        widths = [2 * net.latent_dim, *[net.mapping_width] * (net.mapping_layers - 1), net.style_dim]
        gains = [1.0, *[GAIN] * (len(widths) - 2)]
        self.layers = nn.ModuleList(
            EqualLinear(a, b, gain=gain, rate=0.01) for (a, b), gain in zip(pairwise(widths), gains, strict=True)
        )

    def forward(self, z: Tensor, label: Tensor) -> Tensor:
        h = torch.cat([normalised(z), normalised(self.embedding(label))], dim=1)
        for layer in self.layers:
            h = F.leaky_relu(layer(h), 0.2)
        return GAIN * h.float()

    @torch.no_grad()
    def centre(self, label: Tensor, draws: int = 512) -> Tensor:
        """Mean styles (N, style_dim) of labels (N,), over the same draws of z for each: what truncation draws near to.

        Of each label and not of all, so that truncation leads to the mean image of a product and defect.
        """
        z = torch.randn(draws, self.latent_dim, generator=torch.Generator().manual_seed(0)).to(label.device)
        known, place = label.unique(return_inverse=True)
        means = [self(z, one.expand(draws)).mean(0) for one in known]
        return torch.stack(means)[place]


class Block(nn.Module):
    """Doubles the size; two styled convolutions."""

    def __init__(self, c_in: int, c_out: int, style_dim: int) -> None:
        super().__init__()
        self.first = StyledConv(c_in, c_out, style_dim)
        self.second = StyledConv(c_out, c_out, style_dim)

    def forward(self, h: Tensor, w: Tensor, noise: Sequence[Tensor]) -> Tensor:
        """Features, styles (N, 2, style_dim) and a noise map for each convolution to features of twice the size."""
        return self.second(self.first(doubled(h), w[:, 0], noise[0]), w[:, 1], noise[1])


class ToImage(nn.Module):
    """Modulated 1x1 convolution without demodulation to the image's channels, ``fold`` by ``fold`` pixels a place."""

    def __init__(self, c_in: int, channels: int, style_dim: int, fold: int) -> None:
        super().__init__()
        self.fold = fold
        self.conv = ModulatedConv(c_in, channels * fold**2, 1, style_dim)
        unfold_evenly(self.conv.conv.weight, fold)
        self.bias = nn.Parameter(torch.zeros(channels * fold**2))

    def forward(self, h: Tensor, w: Tensor) -> Tensor:
        return F.pixel_shuffle(self.conv(h, self.conv.style(w)).float() + self.bias[:, None, None], self.fold)


class Synthesis(nn.Module):
    """A constant, a block a level, and an image that every level adds to (section 4.1, output skips).

    With ``network.fold`` above 1 (not in the paper) the finest features are so much smaller than the image.

    Attributes:
        layers: number of styles that an image takes.
    """

    def __init__(self, net: NetworkConfig) -> None:
        super().__init__()
        widths, style = net.generator_widths[::-1], net.style_dim  # from coarse to fine
        self.base = net.image_size // net.fold // 2 ** (len(widths) - 1)
        self.layers = 2 * len(widths) - 1
        self.constant = nn.Parameter(torch.randn(1, widths[0], self.base, self.base))
        self.first = StyledConv(widths[0], widths[0], style)
        self.blocks = nn.ModuleList(Block(a, b, style) for a, b in pairwise(widths))
        self.to_image = nn.ModuleList(ToImage(width, net.channels, style, net.fold) for width in widths)

    def draw_noise(self, count: int, rng: torch.Generator) -> list[Tensor]:
        """A map for each layer, coarse to fine (on the CPU, so that every device draws the same)."""
        sides = [self.base, *(self.base * 2**level for level in range(1, len(self.blocks) + 1) for _ in range(2))]
        return [torch.randn(count, 1, side, side, generator=rng) for side in sides]

    def forward(self, w: Tensor, noise: Sequence[Tensor]) -> Tensor:
        """Styles (N, layers, style_dim) and noise maps to images (N, C, S, S)."""
        constant = self.constant.expand(len(w), -1, -1, -1).contiguous(memory_format=torch.channels_last)
        h = self.first(constant, w[:, 0], noise[0])
        image = self.to_image[0](h, w[:, 0])
        for level, block in enumerate(self.blocks):
            layer = 2 * level + 1
            h = block(h, w[:, layer : layer + 2], noise[layer : layer + 2])
            image = doubled(image) + self.to_image[level + 1](h, w[:, layer + 1])
        return image


class Generator(nn.Module):
    """Mapping and synthesis."""

    def __init__(self, net: NetworkConfig, labels: int) -> None:
        super().__init__()
        self.mapping = Mapping(net, labels)
        self.synthesis = Synthesis(net)

    def styles(self, label: Tensor, rng: torch.Generator, mixing: float) -> Tensor:
        """Styles (N, layers, style_dim) from fresh noise. A share ``mixing`` of them takes those from some layer on,
        drawn evenly, of another z (style mixing, Karras et al. 2019, section 3.1)."""
        count, layers = len(label), self.synthesis.layers
        z = torch.randn(2, count, self.mapping.latent_dim, generator=rng).to(label.device)
        first, other = self.mapping(z.flatten(0, 1), label.repeat(2)).unflatten(0, (2, count))
        mixed = torch.rand(count, generator=rng) < mixing
        cut = torch.where(mixed, torch.randint(1, layers, (count,), generator=rng), layers)
        late = (torch.arange(layers) >= cut[:, None]).to(label.device)
        return torch.where(late[:, :, None], other[:, None], first[:, None])

    def forward(self, label: Tensor, seeds: Sequence[int], truncation: float) -> Tensor:
        """Images of labels (N,), each from its own seed alone, their styles drawn near to the label's mean."""
        draws = [torch.Generator().manual_seed(seed) for seed in seeds]
        z = torch.cat([torch.randn(1, self.mapping.latent_dim, generator=rng) for rng in draws]).to(label.device)
        noise = [torch.cat(maps) for maps in zip(*(self.synthesis.draw_noise(1, rng) for rng in draws), strict=True)]
        centre = self.mapping.centre(label)
        w = centre + truncation * (self.mapping(z, label) - centre)
        w = w[:, None].expand(-1, self.synthesis.layers, -1)
        return self.synthesis(w, [one.to(label.device) for one in noise])


