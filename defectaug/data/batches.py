"""Seeded batches, balanced over product x defect.

A batch is a pure function of the seed, the step and the places that windows are aimed at, so that a resumed run needs
no other state of the data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from defectaug.data.framing import Photograph
from defectaug.data.index import DataIndex
from defectaug.data.stores import Store
from defectaug.errors import DataError

Flips = Literal["none", "h", "v", "hv"]


@dataclass(frozen=True)
class Batch:
    """Source images, the defect each is to get, and a real image of that defect for each.

    Shapes: images (B, C, S, S) float32 in [-1, 1]; the rest (B,) int64.
    """

    image: Tensor
    defect: Tensor
    product: Tensor
    index: Tensor  # sample number in the index
    target: Tensor  # defect to be painted; defect number 0 is normal
    reference: Tensor
    reference_product: Tensor
    reference_index: Tensor

    def to(self, device: torch.device | str, **options: bool) -> Batch:
        """The batch on another device; options as of `Tensor.to`."""
        moved = {field.name: getattr(self, field.name).to(device, **options) for field in fields(self)}
        return Batch(**moved)

    def __len__(self) -> int:
        return self.image.shape[0]


class BalancedBatches:
    """Batches in which every category is as likely as every other, however few images it has.

    Args:
        index: the training images.
        store: their pixels, in the order of `index.samples`.
        batch_size: images a batch.
        seed: with the step, fixes a batch.
        flips: directions in which sources and references may be mirrored, each for itself.
        normal_target: share of sources whose target is the normal class (their defect is to be removed).
        local: places in the batch that this process of several loads; None for all.

    Raises:
        DataError: the index holds no defective image.
    """

    def __init__(
        self,
        index: DataIndex,
        store: Store,
        batch_size: int,
        seed: int,
        *,
        flips: Flips = "none",
        normal_target: float = 0.15,
        local: Sequence[int] | None = None,
    ) -> None:
        if len(store) != len(index.samples):
            raise ValueError(f"the store holds {len(store)} images, the index {len(index.samples)}")
        self.store, self.batch_size, self.seed = store, batch_size, seed
        self.flips = flips
        self.local = list(range(batch_size)) if local is None else list(local)
        self._product = np.array([index.products.index(sample.product) for sample in index.samples])
        self._defect = np.array([index.defects.index(sample.defect) for sample in index.samples])
        self._members = [np.flatnonzero((self._product == p) & (self._defect == d)) for p, d in self._categories()]
        self._with_defect: dict[int, list[int]] = {}  # categories by defect
        for category, (_, defect) in enumerate(self._categories()):
            self._with_defect.setdefault(defect, []).append(category)
        self._targets, self._target_shares = _target_shares(sorted(self._with_defect), normal_target, index)

    def batch(self, step: int) -> Batch:
        """The batch of a step, or the local part of it; the same for one seed and step, whatever was drawn before."""
        rng = np.random.default_rng([self.seed, step])
        sources = [self._draw(category, rng) for category in _spread(len(self._members), self.batch_size, rng)]
        targets = rng.choice(self._targets, self.batch_size, p=self._target_shares)
        references = [self._draw(rng.choice(self._with_defect[target]), rng) for target in targets.tolist()]
        sources, references = [sources[place] for place in self.local], [references[place] for place in self.local]
        return Batch(
            image=self._images(sources, step, first=0),
            defect=torch.from_numpy(self._defect[sources]),
            product=torch.from_numpy(self._product[sources]),
            index=torch.tensor(sources),
            target=torch.from_numpy(targets.astype(np.int64)[self.local]),
            reference=self._images(references, step, first=self.batch_size),
            reference_product=torch.from_numpy(self._product[references]),
            reference_index=torch.tensor(references),
        )

    def look_again(
        self, find: Callable[[Photograph, int], NDArray[np.float64] | None]
    ) -> dict[int, NDArray[np.float64]]:
        """Where the defects of samples that are seen in windows are, by their numbers; those that cannot be read, or of
        which nothing is found, are left out.

        Args:
            find: places (N, 2) as shares of height and width, from an image and its class.
        """
        found = {}
        for number in self.store.points:
            with suppress(DataError):
                places = find(self.store.photograph(number), int(self._defect[number]))
                if places is not None:
                    found[number] = places
        return found

    def _categories(self) -> list[tuple[int, int]]:
        """Product and defect numbers of the categories that have images, sorted."""
        return sorted(set(zip(self._product.tolist(), self._defect.tolist(), strict=True)))

    def _draw(self, category: int, rng: np.random.Generator) -> int:
        return int(rng.choice(self._members[category]))

    def _images(self, numbers: list[int], step: int, first: int) -> Tensor:
        """Each image has random numbers of its own, so that a process need not load those of the others."""
        images = []
        for number, place in zip(numbers, self.local, strict=True):
            rng = np.random.default_rng([self.seed, step, 1 + first + place])
            images.append(self._augment(self.store.get(number, rng), rng))
        return torch.stack(images)

    def _augment(self, image: Tensor, rng: np.random.Generator) -> Tensor:
        mirror_h, mirror_v = rng.random(2) < 0.5  # both always, so that one option does not change another's draw
        if mirror_h and "h" in self.flips:
            image = image.flip(2)
        if mirror_v and "v" in self.flips:
            image = image.flip(1)
        return image


def _target_shares(
    defects: list[int], normal_target: float, index: DataIndex
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    others = [defect for defect in defects if defect != 0]
    if not others:
        raise DataError(f"{index.root}: no defective image among the {len(index.samples)} training images")
    if 0 not in defects:
        return np.array(others), np.full(len(others), 1 / len(others))
    shares = [normal_target, *[(1 - normal_target) / len(others)] * len(others)]
    return np.array([0, *others]), np.array(shares)


def _spread(choices: int, count: int, rng: np.random.Generator) -> list[int]:
    """`count` draws from range(choices), equally likely, none twice before all had their turn."""
    rounds = -(-count // choices)
    drawn = np.concatenate([rng.permutation(choices) for _ in range(rounds)])[:count]
    return [int(choice) for choice in drawn]
