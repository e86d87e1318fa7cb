"""Splits into train, val and test that never part near-duplicates."""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from defectaug.data.index import DataIndex
from defectaug.data.near_duplicates import members_of_categories, near_duplicate_groups

FRACTIONS = {"train": 0.7, "val": 0.15, "test": 0.15}


def split(
    index: DataIndex, fractions: Mapping[str, float] = FRACTIONS, seed: int = 0, *, groups: Sequence[int] | None = None
) -> DataIndex:
    """Gives every sample a split. Groups stay whole; a category of enough groups is in every split.

    Args:
        index: the images.
        fractions: share of the images for each split's name; they are scaled to sum to 1.
        seed: fixes the draw, for each category by itself.
        groups: group number by sample; default `near_duplicate_groups`.
    """
    groups = near_duplicate_groups(index) if groups is None else groups
    shares = {name: share / sum(fractions.values()) for name, share in fractions.items() if share > 0}
    names: list[str] = [""] * len(index.samples)
    for (product, defect), members in members_of_categories(index).items():
        by_group: dict[int, list[int]] = defaultdict(list)
        for member in members:
            by_group[groups[member]].append(member)
        rng = np.random.default_rng([seed, zlib.crc32(f"{product}/{defect}".encode(errors="surrogatepass"))])
        for name, whole_groups in _deal(list(by_group.values()), shares, rng).items():
            for member in (member for group in whole_groups for member in group):
                names[member] = name
    return replace(
        index, samples=tuple(replace(sample, split=name) for sample, name in zip(index.samples, names, strict=True))
    )


def _deal(groups: list[list[int]], shares: Mapping[str, float], rng: np.random.Generator) -> dict[str, list[list[int]]]:
    """Deals groups to splits, the largest first, each to the split that is furthest below its share."""
    dealt: dict[str, list[list[int]]] = {name: [] for name in shares}
    total = sum(len(group) for group in groups)

    def lack(name: str) -> float:
        return shares[name] - sum(len(group) for group in dealt[name]) / total

    order = rng.permutation(len(groups))
    for group in sorted((groups[number] for number in order), key=len, reverse=True):
        dealt[max(shares, key=lack)].append(group)
    for name in (name for name in shares if not dealt[name]):
        giver = max(dealt, key=lambda other: len(dealt[other]))
        if len(dealt[giver]) > 1:
            dealt[name].append(dealt[giver].pop(int(np.argmin([len(group) for group in dealt[giver]]))))
    return dealt
