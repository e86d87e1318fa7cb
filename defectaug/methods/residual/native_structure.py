"""Structure of defects at the scale of their own photographs, where the networks see them squeezed."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from defectaug.io.images import as_channels, resize_float
from defectaug.io.windows import Window
from defectaug.methods.residual.defect import light_left, masked_mean, offset_of

Floats = NDArray[np.float32]
SIDE = 384  # pixels at most that are kept of a box's longer side
CLIP = 6.0  # standard deviations that are kept; at native scale single grains stand out further
LARGER = 1.25  # times the model's size, from which a photograph holds more than the model sees
RIM = 2  # pixels of the model's around the mask
QUALITY = 90  # of the pictures that a bundle keeps


@dataclass(frozen=True)
class NativeStructure:
    """What a defect adds to its clean image, in units of its contrast, about its tone.

    Attributes:
        values: (h, w, C) in [-CLIP, CLIP] as whole numbers 0 to 255.
        box: top, left, bottom, right of the part of the view that it covers, as shares.
    """

    values: NDArray[np.uint8]
    box: tuple[float, float, float, float]

    def encode(self) -> bytes:
        """As a picture in a compressed file, of which the bundle holds many."""
        file = io.BytesIO()
        pixels = self.values[..., 0] if self.values.shape[2] == 1 else self.values
        Image.fromarray(np.ascontiguousarray(pixels)).save(file, "WEBP", quality=QUALITY)
        return file.getvalue()

    @staticmethod
    def decode(content: bytes, box: Sequence[float], channels: int) -> NativeStructure:
        """From what :meth:`encode` gave."""
        with Image.open(io.BytesIO(content)) as image:
            pixels = np.asarray(image.convert("L" if channels == 1 else "RGB"))
        top, left, bottom, right = box
        return NativeStructure(pixels.reshape(*pixels.shape[:2], channels), (top, left, bottom, right))

    @staticmethod
    def of(view: Floats, clean: Tensor, mask: Tensor, style: Tensor, most: int = SIDE) -> NativeStructure | None:
        """The structure under a mask.

        Args:
            view: (H, W) or (H, W, 3) in [-1, 1], at native scale.
            clean: (C, S, S), the same squeezed, without its defect.
            mask: (1, S, S); None is returned where it is empty, or the view hardly larger than the model's square.
            style: (C + 1,), by :func:`defectaug.methods.residual.defect.decompose`.
        """
        size, height, width = mask.shape[-1], *view.shape[:2]
        rows, columns = (mask[0].amax(dim) > 0.5 for dim in (1, 0))
        if max(height, width) < LARGER * size or not rows.any():
            return None
        (top, bottom), (left, right) = (_reach(line, size) for line in (rows, columns))
        part = _scaled(top, bottom, left, right, size, (height, width))
        channels = len(clean)
        pixels = as_channels(part.cut(view), channels)
        plain = _sampled(clean, part, (height, width))
        level = masked_mean(clean[None], mask[None]).flatten().float().cpu()
        difference = torch.from_numpy(np.asarray(pixels - plain, np.float32))
        share = difference / light_left(difference, level)
        structure = np.asarray((share - style[:-1].float().cpu()) / float(style[-1].exp()), np.float32)
        scale = min(1.0, most / max(part.size))
        structure = resize_float(structure, (max(1, round(part.height * scale)), max(1, round(part.width * scale))))
        values = np.rint((structure.reshape(*structure.shape[:2], channels) / CLIP + 1).clip(0, 2) * 127.5)
        down, right = (part.top + part.height) / height, (part.left + part.width) / width
        return NativeStructure(values.astype(np.uint8), (part.top / height, part.left / width, down, right))


def _reach(line: Tensor, size: int) -> tuple[int, int]:
    """First and last pixel of a projection, with a rim."""
    found = line.nonzero().flatten()
    return max(0, int(found[0]) - RIM), min(size, int(found[-1]) + 1 + RIM)


def _scaled(top: int, bottom: int, left: int, right: int, size: int, view: tuple[int, int]) -> Window:
    """Pixels of the model's square as those of a view (height, width), none of them cut."""
    height, width = view
    low, first = top * height // size, left * width // size
    return Window(low, first, -(-bottom * height // size) - low, -(-right * width // size) - first)


def _grid(part: Window, size: tuple[int, int]) -> Tensor:
    """Coordinates (1, h, w, 2), x and y in [-1, 1] of the whole, of the pixels of a part."""
    y = (torch.arange(part.height) + part.top + 0.5) * (2 / size[0]) - 1
    x = (torch.arange(part.width) + part.left + 0.5) * (2 / size[1]) - 1
    return torch.stack(torch.broadcast_tensors(x[None, :], y[:, None]), -1)[None]


def _sampled(maps: Tensor, part: Window, size: tuple[int, int]) -> Floats:
    """Maps (C, S, S) of a whole view enlarged to a part of it: (h, w, C)."""
    found = F.grid_sample(maps[None].float().cpu(), _grid(part, size), padding_mode="border", align_corners=False)
    return found[0].permute(1, 2, 0).numpy()


@dataclass(frozen=True)
class NativePainting:
    """Paints one defect at native scale; implements :class:`defectaug.methods.base.NativeChange`.

    Attributes:
        structure: of the defect, or None: then the enlarged ``delta`` is all.
        delta: (C, S, S), the change at the model's size.
        opacity: (1, S, S).
        filled: (C, S, S), the source with what lies under the mask filled in.
        correction: (C, S, S), what G adds.
        cleaning: (C, S, S), what takes the source's own defect away.
        tone: (C,); ``contrast`` of the structure; ``level`` (C,) of the surface.
        matrix: (2, 3) from places of the source to places of the defect's own image, or None where they are the same.
        bend: (2, K, K), added to them.
    """

    structure: NativeStructure
    delta: Tensor
    opacity: Tensor
    filled: Tensor
    correction: Tensor
    cleaning: Tensor
    tone: Tensor
    contrast: float
    level: Tensor
    matrix: Tensor | None
    bend: Tensor | None

    def part(self, size: tuple[int, int]) -> Window:
        """What of a view of that height and width changes."""
        changed = (self.delta.abs().amax(0) > 1e-3) | (self.opacity[0] > 0)
        if not changed.any():
            return Window(0, 0, 1, 1)
        (top, bottom), (left, right) = (_reach(changed.any(dim), len(changed)) for dim in (1, 0))
        return _scaled(top, bottom, left, right, len(changed), size)

    def __call__(self, pixels: Floats, part: Window, size: tuple[int, int]) -> Floats:
        """The change (h, w, C), for pixels (h, w, C) of that part, in [-1, 1]."""
        channels = len(self.delta)
        maps = torch.cat([self.opacity, self.filled, self.correction, self.cleaning]).float()
        found = _sampled(maps, part, size)
        opacity, rest = found[..., :1], found[..., 1:]
        filled, correction, cleaning = (rest[..., i * channels : (i + 1) * channels] for i in range(3))
        share = torch.from_numpy(self._structure(part, size)) * self.contrast + self.tone
        added = offset_of(share, self.level).numpy()
        return np.asarray(opacity * (filled - pixels - cleaning + added) + correction + cleaning, np.float32)

    def _structure(self, part: Window, size: tuple[int, int]) -> Floats:
        """The structure (h, w, C) where it comes to lie in the part."""
        grid = _grid(part, size)
        if self.matrix is not None:
            matrix = self.matrix.float()
            place = grid @ matrix[:, :2].T + matrix[:, 2]
            if self.bend is not None:
                field = F.grid_sample(self.bend[None], grid, mode="bicubic", padding_mode="border", align_corners=False)
                place = place + field.permute(0, 2, 3, 1)
            grid = place
        top, left, bottom, right = (2 * edge - 1 for edge in self.structure.box)
        low, span = torch.tensor([left, top]), torch.tensor([right - left, bottom - top])
        values = torch.from_numpy(self.structure.values.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
        found = F.grid_sample(values, (grid - low) * (2 / span) - 1, mode="bicubic", align_corners=False)
        return np.asarray(CLIP * found[0].permute(1, 2, 0).numpy(), np.float32)
