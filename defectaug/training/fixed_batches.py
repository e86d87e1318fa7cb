"""Fixed batches for sample sheets and scores."""

from __future__ import annotations

from itertools import product as pairs

import numpy as np
import torch

from defectaug.data.batches import BalancedBatches, Batch
from defectaug.data.index import DataIndex
from defectaug.data.stores import Store

SHEET = 12
VALIDATION = 48


def example_batch(index: DataIndex, store: Store, count: int = SHEET) -> Batch:
    """Normal sources of the products in turn, and references of the defects in turn, for sample sheets."""
    numbers: dict[tuple[str, str], list[int]] = {}
    for number, sample in enumerate(index.samples):
        numbers.setdefault((sample.product, sample.defect), []).append(number)
    cells = [c for c in pairs(index.defects[1:], index.products) if (c[1], c[0]) in numbers]
    normals = [p for p in index.products if (p, index.normal) in numbers] or [index.samples[0].product]
    sources, references = [], []
    for column in range(count):
        defect, product = cells[column % len(cells)]
        product_source = product if product in normals else normals[column % len(normals)]
        rows = numbers.get((product_source, index.normal)) or list(range(len(index.samples)))
        sources.append(rows[column // len(cells) % len(rows)])
        mine = numbers[product, defect]
        references.append(mine[column // len(cells) % len(mine)])
    rng = np.random.default_rng(0)

    def labels(rows: list[int], names: tuple[str, ...], kind: str) -> torch.Tensor:
        return torch.tensor([names.index(getattr(index.samples[row], kind)) for row in rows])

    return Batch(
        image=torch.stack([store.get(row, rng) for row in sources]),
        defect=labels(sources, index.defects, "defect"),
        product=labels(sources, index.products, "product"),
        index=torch.tensor(sources),
        target=labels(references, index.defects, "defect"),
        reference=torch.stack([store.get(row, rng) for row in references]),
        reference_product=labels(references, index.products, "product"),
        reference_index=torch.tensor(references),
    )


def validation_batch(index: DataIndex, store: Store, count: int = VALIDATION) -> Batch:
    """Sources and real defective images to compare with.

    CHOICE: from the training images: of tens of defects none is spared for choosing a checkpoint.
    """
    return BalancedBatches(index, store, count, seed=1, normal_target=0.0).batch(0)
