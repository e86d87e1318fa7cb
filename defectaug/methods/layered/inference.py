"""A trained model of the layered form as synthesis uses it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from defectaug.methods.base import Painted, SourceFeatures
from defectaug.methods.dtgan.codes import Codes
from defectaug.methods.inference import GuidedModel, join_rows
from defectaug.methods.layered.generator import Canvas
from defectaug.methods.layered.model import LayeredGAN


class LayeredInferenceModel(GuidedModel[LayeredGAN]):
    """Implements :class:`defectaug.methods.base.DefectModel`."""

    def features(self, x: Tensor) -> tuple[Tensor, ...]:
        """The canvas that G makes of them."""
        canvas = self.networks.generator.background(x).canvas
        return canvas.clean, canvas.features

    @torch.inference_mode()
    def paint_on(self, sources: Sequence[SourceFeatures], codes: Codes) -> Painted:
        """G(x, c, s) on sources whose features are there, and the opacity of the layers."""
        x, clean, features = join_rows(sources)
        with self.compute.autocast():
            layers = self.networks.generator.layers(Canvas(clean, features), codes)
            image = layers.over(clean).float()
        return Painted(image, image - x, layers.opacity.float())

    @torch.inference_mode()
    def restore(self, source: Tensor) -> Painted:
        """G(x, anchor): the source without its defect; ``opacity`` is of what was taken away."""
        x = self._ready(source)
        with self.compute.autocast():
            background = self.networks.generator.background(x)
        clean = background.canvas.clean.float()
        return Painted(clean, clean - x, background.removed.float())
