"""Splits into train, val and test that never part near-duplicates, and their files."""

from __future__ import annotations

import json
import re
import zlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from defectaug.data.index import DataIndex
from defectaug.data.sample import Sample
from defectaug.errors import DataError
from defectaug.io.atomic import write_atomic
from defectaug.io.images import read_image, to_model

FRACTIONS = {"train": 0.7, "val": 0.15, "test": 0.15}
THUMBNAIL = 32
CORRELATION = 0.97
MANY = 16  # images from which on a product's mean picture tells what its images share by nature
MTD_NAME = re.compile(r"exp\d+_num_(\d+)", re.IGNORECASE)
MTD_GAP = 200  # frames of one tile lie closer together than this


def near_duplicate_groups(index: DataIndex, *, correlation: float = CORRELATION) -> list[int]:
    """Groups the images that show the same part: group number by sample, in the order of `index.samples`.

    Two images of a product and defect belong together if their thumbnails correlate, whatever their
    brightness and contrast, after the product's mean picture is taken out (aligned parts look alike without
    being the same). In file names as those of MTD (`exp1_num_2345`), neighbouring numbers of a class are one
    tile under several exposures. Groups are closed under both relations.

    Args:
        index: the images.
        correlation: the least one that makes two thumbnails near-duplicates.
    """
    features = _features(index)
    groups = _UnionFind(len(index.samples))
    for members in _cell_members(index).values():
        rows = features[members]
        for start in range(0, len(members), 512):  # blocks bound the memory for thousands of images
            alike = rows[start : start + 512] @ rows.T > correlation
            for a, b in np.argwhere(np.triu(alike, start + 1)):
                groups.join(members[start + a], members[b])
        for a, b in _tile_neighbours([index.samples[member] for member in members]):
            groups.join(members[a], members[b])
    return groups.numbers()


def split(
    index: DataIndex,
    fractions: Mapping[str, float] = FRACTIONS,
    seed: int = 0,
    *,
    groups: Sequence[int] | None = None,
) -> DataIndex:
    """Gives every sample a split. Groups stay whole; a cell of enough groups is in every split.

    Args:
        index: the images.
        fractions: share of the images for each split's name; they are scaled to sum to 1.
        seed: fixes the draw, for each cell by itself.
        groups: group number by sample; default `near_duplicate_groups`.
    """
    groups = near_duplicate_groups(index) if groups is None else groups
    shares = {name: share / sum(fractions.values()) for name, share in fractions.items() if share > 0}
    names: list[str] = [""] * len(index.samples)
    for (product, defect), members in _cell_members(index).items():
        by_group: dict[int, list[int]] = defaultdict(list)
        for member in members:
            by_group[groups[member]].append(member)
        rng = np.random.default_rng([seed, zlib.crc32(f"{product}/{defect}".encode(errors="surrogatepass"))])
        for name, whole_groups in _deal(list(by_group.values()), shares, rng).items():
            for member in (member for group in whole_groups for member in group):
                names[member] = name
    return replace(
        index,
        samples=tuple(replace(sample, split=name) for sample, name in zip(index.samples, names, strict=True)),
    )


def write_split(index: DataIndex, path: Path) -> None:
    """Writes the splits of an index as JSON: for each its files, relative to the data folder.

    Raises:
        OutputError: the file cannot be written.
    """
    files: dict[str, list[str]] = defaultdict(list)
    for sample in index.samples:
        if sample.split is not None:
            files[sample.split].append(_relative(sample, index))
    content = json.dumps({"splits": files}, indent=1) + "\n"
    write_atomic(path, lambda file: file.write(content.encode()))


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


def _cell_members(index: DataIndex) -> dict[tuple[str, str], list[int]]:
    members: dict[tuple[str, str], list[int]] = defaultdict(list)
    for number, sample in enumerate(index.samples):
        members[sample.product, sample.defect].append(number)
    return members


def _features(index: DataIndex) -> NDArray[np.float32]:
    """Thumbnails as unit vectors, (N, THUMBNAIL²), whose products are correlations."""
    features = np.stack([_thumbnail(sample.path) for sample in index.samples])
    products = np.array([sample.product for sample in index.samples])
    features = _unit(features)
    for product in index.products:
        of_product = products == product
        if of_product.sum() >= MANY:
            features[of_product] = _unit(features[of_product] - features[of_product].mean(axis=0))
    return features


def _thumbnail(path: Path) -> NDArray[np.float32]:
    image = read_image(path)
    return to_model(image.pixels, THUMBNAIL, 1, image.white).ravel()


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    rows = rows - rows.mean(axis=1, keepdims=True)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)


def _tile_neighbours(samples: Sequence[Sample]) -> list[tuple[int, int]]:
    """Pairs of samples that follow each other closely in the numbers of their MTD file names."""
    matches = [(MTD_NAME.fullmatch(sample.path.stem), position) for position, sample in enumerate(samples)]
    numbered = sorted((int(match[1]), position) for match, position in matches if match)
    return [(a, b) for (first, a), (second, b) in pairwise(numbered) if second - first <= MTD_GAP]


def _deal(
    groups: list[list[int]], shares: Mapping[str, float], rng: np.random.Generator
) -> dict[str, list[list[int]]]:
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


class _UnionFind:
    """Disjoint sets of the numbers below `size`."""

    def __init__(self, size: int) -> None:
        self._parent = list(range(size))

    def root(self, number: int) -> int:
        while self._parent[number] != number:
            self._parent[number] = self._parent[self._parent[number]]
            number = self._parent[number]
        return number

    def join(self, a: int, b: int) -> None:
        self._parent[self.root(b)] = self.root(a)

    def numbers(self) -> list[int]:
        """Number of its set for every number, counted from 0 in order of first appearance."""
        seen: dict[int, int] = {}
        return [seen.setdefault(self.root(number), len(seen)) for number in range(len(self._parent))]
