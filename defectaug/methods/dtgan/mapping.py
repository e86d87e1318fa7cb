"""M: from a latent z to a defect's shape map and style, per domain, with per-pixel noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from defectaug.config.schema import NetworkConfig
from defectaug.methods.dtgan.anchor import anchored
from defectaug.methods.dtgan.codes import CodeForm, Codes, style_form
from defectaug.nn.blocks import AdaIN, NoiseInjection, activate, conv3, linear
from defectaug.nn.branches import BranchedLinear, Branches

START = 4  # CHOICE: height and width of the map that a shape grows from


@dataclass(frozen=True)
class Latent:
    """Random input of M: ``z`` (N, latent_dim) and one noise map (N, 1, h, h) per level of the shape head."""

    z: Tensor
    noise: list[Tensor]

    def __getitem__(self, rows: slice | Tensor) -> Latent:
        return Latent(self.z[rows], [n[rows] for n in self.noise])

    @staticmethod
    def cat(parts: Sequence[Latent]) -> Latent:
        """Joins batches."""
        levels = zip(*(part.noise for part in parts), strict=True)
        return Latent(torch.cat([part.z for part in parts]), [torch.cat(level) for level in levels])


def map_sizes(code_size: int) -> list[int]:
    """Heights of a growing map, coarse to fine: from START, or a little more, doubling to the code's."""
    sizes = [code_size]
    while sizes[0] >= 2 * START:
        sizes.insert(0, -(-sizes[0] // 2))
    return sizes


class ShapeHead(nn.Module):
    """Grows a shape map from ``w``: noise injection and AdaIN at every size, from START to the code's."""

    def __init__(self, net: NetworkConfig, form: CodeForm) -> None:
        super().__init__()
        width = net.defect_width
        self.form, self.sizes = form, map_sizes(form.size)
        levels = len(self.sizes)
        self.start = nn.Linear(net.mapping_width, width * self.sizes[0] ** 2)
        self.convs = nn.ModuleList(conv3(width, width) for _ in range(levels))
        self.noises = nn.ModuleList(NoiseInjection(width, 0.3) for _ in range(levels) if net.noise)
        self.norms = nn.ModuleList(AdaIN(width, net.mapping_width) for _ in range(levels))
        self.out = conv3(width, form.channels)
        nn.init.normal_(self.out.weight, std=1 / math.sqrt(9 * width))

    def forward(self, w: Tensor, noise: list[Tensor]) -> Tensor:
        """w (N, mapping_width) and noise maps to c in its form."""
        h = self.start(w).unflatten(1, (-1, self.sizes[0], self.sizes[0]))
        for level, (size, conv, norm) in enumerate(zip(self.sizes, self.convs, self.norms, strict=True)):
            if level:
                h = F.interpolate(h, size=(size, size), mode="bilinear", align_corners=False)
            h = conv(h)
            if self.noises:
                h = self.noises[level](h, noise[level])
            h = activate(norm(h, w))
        return self.form.activate(self.out(h))


class MappingNetwork(nn.Module):
    """(c, s) = M_y(z): a shared MLP, a style head and a shape head per domain.

    Args:
        net: dimensions.
        form: of c.
        domains: number of defect classes, the normal one included.
    """

    def __init__(self, net: NetworkConfig, form: CodeForm, domains: int) -> None:
        super().__init__()
        self.net = net
        layers: list[nn.Module] = []
        size = net.latent_dim
        for _ in range(net.mapping_layers):
            layers += [linear(size, net.mapping_width, gain=math.sqrt(2)), nn.LeakyReLU(0.2)]
            size = net.mapping_width
        self.shared = nn.Sequential(*layers)
        self.style = BranchedLinear(net.mapping_width, net.style_dim, domains)
        self.style_form = style_form(net)
        self.form = form
        self.shape = Branches(lambda: ShapeHead(net, form), domains)

    def noise_sizes(self) -> list[int]:
        """Heights of the noise maps, coarse to fine."""
        return map_sizes(self.form.size)

    def draw(self, count: int, generator: torch.Generator, device: torch.device | str = "cpu") -> Latent:
        """``count`` latents from one generator (on the CPU, so that every device draws the same)."""
        z = torch.randn(count, self.net.latent_dim, generator=generator).to(device)
        noise = [torch.randn(count, 1, h, h, generator=generator).to(device) for h in self.noise_sizes()]
        return Latent(z, noise)

    def draw_seeded(self, seeds: Sequence[int], device: torch.device | str = "cpu") -> Latent:
        """One latent per seed, each independent of its neighbours in the batch."""
        singles = [self.draw(1, torch.Generator().manual_seed(seed), device) for seed in seeds]
        return Latent.cat(singles)

    def forward(self, latent: Latent, defect: Tensor, product: Tensor | None = None) -> Codes:
        """Codes of the given target domains (N,), the same for every product, as in the paper."""
        w = self.shared(latent.z)
        styles = self.style_form(self.style(w, defect).float())
        codes = Codes(self.shape(defect, w, latent.noise), styles, defect)
        return anchored(codes) if self.net.anchor else codes
