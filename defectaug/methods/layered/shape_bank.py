"""M of the layered form: a bank of the shapes that E finds in references, and new ones drawn by warping them.

Not in the paper, whose M learns to draw from noise (:mod:`defectaug.methods.dtgan.mapping`). Tens of shapes are too
few for that: networks in this place, taught by D, by a critic or as a decoder of a variational autoencoder,
collapsed, or drew blurred fragments. Here a latent decides which of the stored shapes is taken, how it is turned,
stretched and warped, how strong it is, where it lies, and which style of its class it leans to.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from defectaug.config.schema import NetworkConfig
from defectaug.methods.dtgan.codes import Codes, normalised
from defectaug.methods.dtgan.mapping import Latent
from defectaug.methods.layered.codes import LayerForm

NUMBERS = 12  # of which a latent is made
TURN, SIZE, STRETCH = math.radians(12), 0.15, 0.12  # CHOICE: standard deviations; of the logarithms of the last two
WARP, KNOTS = 0.03, 4  # CHOICE: of half the side, at so many places along it
STRENGTH = 0.12  # CHOICE
OWN = 0.75  # CHOICE: how often a shape of the product itself is taken, where there is one; others make for variety
FAINTEST = 0.6  # CHOICE: opacity that the clearest part of a shape has at least, or nobody would see the defect
SHARPEN = 1.05  # CHOICE: what interpolation takes from a thin stroke


class ShapeBank(nn.Module):
    """(c, s) = M_y(z): stored shapes of the class y, warped by z. It has buffers alone, no weights.

    Args:
        net: dimensions; ``net.memory`` shapes are kept, an even share of them for every class.
        form: of c.
        domains: number of classes, the normal one included.
    """

    shapes: Tensor
    styles: Tensor
    centres: Tensor
    products: Tensor
    keys: Tensor

    def __init__(self, net: NetworkConfig, form: LayerForm, domains: int) -> None:
        super().__init__()
        self.share = max(net.memory // max(domains - 1, 1), 1)
        slots = self.share * (domains - 1)
        side = net.image_size
        self.register_buffer("shapes", torch.zeros(slots, form.layers, side, side, dtype=torch.uint8))
        self.register_buffer("styles", torch.zeros(slots, net.style_dim))
        self.register_buffer("centres", torch.zeros(slots, 2))  # shares of the side from the middle, down and right
        self.register_buffer("products", torch.full((slots,), -1))
        self.register_buffer("keys", torch.full((slots,), -1))  # of the images they were seen in; -1: nothing there

    def draw(self, count: int, generator: torch.Generator, device: torch.device | str = "cpu") -> Latent:
        """``count`` latents from one generator (on the CPU, so that every device draws the same)."""
        z = torch.randn(count, NUMBERS, generator=generator).to(device)
        return Latent(z, [torch.randn(count, 2, KNOTS, KNOTS, generator=generator).to(device)])

    def draw_seeded(self, seeds: Sequence[int], device: torch.device | str = "cpu") -> Latent:
        """One latent per seed, each independent of its neighbours in the batch."""
        return Latent.cat([self.draw(1, torch.Generator().manual_seed(seed), device) for seed in seeds])

    @torch.no_grad()
    def forward(self, latent: Latent, defect: Tensor, product: Tensor | None = None) -> Codes:
        """Codes of the given target classes (N,); zero maps where nothing of a class is stored.

        Args:
            product: numbers (N,) of the products that they are for, -1 for one that is not known.
        """
        even = 0.5 + 0.5 * torch.erf(latent.z / math.sqrt(2))  # evenly distributed in [0, 1]
        wanted = torch.full_like(defect, -1) if product is None else product
        own = wanted.where(even[:, 11] < OWN, -1)
        slots, others, low, high = self._choose(even[:, :2], defect, own)
        c = self.shapes[slots].float() / 255 * (slots >= 0)[:, None, None, None]
        styles = self.styles[slots].lerp(self.styles[others], even[:, 2:3] / 2)
        c = warped(c, latent, torch.lerp(low, high, even[:, 3:5]))
        strength = SHARPEN * (1 + STRENGTH * latent.z[:, 5].clamp(-2, 1))
        strength = torch.maximum(strength, FAINTEST / c.amax((1, 2, 3)).clamp(min=0.05))
        return Codes((c * strength[:, None, None, None]).clamp(max=0.99), normalised(styles), defect)

    def _choose(self, even: Tensor, defect: Tensor, own: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Two slots (N,) of each class, by numbers (N, 2) in [0, 1], those of the product ``own`` (N,) where there are
        any, -1 where the class has none; and the reach of the class's centres, (N, 2) each."""
        keys, products = torch.stack([self.keys, self.products]).tolist()  # two transfers from a GPU are all
        rows = torch.stack([*even.unbind(1), defect.float(), own.float()], dim=1).tolist()
        filled = {number: self._filled(keys, int(number)) for _, _, number, _ in rows}
        chosen = []
        for *numbers, number, product in rows:
            known = [slot for slot in filled[number] if products[slot] == product] or filled[number]
            chosen.append([known[min(int(n * len(known)), len(known) - 1)] if known else -1 for n in numbers])
        reach = torch.zeros(2, 1 + len(keys) // self.share, 2, device=defect.device)
        for number, slots in filled.items():
            if slots:
                reach[:, int(number)] = torch.stack(self.centres[slots].aminmax(dim=0))
        low, high = reach[:, defect]
        first, second = torch.tensor(chosen, dtype=torch.long, device=defect.device).view(-1, 2).unbind(1)
        return first, second, low, high

    def _filled(self, keys: list[int], defect: int) -> list[int]:
        """Slots of a class in which there is a shape; the normal one has none."""
        return [slot for slot in range(max(defect - 1, 0) * self.share, defect * self.share) if keys[slot] >= 0]


def warped(c: Tensor, latent: Latent, place: Tensor) -> Tensor:
    """Maps (N, L, S, S), in the middle, turned, stretched, mirrored and warped by the latents, and put at places
    (N, 2), shares of the side from the middle."""
    z = latent.z
    angle, size = TURN * z[:, 6], torch.exp(SIZE * z[:, 7].clamp(-2, 1.5))
    stretch = torch.exp(STRETCH * z[:, 8].clamp(-2, 2))
    across, down = torch.sign(z[:, 9]) / (size * stretch), torch.sign(z[:, 10]) * stretch / size
    cos, sin = torch.cos(angle), torch.sin(angle)
    # From a place in the new map to the one in the old that it shows.
    turn = torch.stack([torch.stack([across * cos, -across * sin], 1), torch.stack([down * sin, down * cos], 1)], 1)
    moved_by = -(turn @ (2 * place.flip(1))[:, :, None])
    grid = F.affine_grid(torch.cat([turn, moved_by], dim=2), list(c.shape), align_corners=False)
    field = F.interpolate(WARP * latent.noise[0], size=c.shape[-2:], mode="bicubic", align_corners=False)
    with torch.autocast(c.device.type, enabled=False):
        shown = F.grid_sample(c, grid + field.permute(0, 2, 3, 1), mode="bicubic", align_corners=False)
    return shown.clamp(min=0)
