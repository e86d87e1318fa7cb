"""Fixed batches for sample grids and scores."""

from __future__ import annotations

import numpy as np
import torch

from defectaug.data.batches import BalancedBatches, Batch
from defectaug.data.index import DataIndex
from defectaug.data.near_duplicates import members_of_categories
from defectaug.data.sample import Category
from defectaug.data.stores import Store

GRID_COLUMNS = 12
VALIDATION_IMAGES = 48


def example_batch(index: DataIndex, store: Store, count: int = GRID_COLUMNS) -> Batch:
    """The columns of a sample grid: references of the categories in turn, and for each a normal source of its product;
    where that product has no normal images, of the other products in turn."""
    members = members_of_categories(index)
    categories = [c for d in index.defects[1:] for p in index.products if (c := Category(p, d)) in members]
    normals = {p: found for p in index.products if (found := members.get(Category(p, index.normal)))}
    others = list(normals.values()) or [list(range(len(index.samples)))]
    sources, references = [], []
    for column in range(count):
        turn, place = divmod(column, len(categories))
        category = categories[place]
        normal = normals.get(category.product, others[column % len(others)])
        sources.append(normal[turn % len(normal)])
        references.append(members[category][turn % len(members[category])])
    defect = torch.tensor([index.defects.index(sample.defect) for sample in index.samples])
    product = torch.tensor([index.products.index(sample.product) for sample in index.samples])
    rng = np.random.default_rng(0)
    return Batch(
        image=torch.stack([store.get(number, rng) for number in sources]),
        defect=defect[sources],
        product=product[sources],
        index=torch.tensor(sources),
        target=defect[references],
        reference=torch.stack([store.get(number, rng) for number in references]),
        reference_product=product[references],
        reference_index=torch.tensor(references),
    )


def validation_batch(index: DataIndex, store: Store, count: int = VALIDATION_IMAGES) -> Batch:
    """Sources and real defective images to compare with.

    CHOICE: from the training images: of tens of defects none is spared for choosing a checkpoint.
    """
    return BalancedBatches(index, store, count, seed=1, normal_target=0.0).batch(0)
