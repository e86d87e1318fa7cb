"""What synthesis needs of a trained model, whatever method it is of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from defectaug.methods.dtgan.codes import Codes


@dataclass(frozen=True)
class BundleInfo:
    """What a bundle says of itself.

    Attributes:
        path: the model folder; ``name`` is its name.
        products, defects: class names in the order of the networks' outputs; the normal class is the first defect.
        image_size, channels: what the networks take.
        white: white level of 16-bit training data, 255 for 8-bit.
        framing: ``whole`` images squeezed to ``image_size``, or ``crop`` windows at native scale.
        data_root, class_map, normal_name: where the training data was and how it was read, or None.
        weights_sha256: of ``model.safetensors``.
    """

    path: Path
    name: str
    products: tuple[str, ...]
    defects: tuple[str, ...]
    image_size: int
    channels: int
    white: int
    framing: str
    data_root: str | None
    class_map: str | None
    normal_name: str | None
    weights_sha256: str

    @property
    def normal(self) -> str:
        """Name of the normal class."""
        return self.defects[0]


@dataclass(frozen=True)
class Painted:
    """Result of painting: ``image`` (N, C, S, S) in [-1, 1]; ``delta`` (N, C, S, S), what has to be added to the
    source; ``opacity`` (N, 1, S, S) in [0, 1] of the painted defect."""

    image: Tensor
    delta: Tensor
    opacity: Tensor


@dataclass(frozen=True)
class Reading:
    """What a model took from one source, to paint on it any number of times; ``parts`` (1, ...) are its own affair."""

    parts: tuple[Tensor, ...]

    @property
    def nbytes(self) -> int:
        """Size in memory."""
        return sum(part.numel() * part.element_size() for part in self.parts)


class DefectModel(Protocol):
    """A trained model. Images are (N, C, S, S) in [-1, 1], classes (N,) numbers into ``info.defects``."""

    @property
    def info(self) -> BundleInfo:
        """What the bundle says of itself."""
        ...

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        ...

    def latent_codes(self, defect: Tensor, seeds: Sequence[int], product: Tensor | None = None) -> Codes:
        """Codes of classes (N,) from latents; each depends on its own seed alone.

        Args:
            product: numbers (N,) of the products they are for, -1 for one that is not known.
        """
        ...

    def reference_codes(self, image: Tensor, defect: Tensor) -> Codes:
        """Codes of the defects that the images show."""
        ...

    def with_style(self, codes: Codes, seeds: Sequence[int]) -> Codes:
        """The same shapes in latent styles."""
        ...

    def read(self, source: Tensor) -> list[Reading]:
        """Reads sources, the larger part of the work of painting on them."""
        ...

    def paint_on(self, sources: Sequence[Reading], codes: Codes) -> Painted:
        """:meth:`paint` on sources that were read before, as many as there are codes."""
        ...

    def paint(self, source: Tensor, codes: Codes) -> Painted:
        """Paints a defect on every source; a source's own defect is taken away."""
        ...

    def restore(self, source: Tensor) -> Painted:
        """Takes the defect away: G(x, anchor)."""
        ...

    def name_defect(self, image: Tensor) -> Tensor:
        """Class numbers of the defects that the images show."""
        ...

    def shows(self, image: Tensor, defect: Tensor) -> Tensor:
        """Whether the images show these defects, (N,) booleans, as far as the model can tell."""
        ...
