"""Splits into train, val and test that never part near-duplicates, and their files."""

from __future__ import annotations

import json
import zlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from defectaug.data.index import DataIndex
from defectaug.data.near_duplicates import members_of_categories, near_duplicate_groups
from defectaug.data.sample import Sample
from defectaug.errors import DataError

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


def read_split(index: DataIndex, path: Path) -> DataIndex:
    """The samples that a split file names, with their splits. Samples that it does not name are left out.

    Raises:
        DataError: no split file, or one that names files the data folder lacks.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: the split file cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise DataError(f"{path}: the split file is not valid JSON ({error})") from error
    splits = content.get("splits") if isinstance(content, dict) else None
    if not isinstance(splits, dict) or not all(isinstance(files, list) for files in splits.values()):
        raise DataError(f'{path}: not a split file, which reads {{"splits": {{NAME: [FILE, ...]}}}}')
    name_of = {str(file): str(name) for name, files in splits.items() for file in files}
    missing = [file for file in name_of if not (index.root / file).is_file()]
    if missing:
        raise DataError(f"{path}: {len(missing)} of its files are not in {index.root}, first {missing[0]}")
    named = ((sample, name_of.get(_relative(sample, index))) for sample in index.samples)
    return replace(index, samples=tuple(replace(sample, split=name) for sample, name in named if name))


def _relative(sample: Sample, index: DataIndex) -> str:
    return sample.path.relative_to(index.root).as_posix()


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
