"""Features of normal sources, kept for the next defect that is painted on the same source, within a bound of memory."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING

from defectaug.io.recent import Recent
from defectaug.methods.native import stack

if TYPE_CHECKING:
    from defectaug.methods.base import DefectModel, SourceFeatures
    from defectaug.methods.native import Floats

MOST = 128 << 20  # bytes; at 128 x 128 a few hundred sources


class FeatureCache:
    """Lets a model read each source once while its features are kept; those used longest ago go first.

    Args:
        model: reads the sources.
        most: bytes that are kept at most, beside what one batch needs.
    """

    def __init__(self, model: DefectModel, most: int = MOST) -> None:
        self._model = model
        self._kept: Recent[Hashable, SourceFeatures] = Recent(most)

    def of(self, keys: Sequence[Hashable], pixels: Sequence[Floats]) -> list[SourceFeatures]:
        """Features of the sources of a batch.

        Args:
            keys: what tells one source, and the part of it that is shown, from the others.
            pixels: (C, S, S) in [-1, 1] each.
        """
        fresh = {key: shown for key, shown in zip(keys, pixels, strict=True) if key not in self._kept}
        batch = {key: self._kept.get(key) for key in keys if key in self._kept}
        if fresh:
            read = self._model.source_features(stack(fresh.values(), self._model), normal=True)
            batch |= zip(fresh, read, strict=True)
        for key in keys:
            self._kept.put(key, batch[key])
        return [batch[key] for key in keys]
