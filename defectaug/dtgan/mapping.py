"""M: from a latent z to a defect's shape map and style, per domain, with per-pixel noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from defectaug.config import NetworkConfig
from defectaug.dtgan.anchor import anchored
from defectaug.dtgan.codes import Codes, dense, normalised, presence, sparse
from defectaug.nn.augment import moved
from defectaug.nn.blocks import AdaIN, NoiseInjection, ResBlock, activate, conv3, linear
from defectaug.nn.branches import BranchedLinear, Branches

RIM = 2  # cells
M_LEAK = 1.0  # CHOICE: M starts quiet everywhere, and with less stays so; E is called for by every reconstruction
START = 4  # CHOICE: height and width of the map that a shape grows from


@dataclass(frozen=True)
class Latent:
    """Random input of M: ``z`` (N, latent_dim), one noise map (N, 1, h, h) per level of the shape head, and where the
    defect lies, ``place`` (N, 2) in [0, 1] from the top and from the left."""

    z: Tensor
    noise: list[Tensor]
    place: Tensor

    def __getitem__(self, rows: slice | Tensor) -> Latent:
        return Latent(self.z[rows], [n[rows] for n in self.noise], self.place[rows])

    @staticmethod
    def cat(parts: Sequence[Latent]) -> Latent:
        """Joins batches."""
        levels = zip(*(part.noise for part in parts), strict=True)
        z, place = (torch.cat([getattr(part, name) for part in parts]) for name in ("z", "place"))
        return Latent(z, [torch.cat(level) for level in levels], place)


def map_sizes(code_size: int) -> list[int]:
    """Heights of a growing map, coarse to fine: from START, or a little more, doubling to the code's."""
    sizes = [code_size]
    while sizes[0] >= 2 * START:
        sizes.insert(0, -(-sizes[0] // 2))
    return sizes


class ShapeHead(nn.Module):
    """Grows a shape map from ``w``: noise injection and AdaIN at every size, from START to the code's."""

    def __init__(self, net: NetworkConfig) -> None:
        super().__init__()
        width = net.defect_width
        self.sizes = map_sizes(net.code_size)
        levels = len(self.sizes)
        self.start = nn.Linear(net.mapping_width, width * self.sizes[0] ** 2)
        self.convs = nn.ModuleList(conv3(width, width) for _ in range(levels))
        self.noises = nn.ModuleList(NoiseInjection(width, 0.3) for _ in range(levels) if net.noise)
        self.norms = nn.ModuleList(AdaIN(width, net.mapping_width) for _ in range(levels))
        self.out = conv3(width, net.code_channels + 1)
        self.to_code = partial(sparse, leak=M_LEAK) if net.sparse_codes else dense
        nn.init.normal_(self.out.weight, std=1 / math.sqrt(9 * width))

    def forward(self, w: Tensor, noise: list[Tensor]) -> Tensor:
        """w (N, mapping_width) and noise maps to c (N, code_channels, code_size, code_size) in (-1, 1)."""
        h = self.start(w).unflatten(1, (-1, self.sizes[0], self.sizes[0]))
        for level, (size, conv, norm) in enumerate(zip(self.sizes, self.convs, self.norms, strict=True)):
            if level:
                h = F.interpolate(h, size=(size, size), mode="bilinear", align_corners=False)
            h = conv(h)
            if self.noises:
                h = self.noises[level](h, noise[level])
            h = activate(norm(h, w))
        return self.to_code(self.out(h))


class PlainShapeHead(nn.Module):
    """Grows a shape map by residual blocks without normalisation, with noise injection at every size.

    Not in the paper, whose AdaIN evens out what it sees at every size: most of a shape map is quiet, and a head that
    has to be quiet by cancelling takes long to learn it.
    """

    def __init__(self, net: NetworkConfig) -> None:
        super().__init__()
        self.sizes = map_sizes(net.code_size)
        wide = 2 * net.defect_width
        # Narrower where maps are large: a quarter of the width at sixteen times START.
        widths = [max(wide // max(size // (4 * START), 1), wide // 4) for size in self.sizes]
        widths.append(widths[-1])
        self.start = linear(net.mapping_width, widths[0] * self.sizes[0] ** 2)
        self.blocks = nn.ModuleList(ResBlock(a, b) for a, b in pairwise(widths))
        self.noises = nn.ModuleList(NoiseInjection(a, 0.1) for a in widths[:-1] if net.noise)
        self.out = conv3(widths[-1], net.code_channels + 1)
        self.to_code = partial(sparse, leak=M_LEAK) if net.sparse_codes else dense
        nn.init.normal_(self.out.weight, std=0.5 / math.sqrt(9 * widths[-1]))

    def forward(self, w: Tensor, noise: list[Tensor]) -> Tensor:
        """w (N, mapping_width) and noise maps to c (N, code_channels, code_size, code_size)."""
        h = self.start(w).unflatten(1, (-1, self.sizes[0], self.sizes[0]))
        for level, (size, block) in enumerate(zip(self.sizes, self.blocks, strict=True)):
            if level:
                h = F.interpolate(h, size=(size, size), mode="bilinear", align_corners=False)
            h = block(self.noises[level](h, noise[level]) if self.noises else h)
        return self.to_code(self.out(activate(h)))


class Observed(nn.Module):
    """What E's shape maps are like: how strong they are, and per domain how far from the middle their centres lie.

    M grows maps of full presence in the middle; they are brought to that strength, and moved to places drawn evenly
    from the reach. Not in the paper. E and G are convolutions, so a map may be moved as it is, and M has shapes alone
    to learn from tens of defects.
    """

    strength: Tensor
    low: Tensor
    high: Tensor

    def __init__(self, domains: int) -> None:
        super().__init__()
        self.register_buffer("strength", torch.ones(()))
        self.register_buffer("low", torch.zeros(domains, 2))  # of the side, from the middle
        self.register_buffer("high", torch.zeros(domains, 2))

    @torch.no_grad()
    def notice(self, c: Tensor, centre: Tensor, defect: Tensor) -> None:
        """Follows the greatest presence in maps (N, C, h, h), and widens the reach by their centres (N, 2), of domains
        (N,)."""
        strength = presence(c).amax((1, 2, 3)).mean()
        self.strength.copy_(strength if self.strength == 1 else self.strength.lerp(strength, 0.02))
        for at, number in zip(centre, defect, strict=True):
            self.low[number] = torch.minimum(self.low[number], at)
            self.high[number] = torch.maximum(self.high[number], at)

    def moved(self, c: Tensor, place: Tensor, defect: Tensor) -> Tensor:
        """Maps (N, C, h, h) at places (N, 2) in [0, 1] of the reach."""
        low, high = self.low[defect], self.high[defect]
        return moved(c, ((low + place * (high - low)) * c.shape[-1]).round().long())


def without_rim(c: Tensor) -> Tensor:
    """Shape maps (N, C, h, h) without their outermost cells: padding shows there, and moved elsewhere it would be seen
    as bars."""
    size = c.shape[-1] - 2 * RIM
    return c * F.pad(c.new_ones(1, 1, size, size), [RIM] * 4)


def centres(opacity: Tensor) -> Tensor:
    """Centres of opacities (N, 1, S, S) as (N, 2) shares of the side from the middle; 0 where there is no defect."""
    size = opacity.shape[-1]
    axis = (torch.arange(size, device=opacity.device) + 0.5) / size - 0.5
    weights = opacity[:, 0] / opacity.sum((1, 2, 3)).clamp(min=1e-6)[:, None, None]
    return torch.stack([weights.sum(2) @ axis, weights.sum(1) @ axis], dim=1)


class MappingNetwork(nn.Module):
    """(c, s) = M_y(z): a shared MLP, a style head and a shape head per domain."""

    def __init__(self, net: NetworkConfig, domains: int) -> None:
        super().__init__()
        self.net = net
        layers: list[nn.Module] = []
        size = net.latent_dim
        for _ in range(net.mapping_layers):
            layers += [linear(size, net.mapping_width, gain=math.sqrt(2)), nn.LeakyReLU(0.2)]
            size = net.mapping_width
        self.shared = nn.Sequential(*layers)
        self.style = BranchedLinear(net.mapping_width, net.style_dim, domains)
        head = PlainShapeHead if net.placed else ShapeHead
        self.shape = Branches(lambda: head(net), domains)
        self.observed = Observed(domains) if net.placed else None

    def noise_sizes(self) -> list[int]:
        """Heights of the noise maps, coarse to fine."""
        return map_sizes(self.net.code_size)

    def draw(self, count: int, generator: torch.Generator, device: torch.device | str = "cpu") -> Latent:
        """``count`` latents from one generator (on the CPU, so that every device draws the same)."""
        z = torch.randn(count, self.net.latent_dim, generator=generator).to(device)
        noise = [torch.randn(count, 1, h, h, generator=generator).to(device) for h in self.noise_sizes()]
        return Latent(z, noise, torch.rand(count, 2, generator=generator).to(device))

    def draw_seeded(self, seeds: Sequence[int], device: torch.device | str = "cpu") -> Latent:
        """One latent per seed, each independent of its neighbours in the batch."""
        singles = [self.draw(1, torch.Generator().manual_seed(seed), device) for seed in seeds]
        return Latent.cat(singles)

    def strength(self) -> Tensor | float:
        """Of the maps that M draws after E's."""
        return 1.0 if self.observed is None else self.observed.strength

    def shapes(self, latent: Latent, defect: Tensor) -> Codes:
        """Codes of the given target domains (N,), before any is put in its place."""
        w = self.shared(latent.z)
        c = self.shape(defect, w, latent.noise)
        if self.observed is not None:
            c = self.observed.strength * without_rim(c)
        codes = Codes(c, normalised(self.style(w, defect).float()), defect)
        return anchored(codes) if self.net.anchor else codes

    def forward(self, latent: Latent, defect: Tensor) -> Codes:
        """Codes of the given target domains (N,)."""
        codes = self.shapes(latent, defect)
        if self.observed is None:
            return codes
        return Codes(self.observed.moved(codes.c, latent.place, defect), codes.s, defect)
