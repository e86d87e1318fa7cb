"""A trained Defect-GAN as synthesis uses it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from defectaug.methods.adversarial import NORMAL
from defectaug.methods.base import Painted, SourceFeatures
from defectaug.methods.defectgan.model import DefectGAN
from defectaug.methods.inference import GuidedModel, join_rows
from defectaug.methods.layers import Layers


@dataclass(frozen=True)
class Codes:
    """Classes (N,), and noise (N, 1, h, w) for each level of G."""

    defect: Tensor
    noise: tuple[Tensor, ...]

    def __len__(self) -> int:
        return len(self.defect)

    def __getitem__(self, rows: slice | Tensor) -> Codes:
        return Codes(self.defect[rows], tuple(level[rows] for level in self.noise))


class InferenceModel(GuidedModel[DefectGAN]):
    """Implements :class:`defectaug.methods.base.DefectModel`; there are no references."""

    def latent_codes(self, defect: Tensor, seeds: Sequence[int], product: Tensor | None = None) -> Codes:
        """Codes of classes (N,), the noise of each from its own seed; the product is seen on the source."""
        drawn = [
            self.networks.generator.draw_noise(1, torch.Generator().manual_seed(seed), self.device) for seed in seeds
        ]
        return Codes(defect.to(self.device), tuple(torch.cat(level) for level in zip(*drawn, strict=True)))

    def reference_codes(self, image: Tensor, defect: Tensor, photographs: object = None, alike: object = None) -> Codes:
        """Refused.

        Raises:
            ConfigError: always.
        """
        self.info.check_references("reference images")
        raise NotImplementedError

    def with_style(self, codes: Codes, seeds: Sequence[int]) -> Codes:
        """The same classes with other noise."""
        return self.latent_codes(codes.defect, seeds)

    def features(self, x: Tensor) -> tuple[Tensor, ...]:
        """The encoder's features."""
        return (self.networks.generator.encoder(x),)

    @torch.inference_mode()
    def paint_on(self, sources: Sequence[SourceFeatures], codes: Codes) -> Painted:
        """Defacement of sources whose features are there."""
        x, features = join_rows(sources)
        return self._decoded(x, features, codes).painted(x)

    @torch.inference_mode()
    def restore(self, source: Tensor) -> Painted:
        """Restoration; ``opacity`` is the mask of what was taken away. Its noise is the same for all."""
        x = self._ready(source)
        normal = torch.full((len(x),), NORMAL, device=self.device)
        with self.compute.autocast():
            features = self.networks.generator.encoder(x)
        return self._decoded(x, features, self.latent_codes(normal, [0] * len(x))).painted(x)

    def shows(self, image: Tensor, defect: Tensor) -> Tensor:
        """Whether D_cls gives the images these classes, (N,) booleans."""
        return self.name_defect(image) == defect.to(self.device)

    def _decoded(self, x: Tensor, features: Tensor, codes: Codes) -> Layers:
        with self.compute.autocast():
            return self.networks.generator.decode(x, features, self.networks.control(codes.defect), codes.noise)
