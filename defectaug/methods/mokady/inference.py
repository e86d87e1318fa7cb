"""A trained model as synthesis uses it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from defectaug.methods.adversarial import NORMAL
from defectaug.methods.base import Painted, SourceFeatures
from defectaug.methods.inference import GuidedModel, join_rows
from defectaug.methods.mokady.model import Mokady


@dataclass(frozen=True)
class Codes:
    """Separate codes (N, code_channels, h, h) of classes (N,)."""

    separate: Tensor
    defect: Tensor

    def __len__(self) -> int:
        return len(self.defect)

    def __getitem__(self, rows: slice | Tensor) -> Codes:
        return Codes(self.separate[rows], self.defect[rows])


class InferenceModel(GuidedModel[Mokady]):
    """Implements :class:`defectaug.methods.base.DefectModel`."""

    @torch.inference_mode()
    def latent_codes(self, defect: Tensor, seeds: Sequence[int], product: Tensor | None = None) -> Codes:
        """Codes of classes (N,) between those of training images, from one seed each, for products (N,), -1 for one
        that is not known."""
        generators, label = [torch.Generator().manual_seed(seed) for seed in seeds], defect.to(self.device)
        owner = torch.full_like(label, -1) if product is None else product
        return Codes(self.networks.mapping.draw(label, owner, generators), label)

    @torch.inference_mode()
    def reference_codes(self, image: Tensor, defect: Tensor, photographs: object = None, alike: object = None) -> Codes:
        """E_s of the defects (N,) that the images (N, C, S, S) show."""
        label = defect.to(self.device)
        with self.compute.autocast():
            separate = self.networks.encoder.separate(self._ready(image), label.clamp(min=1)).float()
        return Codes(separate * (label > NORMAL)[:, None, None, None], label)

    def with_style(self, codes: Codes, seeds: Sequence[int]) -> Codes:
        """Refused: one code holds shape and style.

        Raises:
            ConfigError: always.
        """
        self.info.check_styles("other styles")
        raise NotImplementedError

    def features(self, x: Tensor) -> tuple[Tensor, ...]:
        """Their common codes."""
        return (self.networks.encoder.common(x),)

    @torch.inference_mode()
    def paint_on(self, sources: Sequence[SourceFeatures], codes: Codes) -> Painted:
        """D_B's layers over the sources."""
        x, common = join_rows(sources)
        with self.compute.autocast():
            layers = self.networks.generator.defective(common, codes.separate, x)
        return layers.painted(x)

    @torch.inference_mode()
    def restore(self, source: Tensor) -> Painted:
        """Removal: D_A's image in the places where D_B would lay a defect."""
        x = self._ready(source)
        with self.compute.autocast():
            clean, mask = self.networks.remove(x)
        return Painted(clean, clean - x, mask)

    @torch.inference_mode()
    def name_defect(self, image: Tensor) -> Tensor:
        """Class numbers (N,): of the head by which an image is rebuilt best, 0 where D_A alone does."""
        x, networks = self._ready(image), self.networks
        with self.compute.autocast():
            common = networks.encoder.common(x)
            normal = networks.generator.normal(common)
            rebuilt = [normal, *(layers.image for layers in networks.rebuilt(x, common, normal))]
        return torch.stack([(x - one).abs().mean((1, 2, 3)) for one in rebuilt]).argmin(0)
