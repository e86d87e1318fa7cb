"""Fidelity and diversity of synthetic sets, on whole images and on crops around the defect: Fréchet and kernel
distance, precision, recall, distances of pairs (Table 3 of the paper), within clusters, too (Ojha et al., 2021)."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from defectaug.data.sample import Category
from defectaug.metrics.changes import FindMask, Mask
from defectaug.metrics.context import ArrayCache, EvaluationContext, digest
from defectaug.metrics.defects import around_defect
from defectaug.metrics.distances import (
    NEIGHBOURS,
    Interval,
    frechet,
    inside,
    intra_cluster,
    kernel_distance,
    pair_mean,
    resampled,
    share_interval,
    squared_distances,
)
from defectaug.metrics.features import (
    LITE_SIDE,
    FeatureCache,
    Inception,
    LiteFeatures,
    LiteMaps,
    Lpips,
    find_inception,
    find_lpips,
    load,
    resized,
)
from defectaug.metrics.images import ImageSet, colour_tensor
from defectaug.nn.weights import EFFICIENTNET_LITE, require

WHOLE, CROPS = "whole images", "crops around the defect"
MARGIN = 1.5  # side of a crop, as a multiple of what real defects of the category extend to (median)
LEAST = 32  # pixels, the smallest crop
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
class Measure:
    """By what sets are compared.

    Args:
        extractor: its features' distances are taken.
        maps: compares pairs; None: pairs are not compared.
        lpips: compares pairs, too, where its weights can be had.
        crops: crops around the defect are compared, not whole images.
    """

    extractor: Inception | LiteFeatures
    maps: LiteMaps | None = None
    lpips: Lpips | None = None
    crops: bool = False

    @property
    def title(self) -> str:
        """Tells measures apart."""
        return f"{CROPS if self.crops else WHOLE}, {self.extractor.name}"


def find_measures(given: Path | None, device: torch.device, context: EvaluationContext) -> list[Measure]:
    """EfficientNet-Lite1 on whole images and on crops, Inception-v3 on whole images where its weights can be had.

    Raises:
        ConfigError: weights that are named cannot be used, or EfficientNet-Lite1's are not installed.
    """
    file = require(EFFICIENTNET_LITE, given)
    lite, maps = LiteFeatures(file, device), LiteMaps(file, device)
    standard, lpips = find_inception(given, device, context.log), find_lpips(given, device, context.log)
    found = [Measure(lite, maps, lpips), Measure(lite, maps, crops=True)]
    return found if standard is None else [*found, Measure(standard)]


@dataclass(frozen=True)
class Fidelity:
    """The numbers of a group; None where there are too few images to take them.

    Args:
        real, synthetic: images.
        frechet, kernel, precision, recall: of all synthetic images against all real ones.
        frechet_even, frechet_real: mean Fréchet distance over `HALVINGS` random halvings of the real images: of the one
            half to as many synthetic images as the other half has, category by category, and to these; `even` images
            each.
        diversity, diversity_real: mean distance of pairs among the synthetic and among the real images, by their maps.
        clustered: the same of synthetic images with the same nearest real image, mean over these.
        lpips, lpips_real: as `diversity`, by LPIPS.
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
    clustered: float | None = None
    lpips: Interval | None = None
    lpips_real: Interval | None = None
    resamples: int = 0


Results = Mapping[str, Mapping[str, Fidelity]]
"""The numbers of a synthetic set by the titles of the measures, and by the names of the groups."""


def fidelity(
    context: EvaluationContext, measures: Sequence[Measure], find: FindMask
) -> list[dict[str, dict[str, Fidelity]]]:
    """The numbers of each synthetic set; the last group of a measure holds all of them.

    Args:
        context: what is evaluated.
        measures: by what.
        find: gives masks of defects, for crops.
    """
    results: list[dict[str, dict[str, Fidelity]]] = [{} for _ in context.synthetic]
    for measure in measures:
        progress = context.stages(f"fidelity, {measure.title}")
        sides: dict[Category, int] = {}

        def side(images: ImageSet, measure: Measure = measure, sides: dict[Category, int] = sides) -> _Side:
            return _crops(context, images, measure, find, sides) if measure.crops else _whole(context, images, measure)

        real = side(context.real)
        for done, (images, found) in enumerate(zip(context.synthetic, results, strict=True)):
            progress(done, len(results))
            made = side(images)
            groups = groups_of(real.images.categories, made.images.categories, context.normal)
            found[measure.title] = {group.name: _of_group(context, measure, group, real, made) for group in groups}
        progress(len(results), len(results))
    return results


@dataclass(frozen=True)
class _Side:
    """Images of a set, real or synthetic, their features (N, D) and maps (N, P), and their numbers in the set."""

    images: ImageSet
    features: Features
    maps: Features | None
    numbers: NDArray[np.int64]


def _whole(context: EvaluationContext, images: ImageSet, measure: Measure) -> _Side:
    numbers = [n for n, record in enumerate(images.records) if context.is_defective(record)]
    some = images.take(numbers)
    rows = _cache(context, measure.extractor).of(some)
    maps = None
    if measure.maps is not None:  # they are large, and taken again faster than they are read
        maps = FeatureCache(measure.maps, ArrayCache(), context.store, context.white).of(some)
    return _Side(some, rows, maps, np.array(numbers, np.int64))


def _crops(
    context: EvaluationContext, images: ImageSet, measure: Measure, find: FindMask, sides: dict[Category, int]
) -> _Side:
    """Crops of the images whose defects are known; fills the sides of the categories that it lacks."""
    masks = {n: find(record) for n, record in enumerate(images.records) if context.is_defective(record)}
    known = {n: mask for n, mask in masks.items() if mask is not None and mask.any()}
    for category, members in images.categories.items():
        reach = [extent(known[n]) for n in members if n in known]
        if reach and not images.records[members[0]].synthetic:
            sides[category] = max(LEAST, round(MARGIN * float(np.median(reach))))
    numbers = [n for n in known if images.records[n].category in sides]
    some = images.take(numbers)
    crops = [_crop(context, images, n, known[n], sides[images.records[n].category]) for n in numbers]
    stacked = torch.stack(crops) if crops else torch.zeros(0, 3, LITE_SIDE, LITE_SIDE, dtype=torch.uint8)
    maps = None if measure.maps is None else FeatureCache(measure.maps, ArrayCache()).of_pixels(stacked)
    return _Side(some, _cache(context, measure.extractor).of_pixels(stacked), maps, np.array(numbers, np.int64))


def _crop(context: EvaluationContext, images: ImageSet, number: int, mask: Mask, side: int) -> Tensor:
    """uint8 (3, LITE_SIDE, LITE_SIDE) around a defect."""
    pixels = colour_tensor(context.store.read(images.records[number].path), context.white).permute(1, 2, 0).numpy()
    around = around_defect(pixels, mask, min(side, *mask.shape))
    small = resized(torch.from_numpy(np.ascontiguousarray(around)).permute(2, 0, 1)[None], LITE_SIDE)
    return (small[0] * 255).round().to(torch.uint8)


def extent(mask: Mask) -> int:
    """Longer side of the box around a mask, pixels."""
    places = np.argwhere(mask)
    return int((places.max(0) - places.min(0)).max()) + 1


def _cache(context: EvaluationContext, extractor: Inception | LiteFeatures) -> FeatureCache:
    return FeatureCache(extractor, context.cache, context.store, context.white)


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


def _of_group(context: EvaluationContext, measure: Measure, group: Group, real: _Side, synthetic: _Side) -> Fidelity:
    chosen = list(group.real), list(group.synthetic)
    a, b = real.features[chosen[0]], synthetic.features[chosen[1]]
    sides = real.images.take(group.real), synthetic.images.take(group.synthetic)
    seed = zlib.crc32(f"{context.seed}/{group.name}".encode())
    sizes = len(a), len(b)
    resamples = _resamples(min(*sizes, a.shape[1]))
    numbers: dict = {"real": sizes[0], "synthetic": sizes[1], "resamples": resamples}
    if min(sizes) >= 2:
        kernel = kernel_distance(a, b)
        again: dict = {"sizes": sizes, "seed": seed, "resamples": resamples}
        numbers["frechet"] = resampled(frechet(a, b), lambda wa, wb: frechet(a, b, wa, wb), floor=0.0, **again)
        numbers["kernel"] = resampled(kernel(None, None), kernel, **again)
        numbers |= _halved(a, b, *sides, context.groups[real.numbers[chosen[0]]], seed)
    if min(sizes) > NEIGHBOURS:
        for name, queries, others in (("precision", b, a), ("recall", a, b)):
            hits = inside(queries, others)
            numbers[name] = share_interval(int(hits.sum()), len(hits))
    if real.maps is not None and synthetic.maps is not None:
        numbers |= _pairs(real.maps[chosen[0]], synthetic.maps[chosen[1]], seed)
    if measure.lpips is not None:
        for name, side in (("lpips_real", sides[0]), ("lpips", sides[1])):
            numbers[name] = _lpips(context, side, measure.lpips, seed)
    return Fidelity(**numbers)


def _pairs(real: Features, synthetic: Features, seed: int) -> dict[str, Interval | float | None]:
    """Distances of pairs by their maps, among the synthetic images, among the real ones, and within clusters."""
    among = squared_distances(synthetic, synthetic)
    found: dict[str, Interval | float | None] = {
        "clustered": intra_cluster(among, squared_distances(synthetic, real))
    }
    for name, matrix in (("diversity", among), ("diversity_real", squared_distances(real, real))):

        def measure(weights: NDArray, _: NDArray, matrix: NDArray = matrix) -> float:
            return pair_mean(matrix, weights)

        if len(matrix) > 1:
            sizes = len(matrix), 1
            found[name] = resampled(pair_mean(matrix), measure, sizes, seed=seed, resamples=200, floor=0.0)
    return found


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


def _lpips(context: EvaluationContext, images: ImageSet, lpips: Lpips, seed: int) -> Interval | None:
    if len(images) < 2:
        return None
    values = _pair_distances(context, images, lpips, chosen_pairs(len(images), seed))

    def measure(weights: NDArray, _: NDArray) -> float:
        return float(weights @ values / weights.sum())

    return resampled(float(values.mean()), measure, (len(values), 1), seed=seed, resamples=200, floor=0.0)


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
