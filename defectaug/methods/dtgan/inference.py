"""A trained DT-GAN as synthesis uses it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from defectaug.methods.adversarial import NORMAL
from defectaug.methods.base import Painted, SourceFeatures
from defectaug.methods.dtgan.anchor import anchor_like
from defectaug.methods.dtgan.codes import Codes
from defectaug.methods.dtgan.generator import Background
from defectaug.methods.dtgan.model import DTGAN
from defectaug.methods.inference import GuidedModel, join_rows


class InferenceModel(GuidedModel[DTGAN]):
    """Implements :class:`defectaug.methods.base.DefectModel`."""

    def features(self, x: Tensor) -> tuple[Tensor, ...]:
        """The split of G's bottleneck."""
        background = self.networks.generator.background(x)
        return background.features, background.code

    @torch.inference_mode()
    def paint_on(self, sources: Sequence[SourceFeatures], codes: Codes) -> Painted:
        """G(x, c, s) on sources whose features are there. A decoded background differs from the source everywhere: only
        what the defect changes is added, if G can tell."""
        x, *split = join_rows(sources)
        background = Background(*split)
        image = self._decoded(background, codes)
        clean = self._decoded(background, self._without(x, codes)) if self.networks.generator.splits else x
        return _painted(image, clean)

    def _without(self, x: Tensor, codes: Codes) -> Codes:
        """The anchor in the same style, so that only the defect differs; without an anchor domain E's codes of the
        sources as normal ones."""
        return anchor_like(codes) if self.networks.net.anchor else self._normal(x)

    def _normal(self, x: Tensor) -> Codes:
        """Codes of normal images."""
        codes: Codes = self.networks.encoder(x, torch.full((len(x),), NORMAL, device=self.device))
        return codes

    def _decoded(self, background: Background, codes: Codes) -> Tensor:
        with self.compute.autocast():
            return self.networks.generator.render(background, codes).float()

    @torch.inference_mode()
    def restore(self, source: Tensor) -> Painted:
        """G(x, anchor): the source without its defect; ``opacity`` is of what was taken away."""
        x = self._ready(source)
        with self.compute.autocast():
            background = self.networks.generator.background(x)
        return _painted(self._decoded(background, self._normal(x)), x)


def _painted(image: Tensor, clean: Tensor) -> Painted:
    """What the images (N, C, S, S) change in those without a defect."""
    delta = image - clean
    return Painted(image, delta, delta.abs().amax(1, keepdim=True).clamp(max=1))
