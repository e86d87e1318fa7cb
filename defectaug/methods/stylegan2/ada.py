"""Adaptive discriminator augmentation (Karras et al. 2020b): each kind of change happens to an image with a chance p,
and p is steered by how sure D is of real images."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EVERY = 4  # steps between two changes of p


class Adaptive(nn.Module):
    """The augmentation, with its state.

    Args:
        target: mean sign of D's logits at real images that p is steered to (section 3.1).
        images: images in which p can go from 0 to 1.
    """

    chance: Tensor
    signs: Tensor

    def __init__(self, target: float, images: int) -> None:
        super().__init__()
        self.target, self.images = target, images
        self.register_buffer("chance", torch.zeros(()))
        self.register_buffer("signs", torch.zeros(2))  # sum of the mean signs, and steps, since p was changed

    def forward(self, x: Tensor, rng: torch.Generator) -> Tensor:
        """Images (N, C, S, S) as D sees them."""
        return recoloured(moved(x, float(self.chance), rng), float(self.chance), rng)

    @torch.no_grad()
    def adjust(self, sign: float, count: int) -> None:
        """Takes the mean sign of D at the ``count`` real images of a step; every fourth time p goes up or down."""
        self.signs += torch.tensor([sign, 1.0], device=self.signs.device)
        if self.signs[1] == EVERY:
            by = torch.sign(self.signs[0] / EVERY - self.target) * count * EVERY / self.images
            self.chance.copy_((self.chance + by).clamp(0, 1))
            self.signs.zero_()


def moved(x: Tensor, chance: float, rng: torch.Generator) -> Tensor:
    """Mirrored, turned by quarters, moved, scaled, turned and stretched, each with the given chance; what comes in is
    reflected. Strengths are those of appendix B; interpolation is bilinear."""
    count = len(x)

    def coin() -> Tensor:
        return (torch.rand(count, generator=rng) < chance).float()

    def normal(deviation: float) -> Tensor:
        return torch.randn(count, generator=rng) * deviation

    def uniform(low: float, high: float) -> Tensor:
        return torch.rand(count, generator=rng) * (high - low) + low

    one, zero = torch.ones(count), torch.zeros(count)
    mirror = 1 - 2 * coin() * torch.randint(0, 2, (count,), generator=rng)
    quarters = coin() * torch.randint(0, 4, (count,), generator=rng) * (math.pi / 2)
    scale = 2 ** (coin() * normal(0.2))
    turn = coin() * uniform(-math.pi, math.pi)
    stretch = 2 ** (coin() * normal(0.2))
    by = coin()[:, None] * torch.randn(count, 2, generator=rng) * 0.125 * 2  # of the side, which spans [-1, 1]
    angle = quarters + turn
    cos, sin = torch.cos(angle), torch.sin(angle)
    turned = torch.stack([torch.stack([cos, -sin], 1), torch.stack([sin, cos], 1)], 1)
    shape = torch.diag_embed(torch.stack([mirror * scale * stretch, scale / stretch], 1))
    place = torch.cat([turned @ shape, by[:, :, None]], 2)
    if torch.equal(place, torch.stack([torch.stack([one, zero, zero], 1), torch.stack([zero, one, zero], 1)], 1)):
        return x
    grid = F.affine_grid(place.to(x.device), list(x.shape), align_corners=False)
    return F.grid_sample(x.float(), grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def recoloured(x: Tensor, chance: float, rng: torch.Generator) -> Tensor:
    """Brightness, contrast, inverted brightness, hue and saturation, each with the given chance, as one matrix of the
    colours; of grey images the first two alone."""
    count, channels = x.shape[:2]

    def coin() -> Tensor:
        return (torch.rand(count, generator=rng) < chance).float()

    brightness = coin() * torch.randn(count, generator=rng) * 0.2
    contrast = 2 ** (coin() * torch.randn(count, generator=rng) * 0.5)
    invert = coin() * torch.randint(0, 2, (count,), generator=rng)
    hue = coin() * (torch.rand(count, generator=rng) * 2 - 1) * math.pi
    saturation = 2 ** (coin() * torch.randn(count, generator=rng))
    matrix = contrast[:, None, None] * torch.eye(channels)
    if channels == 3:
        axis = torch.full((3,), 1 / math.sqrt(3))
        grey = torch.outer(axis, axis)
        cross = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
        cos, sin = torch.cos(hue)[:, None, None], torch.sin(hue)[:, None, None]
        spin = saturation[:, None, None] * (cos * (torch.eye(3) - grey) + sin * cross)
        matrix = matrix @ ((1 - 2 * invert)[:, None, None] * grey + spin)
    h = torch.einsum("nij,njhw->nihw", matrix.to(x.device), x.float())
    return h + brightness.to(x.device)[:, None, None, None]
