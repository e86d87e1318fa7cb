"""A trained DT-GAN as synthesis uses it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from defectaug.config.schema import NetworkConfig
from defectaug.device import Compute
from defectaug.methods.base import BundleInfo, Painted, SourceFeatures
from defectaug.methods.dtgan.anchor import NORMAL
from defectaug.methods.dtgan.codes import Codes
from defectaug.methods.dtgan.generator import Background
from defectaug.methods.dtgan.model import DTGAN


@dataclass(frozen=True)
class InferenceModel:
    """Implements :class:`defectaug.methods.base.DefectModel`."""

    info: BundleInfo
    networks: DTGAN
    compute: Compute

    @staticmethod
    def build(
        net: NetworkConfig, info: BundleInfo, weights: Mapping[str, Tensor], compute: Compute
    ) -> InferenceModel:
        """Networks of the given dimensions with the given weights.

        Raises:
            RuntimeError: the weights do not fit.
        """
        networks = DTGAN(net, len(info.defects), len(info.products))
        networks.load_state_dict(dict(weights))
        networks.eval().requires_grad_(False)
        networks.to(compute.device).to(memory_format=torch.channels_last)
        return InferenceModel(info, networks, compute)

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return self.compute.device

    @torch.inference_mode()
    def latent_codes(self, defect: Tensor, seeds: Sequence[int], product: Tensor | None = None) -> Codes:
        """Codes of classes (N,) from one seed each, for products (N,), -1 for one that is not known."""
        latent = self.networks.mapping.draw_seeded(seeds, self.device)
        product = None if product is None else product.to(self.device)
        return self.networks.mapping(latent, defect.to(self.device), product)

    @torch.inference_mode()
    def reference_codes(self, image: Tensor, defect: Tensor) -> Codes:
        """Codes of the defects (N,) that the images (N, C, S, S) show."""
        return self.networks.encoder(self._ready(image), defect.to(self.device))

    def with_style(self, codes: Codes, seeds: Sequence[int]) -> Codes:
        """The same shapes in latent styles."""
        return codes.with_style(self.latent_codes(codes.defect, seeds))

    @torch.inference_mode()
    def source_features(self, source: Tensor) -> list[SourceFeatures]:
        """What G keeps of each source."""
        with self.compute.autocast():
            background = self.networks.generator.background(self._ready(source))
        kept = [background.source, background.features]
        if background.clean is not None:
            kept.append(background.clean)
        # Copies: a view of one row would keep the whole batch in memory.
        rows = ([row.clone() for row in part.split(1)] for part in kept)
        return [SourceFeatures(parts) for parts in zip(*rows, strict=True)]

    def paint_on(self, sources: Sequence[SourceFeatures], codes: Codes) -> Painted:
        """G(x, c, s) on sources that were read before."""
        x, features, *clean = (torch.cat(rows) for rows in zip(*(r.parts for r in sources), strict=True))
        unused = x.new_zeros(())  # the source's own code has done its work
        return self._painted(Background(x, features, unused, clean=clean[0] if clean else None), codes)

    def paint(self, source: Tensor, codes: Codes) -> Painted:
        """G(x, c, s), what it adds to the sources, and the defect's opacity."""
        return self.paint_on(self.source_features(source), codes)

    @torch.inference_mode()
    def _painted(self, background: Background, codes: Codes) -> Painted:
        with self.compute.autocast():
            made = self.networks.generator.render(background, codes)
        x, image = background.source, made.image.float()
        if made.opacity is not None:
            return Painted(image, image - x, made.opacity.float())
        # A decoded background differs from the source everywhere: only what the defect changes is added, if G can tell
        clean = self._decoded(background, self._without(background, codes)) if self.networks.generator.splits else x
        delta = image - clean
        return Painted(image, delta, delta.abs().amax(1, keepdim=True).clamp(max=1))

    def _without(self, background: Background, codes: Codes) -> Codes:
        """The anchor in the same style, so that only the defect differs; without an anchor domain what E reads of the
        sources as normal ones."""
        if self.networks.net.anchor:
            return Codes(torch.zeros_like(codes.c), codes.s, torch.full_like(codes.defect, NORMAL))
        return self._normal(background.source)

    def _normal(self, x: Tensor) -> Codes:
        """Codes of normal images."""
        return self.networks.encoder(x, torch.full((len(x),), NORMAL, device=self.device))

    def _decoded(self, background: Background, codes: Codes) -> Tensor:
        with self.compute.autocast():
            return self.networks.generator.render(background, codes).image.float()

    @torch.inference_mode()
    def restore(self, source: Tensor) -> Painted:
        """G(x, anchor): the source without its defect; ``opacity`` is of what was taken away."""
        x = self._ready(source)
        with self.compute.autocast():
            background = self.networks.generator.background(x)
        if background.clean is not None and background.removed is not None:
            clean = background.clean.float()
            return Painted(clean, clean - x, background.removed.float())
        clean = self._decoded(background, self._normal(x))
        return Painted(clean, clean - x, (clean - x).abs().amax(1, keepdim=True).clamp(max=1))

    @torch.inference_mode()
    def name_defect(self, image: Tensor) -> Tensor:
        """Class numbers (N,) by D's defect classifier."""
        return self.networks.discriminator.name_defect(self._ready(image))

    @torch.inference_mode()
    def shows(self, image: Tensor, defect: Tensor) -> Tensor:
        """Whether D's defect classifier names the images so, (N,) booleans; yes where it has none."""
        defect = defect.to(self.device)
        if self.networks.discriminator.defect is None:
            return torch.ones_like(defect, dtype=torch.bool)
        return self.name_defect(image) == defect

    def _ready(self, image: Tensor) -> Tensor:
        return image.to(self.device, memory_format=torch.channels_last)
