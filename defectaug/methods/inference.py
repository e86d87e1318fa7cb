"""What trained models have in common in synthesis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from defectaug.config.schema import Config
from defectaug.device import Compute
from defectaug.errors import ConfigError
from defectaug.methods.adversarial import Networks
from defectaug.methods.base import BundleInfo, DefectModel, GenerativeModel, Model, Painted, SourceFeatures

N = TypeVar("N", bound=nn.Module)
G = TypeVar("G", bound=Networks)


class TrainedModel(Generic[N]):
    """A bundle's networks, with its weights and on its device, and the facts about it.

    Args:
        config: all settings.
        info: facts about the bundle.
        networks: of its method.
        compute: device and precision.
    """

    def __init__(self, config: Config, info: BundleInfo, networks: N, compute: Compute) -> None:
        self.config, self.info, self.networks, self.compute = config, info, networks, compute

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return self.compute.device

    def _ready(self, image: Tensor) -> Tensor:
        return image.to(self.device, memory_format=torch.channels_last)


class GuidedModel(TrainedModel[G]):
    """Codes from latents by M or from references by E, and D's classifier; part of
    :class:`defectaug.methods.base.DefectModel`."""

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

    def features(self, x: Tensor) -> tuple[Tensor, ...]:
        """What painting on sources (N, C, S, S) takes of them, beside themselves."""
        raise NotImplementedError

    @torch.inference_mode()
    def source_features(self, source: Tensor, normal: bool = False) -> list[SourceFeatures]:
        """Each source, and :meth:`features` of it."""
        x = self._ready(source)
        with self.compute.autocast():
            return split_rows(x, *self.features(x))

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


def split_rows(*parts: Tensor) -> list[SourceFeatures]:
    """Tensors (N, ...) by their rows. Copies: a view of one row would keep the whole batch in memory."""
    rows = ([row.clone() for row in part.split(1)] for part in parts)
    return [SourceFeatures(of_one) for of_one in zip(*rows, strict=True)]


def join_rows(sources: Sequence[SourceFeatures]) -> tuple[Tensor, ...]:
    """The tensors (N, ...) that :func:`split_rows` has taken apart."""
    return tuple(torch.cat(rows) for rows in zip(*(source.parts for source in sources), strict=True))


def painting(model: Model, asked: str) -> DefectModel:
    """The model, if it paints on images.

    Args:
        asked: the option or argument that names what it is to paint on.

    Raises:
        ConfigError: it makes whole images.
    """
    if isinstance(model, GenerativeModel):
        raise ConfigError(
            f"{asked}: model {model.info.name} makes whole images from noise and changes none; use synthesize, or a "
            "model of another recipe."
        )
    return model
