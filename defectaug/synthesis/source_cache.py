"""Sources as the model read them, kept for the next defect that is painted on them, within a bound of memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from defectaug.methods.base import DefectModel, SourceFeatures
    from defectaug.methods.native import Floats

MOST = 128 << 20  # bytes; at 128 x 128 a few hundred sources


class Readings:
    """Reads each source once while it is kept; the one that was used longest ago goes first.

    Args:
        model: reads.
        most: bytes that are kept at most, beside what one batch needs.
    """

    def __init__(self, model: DefectModel, most: int = MOST) -> None:
        self._model, self._most = model, most
        self._kept: OrderedDict[Hashable, SourceFeatures] = OrderedDict()
        self._bytes = 0

    def of(self, keys: Sequence[Hashable], pixels: Sequence[Floats]) -> list[SourceFeatures]:
        """Readings of the sources of a batch.

        Args:
            keys: what tells one source, and the part of it that is shown, from the others.
            pixels: (C, S, S) in [-1, 1] each.
        """
        fresh = {key: shown for key, shown in zip(keys, pixels, strict=True) if key not in self._kept}
        batch = {key: self._kept[key] for key in keys if key in self._kept}
        if fresh:
            stacked = torch.stack([torch.from_numpy(shown) for shown in fresh.values()]).to(self._model.device)
            batch |= zip(fresh, self._model.source_features(stacked), strict=True)
        for key in keys:
            self._keep(key, batch[key])
        return [batch[key] for key in keys]

    def _keep(self, key: Hashable, reading: SourceFeatures) -> None:
        if key not in self._kept:
            self._kept[key] = reading
            self._bytes += reading.nbytes
        self._kept.move_to_end(key)
        while self._bytes > self._most:
            self._bytes -= self._kept.popitem(last=False)[1].nbytes
