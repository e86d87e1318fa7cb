"""Cut-outs: defects with what surrounds them, at the scale of their photographs, and how they are put into others.

On some surfaces a defect that is added to a filled-in image is told from real ones even with its true mask, where its
own pixels are not, in the light of their new place and with a soft rim (docs/trials.md).
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from torch import Tensor

from defectaug.io.images import as_channels, resize_float
from defectaug.io.windows import Window, box_of
from defectaug.methods.residual.defect import light_left, offset_of

Floats = NDArray[np.float32]
SIDE = 384  # pixels at most that are kept of a box's longer side
REACH, WIDEST = 2, 3  # a rim is WIDEST times as wide at most as REACH pixels of the photograph and one of the model's
SLOPE = 0.5  # of the pixels that a surface needs to change by as much: where the rim is pasted half
CLEANED = 1e-3  # change that counts, in units of [-1, 1]
DISTINCT = 0.3  # share of the light left from which a pixel of a defect is of another material than the surface
HUE = 0.5  # share of a difference in hue that is taken for one of the light
DARKEST = 0.05  # added to what ratios of light are taken of, in units of [-1, 1]
LEAST = 8  # pixels that a level or the light is measured on
QUALITY = 90  # of the pictures that a bundle keeps


def shares(pixels: Floats, level: Floats) -> Floats:
    """Pixels (h, w, C) in [-1, 1] as signed shares of the range that is left from a level (C,): towards black below 0,
    towards white above."""
    difference = torch.from_numpy(pixels - level)
    return (difference / light_left(difference, torch.from_numpy(level))).numpy()


def lit(share: Floats, level: Floats) -> Floats:
    """What :func:`shares` came from, at another level."""
    return level + offset_of(torch.from_numpy(share), torch.from_numpy(level)).numpy()


@dataclass(frozen=True)
class Cutout:
    """A defect and what surrounds it.

    Attributes:
        values: (h, w, C), shares of the light that is left from the level, by :func:`coded`.
        alpha: (h, w), 255 where the defect is.
        box: top, left, bottom, right, as shares of what the model was shown; beyond 0 and 1 where it goes on.
        level: (C,) of the surface without it, in [-1, 1], which shares and style are relative to.
        style: (C + 1,), tone and logarithm of the contrast that the defect has.
    """

    values: NDArray[np.uint8]
    alpha: NDArray[np.uint8]
    box: tuple[float, float, float, float]
    level: Tensor
    style: Tensor

    @property
    def nbytes(self) -> int:
        """Size in memory, of what counts."""
        return self.values.nbytes + self.alpha.nbytes

    def encode(self) -> bytes:
        """As a picture in a compressed file, of which the bundle holds many."""
        file = io.BytesIO()
        colours = np.broadcast_to(self.values, (*self.values.shape[:2], 3))
        pixels = np.concatenate([colours, self.alpha[..., None]], axis=2)
        Image.fromarray(np.ascontiguousarray(pixels)).save(file, "WEBP", quality=QUALITY, exact=True)
        return file.getvalue()

    @staticmethod
    def decode(content: bytes, box: Sequence[float], level: Tensor, style: Tensor) -> Cutout:
        """From what :meth:`encode` gave, and what goes with it."""
        with Image.open(io.BytesIO(content)) as image:
            pixels = np.asarray(image.convert("RGBA"))
        top, left, bottom, right = box
        values = pixels[..., :3] if len(style) == 4 else pixels[..., 1:2]
        return Cutout(values, pixels[..., 3], (top, left, bottom, right), level, style)

    @staticmethod
    def of(
        view: Floats, mask: Floats, style: Tensor, level: Tensor, scale: float, shown: Window | None = None
    ) -> Cutout | None:
        """What a view shows under a mask, and around it.

        Args:
            view: (H, W) or (H, W, 3) in [-1, 1].
            mask: (H, W) in [0, 1]; None is returned where it is empty.
            style: (C + 1,), by :func:`defectaug.methods.residual.defect.decompose`.
            level: (C,) that the style is relative to: of what the surface is like without the defect.
            scale: pixels of the view a pixel of the model's.
            shown: the part of the view that the model was shown; None: all.
        """
        height, width = view.shape[:2]
        reach = REACH + scale
        part = box_of(mask > 0.5, (WIDEST + 0.5) * reach)
        if part is None:
            return None
        pixels = as_channels(part.cut(view), len(style) - 1).astype(np.float32)
        shrunk = min(1.0, SIDE / max(part.size))
        smaller = (max(1, round(part.height * shrunk)), max(1, round(part.width * shrunk)))
        share = resize_float(shares(pixels, level.float().cpu().numpy()), smaller)
        alpha = np.rint(255 * resize_float(part.cut(mask).astype(np.float32), smaller).clip(0, 1)).astype(np.uint8)
        of = shown or Window(0, 0, height, width)
        top, left = (part.top - of.top) / of.height, (part.left - of.left) / of.width
        box = (top, left, top + part.height / of.height, left + part.width / of.width)
        return Cutout(coded(share.reshape(*smaller, -1)), alpha, box, level.float().cpu(), style.float().cpu())


def coded(share: Floats) -> NDArray[np.uint8]:
    """Shares in [-1, 1] as whole numbers, finer where they are small."""
    root = np.sign(share) * np.sqrt(np.abs(share))
    return np.rint((root.clip(-1, 1) + 1) * 127.5).astype(np.uint8)


def decoded(values: Tensor) -> Tensor:
    """What :func:`coded` came from."""
    root = values.float() / 127.5 - 1
    return root * root.abs()


def coarseness(surface: Floats, other: Floats, around: NDArray[np.bool_]) -> float:
    """Pixels over which two surfaces (h, w, C) can go over into one another without a visible edge, as far as they are
    seen in a mask (h, w): their difference over the steps that the first has by itself. 0 where there is nothing."""
    down, across = np.abs(np.diff(surface, axis=0))[:, :-1], np.abs(np.diff(surface, axis=1))[:-1]
    steps = ((down + across) / 2)[around[:-1, :-1]]
    if not steps.size:
        return 0.0
    return float(np.abs(surface - other)[around].mean() / max(float(steps.mean()), 1e-4))


def _distance(mask: Floats) -> Floats:
    """Distance (h, w) to the mask (h, w)."""
    if not (mask > 0.5).any():
        return np.full(mask.shape, np.inf, np.float32)
    return np.asarray(ndimage.distance_transform_edt(mask <= 0.5), np.float32)


def enlarged(mask: Tensor, size: tuple[int, int]) -> Floats:
    """A mask (1, S, S) as (height, width)."""
    return _sampled(mask, _grid(Window(0, 0, *size), size))[..., 0]


def _grid(part: Window, size: tuple[int, int]) -> Tensor:
    """Coordinates (1, h, w, 2), x and y in [-1, 1] of the whole, of the pixels of a part."""
    y = (torch.arange(part.height) + part.top + 0.5) * (2 / size[0]) - 1
    x = (torch.arange(part.width) + part.left + 0.5) * (2 / size[1]) - 1
    return torch.stack(torch.broadcast_tensors(x[None, :], y[:, None]), -1)[None]


def _sampled(maps: Tensor, grid: Tensor) -> Floats:
    """Maps (C, S, S) of a whole view at places (1, h, w, 2) of it: (h, w, C), as at its edge where these are beyond
    it."""
    found = F.grid_sample(maps[None].float().cpu(), grid, padding_mode="border", align_corners=False)
    return found[0].permute(1, 2, 0).numpy()


@dataclass(frozen=True)
class Pasting:
    """Puts one cut-out into a view; implements :class:`defectaug.methods.base.NativeChange`.

    Attributes:
        cutout: of the defect.
        alike: whether it comes from the source's product; else what surrounds it is kept to a narrow rim.
        kept: (1, S, S), 0 where parts of it are left out.
        cleaning: (C, S, S), what takes the source's own defect away.
        style: (C + 1,) that the defect is given.
        level: (C,) of the surface, for where nothing around the defect is known.
        hue: share of a surface's difference in hue that the defect itself takes on.
        matrix: (2, 3) from places of the source to places of the defect's own image, or None where they are the same.
        bend: (2, K, K), added to them.
        strength: factor on all that the defect differs by from the surface.
    """

    cutout: Cutout
    alike: bool
    kept: Tensor
    cleaning: Tensor
    style: Tensor
    level: Tensor
    hue: float
    matrix: Tensor | None
    bend: Tensor | None
    strength: float = 1.0

    @property
    def cleans(self) -> bool:
        """Whether the source has a defect of its own."""
        return bool(self.cleaning.any())

    def part(self, size: tuple[int, int]) -> Window:
        """What changes of a view of that height and width; it may reach beyond the view."""
        top, left, bottom, right = (2 * edge - 1 for edge in self.cutout.box)
        corners = torch.tensor([[left, top], [right, top], [left, bottom], [right, bottom]])
        if self.matrix is not None:
            back = torch.linalg.inv(self.matrix[:, :2].float())
            slack = back.abs().sum(1) * (0 if self.bend is None else float(self.bend.abs().max()))
            corners = (corners - self.matrix[:, 2].float()) @ back.T
            corners = torch.cat([corners - slack, corners + slack])
        scale = torch.tensor([size[1] / 2, size[0] / 2])
        low = ((corners.amin(0) + 1) * scale).floor().int().tolist()
        high = ((corners.amax(0) + 1) * scale).ceil().int().tolist()
        cleaning = self.cleaning.abs().amax(0, keepdim=True)
        cleaned = box_of(enlarged(cleaning, size) > CLEANED, 0) if self.cleans else None
        if cleaned is not None:
            low = [min(low[0], cleaned.left), min(low[1], cleaned.top)]
            high = [max(high[0], cleaned.left + cleaned.width), max(high[1], cleaned.top + cleaned.height)]
        return Window(low[1], low[0], max(1, high[1] - low[1]), max(1, high[0] - low[0]))

    def __call__(self, pixels: Floats, part: Window, size: tuple[int, int]) -> tuple[Floats, Floats]:
        """The change (h, w, C), for pixels (h, w, C) of that part, in [-1, 1], and where the defect is, (h, w)."""
        grid = _grid(part, size)
        cleaning = _sampled(self.cleaning, grid) * _inside(grid)[..., None] if self.cleans else np.float32(0)
        surface = (pixels + cleaning).clip(-1, 1)
        share, known, there = self._moved(grid)
        scale = (size[0] * size[1]) ** 0.5 / self.kept.shape[-1]
        away = _distance(there)
        around = (away > scale) & (away < WIDEST * (REACH + scale)) & (known > 0.95)
        own = self.cutout.level.numpy()
        light = self.light(surface, lit(share, own), around)
        painted = (lit(share, own) + 1) * light - 1
        reach = min(max(scale, SLOPE * coarseness(surface, painted, around)), WIDEST * (REACH + scale))
        cover = known * self.cover(there, away / reach if self.alike else 0.5 + away / scale)
        painted += there[..., None] * (self._defect(self.restyled(share, there), light) - painted)
        return np.asarray(cover[..., None] * (painted.clip(-1, 1) - surface) + cleaning, np.float32), there

    def _defect(self, share: Floats, light: Floats) -> Floats:
        """The defect (h, w, C) in its new light (C,). What of it is the surface seen again changes as the surface does;
        the rest keeps its share of the light that is left, so that a bright scratch stays bright in shadow, and takes
        on a part of the hue alone: a paler surface may be of another material, which would make a dark crack blue."""
        own = self.cutout.level.numpy()
        common = np.exp(np.log(light).mean())
        level = ((own + 1) * common * (light / common) ** self.hue - 1).clip(-1, 1)
        surface = (lit(share, own) + 1) * light - 1
        distinct = (np.abs(share).max(axis=2, keepdims=True) / DISTINCT).clip(max=1)
        return np.asarray(surface + distinct * (lit(share, level) - surface), np.float32)

    def cover(self, there: Floats, away: Floats) -> Floats:
        """How much of the image is replaced (h, w), by where the defect is and by the distance to it, as a
        share of that at which the rim is pasted half."""
        rim = (away - 0.5).clip(0, 1)
        return np.asarray(1 - rim * rim * (3 - 2 * rim), np.float32)

    def light(self, surface: Floats, brought: Floats, around: NDArray[np.bool_]) -> Floats:
        """What to multiply the light of the defect's image by, (C,), so that what came with the defect (h, w, C) is
        like the surface (h, w, C) that it comes upon, as far as both are seen in a mask (h, w)."""
        if np.count_nonzero(around) < LEAST:
            surface, brought = self.level.numpy()[None], self.cutout.level.numpy()[None]
            around = np.ones(1, bool)
        ratios = (surface[around] + 1 + DARKEST) / (brought[around] + 1 + DARKEST)
        return np.asarray(np.median(ratios, axis=0), np.float32)

    def restyled(self, share: Floats, there: Floats) -> Floats:
        """AdaIN of shares (h, w, C) where the defect is (h, w): its own tone and contrast taken out, the style's put
        in; less so where a mask holds some of the surface, which would come out as an outline or a halo in the defect's
        new tone. Contrast is about the mean of these shares: where a defect covers most of its surface, they are
        relative to another level than the style's tone is."""
        own, new = self.cutout.style.numpy(), self.style.numpy()
        weight = there[..., None]
        mean = (share * weight).sum((0, 1)) / weight.sum() if weight.sum() > LEAST else own[:-1]
        styled = (share - mean) * np.exp(new[-1] - own[-1]) + mean + new[:-1] - own[:-1]
        usual = np.sqrt(np.square(own[:-1]).mean() + np.exp(2 * own[-1]))
        unlike = (np.abs(share).max(axis=2, keepdims=True) / usual).clip(max=1)
        return np.asarray(self.strength * (share + unlike * (styled - share)), np.float32)

    def _moved(self, grid: Tensor) -> tuple[Floats, Floats, Floats]:
        """The cut-out as it comes to lie at places (1, h, w, 2): shares (h, w, C), (h, w) how far they are known, and
        (h, w) where the defect is."""
        place = grid
        if self.matrix is not None:
            matrix = self.matrix.float()
            place = grid @ matrix[:, :2].T + matrix[:, 2]
            if self.bend is not None:
                field = F.grid_sample(self.bend[None], grid, mode="bicubic", padding_mode="border", align_corners=False)
                place = place + field.permute(0, 2, 3, 1)
        top, left, bottom, right = (2 * edge - 1 for edge in self.cutout.box)
        low, span = torch.tensor([left, top]), torch.tensor([right - left, bottom - top])
        place = (place - low) * (2 / span) - 1
        values = decoded(torch.from_numpy(self.cutout.values.copy())).permute(2, 0, 1)[None]
        share = F.grid_sample(values, place, mode="bicubic", padding_mode="border", align_corners=False)
        alpha = torch.from_numpy(self.cutout.alpha.copy()).float()[None, None] / 255
        maps = torch.cat([torch.ones_like(alpha), alpha], dim=1)
        known, there = F.grid_sample(maps, place, align_corners=False)[0].numpy()
        kept = np.where(_inside(grid), _sampled(self.kept, grid)[..., 0], 1)
        shares_there = np.asarray(share[0].permute(1, 2, 0).numpy().clip(-1, 1), np.float32)
        return shares_there, known, np.asarray(there * kept, np.float32)


def _inside(grid: Tensor) -> NDArray[np.bool_]:
    """(h, w) whether places (1, h, w, 2) lie in the whole that they are places of."""
    return np.asarray((grid[0].abs() <= 1).all(-1).numpy())
