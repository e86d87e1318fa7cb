"""Fidelity and diversity of synthetic sets: FID, KID, precision, recall, and LPIPS as in the paper's Table 3."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from defectaug.data.sample import Category
from defectaug.metrics.context import EvaluationContext, digest
from defectaug.metrics.distances import (
    NEIGHBOURS,
    Interval,
    Kernels,
    frechet,
    inside,
    pair_mean,
    resampled,
    share_interval,
)
from defectaug.metrics.features import FeatureCache, Lpips, load, resized
from defectaug.metrics.images import ImageSet

HALVINGS = 5
PAIRS = 100  # pairs of a group that LPIPS is taken over
PAIR_BATCH = 16
Features = NDArray[np.float32]


@dataclass(frozen=True)
class Group:
    """Categories that are measured together: one, a product's, a defect's or all; numbers of their images."""

    name: str
    real: tuple[int, ...]
    synthetic: tuple[int, ...]


@dataclass(frozen=True)
class Fidelity:
    """The numbers of a group; None where there are too few images to take them.

    Args:
        real, synthetic: images.
        frechet, kernel, precision, recall: of all synthetic images against all real ones.
        frechet_even, frechet_real: mean Fréchet distance over `HALVINGS` random halvings of the real images: of the one
            half to as many synthetic images as the other half has, category by category, and to these; `even` images
            each.
        diversity, diversity_real: mean distance of pairs among the synthetic and among the real images.
        resamples: of the intervals of `frechet` and `kernel`.
    """

    real: int
    synthetic: int
    frechet: Interval | None = None
    kernel: Interval | None = None
    precision: Interval | None = None
    recall: Interval | None = None
    frechet_even: float | None = None
    frechet_real: float | None = None
    even: int = 0
    diversity: Interval | None = None
    diversity_real: Interval | None = None
    resamples: int = 0


def fidelity(
    context: EvaluationContext, features: FeatureCache, pairs: Lpips | None
) -> list[dict[str, Fidelity]]:
    """The numbers of each synthetic set, by the names of its groups; the last group of a set holds all of them.

    Args:
        context: what is evaluated.
        features: of the images.
        pairs: LPIPS; None for the distance of the features of pairs.
    """
    real = features.of(context.real, context.stages("features of the real images"))
    return [_of_set(context, one, features, pairs, real) for one in context.synthetic]


def groups_of(
    real: Mapping[Category, Sequence[int]], synthetic: Mapping[Category, Sequence[int]], normal: str
) -> list[Group]:
    """Defective categories that both sets hold, then their products, their defects and all.

    Groups of the same categories come only once. The last one holds all of them.
    """
    shared = [category for category in synthetic if category in real and category.defect != normal]
    named = {str(category): [category] for category in shared}
    for part in ("product", "defect"):
        for name in sorted({getattr(category, part) for category in shared}):
            named[f"{part} {name}"] = [category for category in shared if getattr(category, part) == name]
    named["all"] = shared
    first = {tuple(members): name for name, members in reversed(named.items()) if members}
    return [
        Group(name, *(tuple(sorted(n for one in members for n in numbers[one])) for numbers in (real, synthetic)))
        for name, members in named.items()
        if first.get(tuple(members)) == name
    ]


def _of_set(
    context: EvaluationContext, images: ImageSet, features: FeatureCache, pairs: Lpips | None, real: Features
) -> dict[str, Fidelity]:
    synthetic = features.of(images, context.stages(f"features of {images.name}"))
    groups = groups_of(context.real.categories, images.categories, context.normal)
    progress = context.stages(f"fidelity of {images.name}")
    found: dict[str, Fidelity] = {}
    for done, group in enumerate(groups):
        progress(done, len(groups))
        found[group.name] = _of_group(context, images, group, real, synthetic, pairs)
    progress(len(groups), len(groups))
    return found


def _of_group(
    context: EvaluationContext,
    images: ImageSet,
    group: Group,
    real: Features,
    synthetic: Features,
    pairs: Lpips | None,
) -> Fidelity:
    a, b = real[list(group.real)], synthetic[list(group.synthetic)]
    sides = context.real.take(group.real), images.take(group.synthetic)
    seed = zlib.crc32(f"{context.seed}/{group.name}".encode())
    sizes = len(a), len(b)
    resamples = _resamples(min(*sizes, a.shape[1]))
    numbers: dict = {"real": sizes[0], "synthetic": sizes[1], "resamples": resamples}
    if min(sizes) >= 2:
        kernels = Kernels.of(a, b)
        again: dict = {"sizes": sizes, "seed": seed, "resamples": resamples}
        numbers["frechet"] = resampled(frechet(a, b), lambda wa, wb: frechet(a, b, wa, wb), floor=0.0, **again)
        numbers["kernel"] = resampled(kernels.distance(), kernels.distance, **again)
        numbers |= _halved(a, b, *sides, context.groups[list(group.real)], seed)
    if min(sizes) > NEIGHBOURS:
        for name, queries, others in (("precision", b, a), ("recall", a, b)):
            hits = inside(queries, others)
            numbers[name] = share_interval(int(hits.sum()), len(hits))
    for name, side, rows in (("diversity_real", sides[0], a), ("diversity", sides[1], b)):
        numbers[name] = _diversity(context, side, rows, pairs, seed)
    return Fidelity(**numbers)


def _halved(
    a: Features, b: Features, real: ImageSet, synthetic: ImageSet, near: NDArray[np.int64], seed: int
) -> dict[str, float | int]:
    """The baseline: real against real at the counts, category by category, at which synthetic is set against real."""
    to_synthetic, to_real, even = [], [], 0
    for halving in range(HALVINGS):
        rng = np.random.default_rng([seed, halving])
        names = rng.permutation(np.unique(near))
        first = np.isin(near, names[::2])  # near-duplicates stay in one half
        second: list[int] = []
        chosen: list[int] = []
        for category, members in real.categories.items():
            free = rng.permutation([n for n in members if not first[n]])
            there = rng.permutation(synthetic.categories[category])
            count = min(len(free), len(there))
            second += [int(n) for n in free[:count]]
            chosen += [int(n) for n in there[:count]]
        even = len(chosen)
        if min(int(first.sum()), even) < 2:
            return {}
        to_synthetic.append(frechet(a[first], b[chosen]))
        to_real.append(frechet(a[first], a[second]))
    return {"frechet_even": float(np.mean(to_synthetic)), "frechet_real": float(np.mean(to_real)), "even": even}


def _diversity(
    context: EvaluationContext, images: ImageSet, rows: Features, pairs: Lpips | None, seed: int
) -> Interval | None:
    if len(images) < 2:
        return None
    if pairs is None:
        matrix = cdist(rows, rows)
        value, size = pair_mean(matrix), len(rows)

        def measure(weights: NDArray, _: NDArray) -> float:
            return pair_mean(matrix, weights)
    else:
        values = _pair_distances(context, images, pairs, chosen_pairs(len(images), seed))
        value, size = float(values.mean()), len(values)

        def measure(weights: NDArray, _: NDArray) -> float:
            return float(weights @ values / weights.sum())

    return resampled(value, measure, (size, 1), seed=seed, resamples=200, floor=0.0)


def chosen_pairs(count: int, seed: int) -> list[tuple[int, int]]:
    """All pairs of the numbers below `count`, or `PAIRS` of them drawn without repeats."""
    if count * (count - 1) // 2 <= PAIRS:
        return list(combinations(range(count), 2))
    rng = np.random.default_rng(seed)
    found: set[tuple[int, int]] = set()
    while len(found) < PAIRS:
        first, second = (int(number) for number in rng.choice(count, 2, replace=False))
        found.add((min(first, second), max(first, second)))
    return sorted(found)


def _pair_distances(
    context: EvaluationContext, images: ImageSet, pairs: Lpips, chosen: Sequence[tuple[int, int]]
) -> NDArray[np.float64]:
    kind = f"pairs-{digest([pairs.name, pairs.weights, pairs.resize, context.white])}"
    kept, hashes = context.cache.rows(kind), images.pixel_hashes
    keys = ["-".join(sorted((hashes[i], hashes[j]))) for i, j in chosen]
    missing = [(key, pair) for key, pair in zip(keys, chosen, strict=True) if key not in kept]
    for start in range(0, len(missing), PAIR_BATCH):
        batch = missing[start : start + PAIR_BATCH]
        sides = []
        for side in (0, 1):
            loaded = load([images.records[pair[side]] for _, pair in batch], context.store, context.white)
            small = [resized(image[None], pairs.side) for image in loaded]
            sides.append((torch.cat(small) * 255).round().to(torch.uint8))
        values = pairs(*sides)[:, None]
        names = [key for key, _ in batch]
        context.cache.keep(kind, names, values)
        kept |= dict(zip(names, values, strict=True))
    return np.array([kept[key][0] for key in keys], np.float64)


def _resamples(side: int) -> int:
    """Fewer where each costs a decomposition of large matrices."""
    return 200 if side <= 256 else 50 if side <= 1024 else 20
