"""What the trained models of M, E, G and D have in common in synthesis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from defectaug.device import Compute
from defectaug.methods.adversarial import Networks
from defectaug.methods.base import BundleInfo, Painted, SourceFeatures

N = TypeVar("N", bound=Networks)
M = TypeVar("M", bound="GuidedModel[Any]")


class GuidedModel(Generic[N]):
    """Codes from latents by M or from references by E, and D's classifier; part of
    :class:`defectaug.methods.base.DefectModel`."""

    def __init__(self, info: BundleInfo, networks: N, compute: Compute) -> None:
        self.info, self.networks, self.compute = info, networks, compute

    @classmethod
    def build(cls: type[M], networks: Networks, info: BundleInfo, weights: Mapping[str, Tensor], compute: Compute) -> M:
        """The networks with the given weights.

        Raises:
            RuntimeError: the weights do not fit.
        """
        networks.load_state_dict(dict(weights))
        networks.eval().requires_grad_(False)
        networks.to(compute.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return cls(info, networks, compute)

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return self.compute.device

    @torch.inference_mode()
    def latent_codes(self, defect: Tensor, seeds: Sequence[int], product: Tensor | None = None) -> Any:
        """Codes of classes (N,) from one seed each, for products (N,), -1 for one that is not known."""
        latent = self.networks.mapping.draw_seeded(seeds, self.device)
        product = torch.full_like(defect, -1) if product is None else product
        return self.networks.mapping(latent, defect.to(self.device), product.to(self.device))

    @torch.inference_mode()
    def reference_codes(self, image: Tensor, defect: Tensor, photographs: object = None, alike: object = None) -> Any:
        """Codes of the defects (N,) that the images (N, C, S, S) show; ``native`` is not looked at."""
        return self.networks.encoder(self._ready(image), defect.to(self.device))

    def with_style(self, codes: Any, seeds: Sequence[int]) -> Any:
        """The same shapes in latent styles."""
        return codes.with_style(self.latent_codes(codes.defect, seeds))

    def source_features(self, source: Tensor, normal: bool = False) -> list[SourceFeatures]:
        raise NotImplementedError

    def paint_on(self, sources: Sequence[SourceFeatures], codes: Any) -> Painted:
        raise NotImplementedError

    def paint(self, source: Tensor, codes: Any) -> Painted:
        """G(x, c, s), what it adds to the sources, and the defect's opacity."""
        return self.paint_on(self.source_features(source), codes)

    @torch.inference_mode()
    def name_defect(self, image: Tensor) -> Tensor:
        """Class numbers (N,) by D's defect classifier."""
        named: Tensor = self.networks.discriminator.name_defect(self._ready(image))
        return named

    @torch.inference_mode()
    def shows(self, image: Tensor, defect: Tensor) -> Tensor:
        """Whether D's defect classifier gives the images these classes, (N,) booleans; yes where it has none."""
        defect = defect.to(self.device)
        if self.networks.discriminator.defect is None:
            return torch.ones_like(defect, dtype=torch.bool)
        return self.name_defect(image) == defect

    def _ready(self, image: Tensor) -> Tensor:
        return image.to(self.device, memory_format=torch.channels_last)


def split_rows(*parts: Tensor) -> list[SourceFeatures]:
    """Tensors (N, ...) by their rows. Copies: a view of one row would keep the whole batch in memory."""
    rows = ([row.clone() for row in part.split(1)] for part in parts)
    return [SourceFeatures(of_one) for of_one in zip(*rows, strict=True)]


def join_rows(sources: Sequence[SourceFeatures]) -> tuple[Tensor, ...]:
    """The tensors (N, ...) that :func:`split_rows` has taken apart."""
    return tuple(torch.cat(rows) for rows in zip(*(source.parts for source in sources), strict=True))
