"""M of the layered form: it remembers the shapes that E reads, and draws new ones by bending them.

Not in the paper, whose M learns to draw from noise (:mod:`defectaug.methods.dtgan.mapping`). Tens of shapes are too
few for that: networks in this place, taught by D, by a critic or as a decoder of a variational autoencoder,
collapsed, or drew blurred fragments. Here a latent says which of the remembered shapes is taken, how it is turned,
stretched and bent, how strong it is, where it lies, and which style of its class it leans to.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from defectaug.config.schema import NetworkConfig
from defectaug.methods.dtgan.anchor import NORMAL
from defectaug.methods.dtgan.codes import Codes, LayerForm, normalised
from defectaug.methods.dtgan.mapping import Latent
from defectaug.nn.augment import moved
from defectaug.nn.blocks import dilated

RIM = 4  # CHOICE: pixels at the image's edge that no shape is read from: padding shows there
NEAR = 8  # CHOICE: pixels from a clear part of a defect within which faint parts belong to it
NUMBERS = 12  # of which a latent is made
TURN, SIZE, STRETCH = math.radians(12), 0.15, 0.12  # CHOICE: standard deviations; of the logarithms of the last two
BEND, KNOTS = 0.03, 4  # CHOICE: of half the side, at so many places along it
STRENGTH = 0.12  # CHOICE
OWN = 0.75  # CHOICE: how often a shape of the product itself is taken, where there is one; others make for variety
FAINTEST = 0.6  # CHOICE: opacity that the clearest part of a shape has at least, or nobody would see the defect
SHARPEN = 1.05  # CHOICE: what interpolation takes from a thin stroke


class ShapeMemory(nn.Module):
    """(c, s) = M_y(z): remembered shapes of the class y, bent as z says. It has buffers alone, no weights.

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
        self.register_buffer("keys", torch.full((slots,), -1))

    # --- remembering -----------------------------------------------------------------------------------------

    @torch.no_grad()
    def remember(self, codes: Codes, products: Tensor, keys: Tensor) -> None:
        """Keeps codes of E, moved to the middle, and the products (N,) that show them; ``keys`` (N,) name their images,
        so that each is kept once."""
        c = tidied(codes.c)
        at = centres(c)
        c = moved(c, -(at * c.shape[-1]).round().long())
        for row, (defect, key) in enumerate(zip(codes.defect.tolist(), keys.tolist(), strict=True)):
            if defect != NORMAL and bool(c[row].any()):
                slot = self._slot(defect, key)
                self.shapes[slot] = (255 * c[row]).round().to(torch.uint8)
                self.styles[slot], self.centres[slot] = codes.s[row].float(), at[row]
                self.products[slot], self.keys[slot] = products[row], key

    def _slot(self, defect: int, key: int) -> int:
        """That of the image if it has one, else a free one, else one that its key falls on."""
        kept = self.keys[self._of(defect)].tolist()
        first = self._of(defect).start
        if key in kept:
            return first + kept.index(key)
        return first + (kept.index(-1) if -1 in kept else key % self.share)

    def _of(self, defect: int) -> slice:
        """The slots of a class; the normal one has none."""
        return slice(max(defect - 1, 0) * self.share, defect * self.share)

    # --- drawing ---------------------------------------------------------------------------------------------

    def draw(self, count: int, generator: torch.Generator, device: torch.device | str = "cpu") -> Latent:
        """``count`` latents from one generator (on the CPU, so that every device draws the same)."""
        z = torch.randn(count, NUMBERS, generator=generator).to(device)
        return Latent(z, [torch.randn(count, 2, KNOTS, KNOTS, generator=generator).to(device)])

    def draw_seeded(self, seeds: Sequence[int], device: torch.device | str = "cpu") -> Latent:
        """One latent per seed, each independent of its neighbours in the batch."""
        return Latent.cat([self.draw(1, torch.Generator().manual_seed(seed), device) for seed in seeds])

    @torch.no_grad()
    def forward(self, latent: Latent, defect: Tensor, product: Tensor | None = None) -> Codes:
        """Codes of the given target classes (N,); zero maps where nothing of a class is remembered.

        Args:
            product: numbers (N,) of the products that they are for, -1 for one that is not known.
        """
        even = 0.5 + 0.5 * torch.erf(latent.z / math.sqrt(2))  # evenly distributed in [0, 1]
        wanted = torch.full_like(defect, -1) if product is None else product
        own = wanted.where(even[:, 11] < OWN, -1)
        slots, others = (self._pick(even[:, n], defect, own) for n in (0, 1))
        c = self.shapes[slots].float() / 255 * (slots >= 0)[:, None, None, None]
        styles = self.styles[slots].lerp(self.styles[others], even[:, 2:3] / 2)
        c = bent(c, latent, self._places(even[:, 3:5], defect))
        strength = SHARPEN * (1 + STRENGTH * latent.z[:, 5].clamp(-2, 1))
        strength = torch.maximum(strength, FAINTEST / c.amax((1, 2, 3)).clamp(min=0.05))
        return Codes((c * strength[:, None, None, None]).clamp(max=0.99), normalised(styles), defect)

    def _known(self, defect: int) -> Tensor:
        """Slots in which something of a class is remembered."""
        return self._of(defect).start + (self.keys[self._of(defect)] >= 0).nonzero().flatten()

    def _pick(self, even: Tensor, defect: Tensor, own: Tensor) -> Tensor:
        """(N,) slots of the classes, chosen by numbers in [0, 1], of the product ``own`` where there are any; -1 where
        nothing is remembered."""
        slots = []
        for share, number, product in zip(even.tolist(), defect.tolist(), own.tolist(), strict=True):
            all_known = self._known(number)
            known = all_known[self.products[all_known] == product].tolist() or all_known.tolist()
            slots.append(known[min(int(share * len(known)), len(known) - 1)] if known else -1)
        return torch.tensor(slots, dtype=torch.long, device=defect.device)

    def _places(self, even: Tensor, defect: Tensor) -> Tensor:
        """(N, 2) places within the reach of what is remembered of the classes."""
        places = torch.zeros_like(even)
        for row, number in enumerate(defect.tolist()):
            known = self.centres[self._known(number)]
            if len(known):
                places[row] = torch.lerp(known.amin(0), known.amax(0), even[row])
        return places


def tidied(c: Tensor) -> Tensor:
    """Maps (N, L, S, S) without the image's edge, and without faint parts far from the clear ones: of a weave or a ring
    that E has half taken for a defect, nothing is to be painted elsewhere."""
    inside = c.shape[-1] - 2 * RIM
    c = c.float() * F.pad(c.new_ones(1, 1, inside, inside), [RIM] * 4)
    covered = c.amax(1, keepdim=True)
    clear = (covered > 0.5 * covered.amax((2, 3), keepdim=True)).to(c.dtype)
    return c * dilated(clear, NEAR)


def centres(c: Tensor) -> Tensor:
    """Centres of maps (N, L, S, S) as (N, 2) shares of the side from the middle; 0 where there is nothing."""
    weights = c.sum(1)
    axis = (torch.arange(c.shape[-1], device=c.device) + 0.5) / c.shape[-1] - 0.5
    weights = weights / weights.sum((1, 2), keepdim=True).clamp(min=1e-6)
    return torch.stack([weights.sum(2) @ axis, weights.sum(1) @ axis], dim=1)


def bent(c: Tensor, latent: Latent, place: Tensor) -> Tensor:
    """Maps (N, L, S, S), in the middle, turned, stretched, mirrored and bent as the latents say, and put at places
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
    field = F.interpolate(BEND * latent.noise[0], size=c.shape[-2:], mode="bicubic", align_corners=False)
    with torch.autocast(c.device.type, enabled=False):
        shown = F.grid_sample(c, grid + field.permute(0, 2, 3, 1), mode="bicubic", align_corners=False)
    return shown.clamp(min=0)
