"""Fidelity and diversity of synthetic sets: FID, KID, precision, recall, and LPIPS as in the paper's Table 3."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray

from defectaug.data.sample import Category
from defectaug.metrics import distances
from defectaug.metrics.array_cache import digest
from defectaug.metrics.context import Scene, cell_name
from defectaug.metrics.extractors import PairMeasure, resized
from defectaug.metrics.features import FeatureStore, load
from defectaug.metrics.image_statistics import ImageSet
from defectaug.reporting import fidelity as words
from defectaug.reporting.fidelity import HALVINGS, Measured
from defectaug.reporting.sections import Interval, Section

PAIRS = 100  # pairs of a group that LPIPS is taken over
PAIR_BATCH = 16
Features = NDArray[np.float32]


@dataclass(frozen=True)
class Group:
    """Cells that are measured together: one, a product's, a defect's or all; numbers of their pictures."""

    name: str
    real: tuple[int, ...]
    synthetic: tuple[int, ...]


def fidelity(scene: Scene, store: FeatureStore, pairs: PairMeasure | None) -> list[Section]:
    """One section a synthetic set.

    Args:
        scene: what is evaluated.
        store: features.
        pairs: LPIPS; None for the distance of the features of pairs.
    """
    real = store.of(scene.real, scene.stage("features of the real images"))
    return [_section(scene, made, store, pairs, real) for made in scene.synthetic]


def groups_of(
    real: Mapping[Category, Sequence[int]], made: Mapping[Category, Sequence[int]], normal: str
) -> list[Group]:
    """Cells that both sets hold, then their products, their defects and all; groups of the same cells only once. The
    last one holds all of them."""
    cells = [cell for cell in made if cell in real and cell[1] != normal]
    named = {cell_name(cell): [cell] for cell in cells}
    named |= {f"product {name}": [c for c in cells if c[0] == name] for name in sorted({c[0] for c in cells})}
    named |= {f"defect {name}": [c for c in cells if c[1] == name] for name in sorted({c[1] for c in cells})}
    named["all"] = cells
    seen: set[tuple[Category, ...]] = set()
    groups = []
    for name, members in named.items():
        if members and (tuple(members) not in seen):
            seen.add(tuple(members))
            both = [tuple(sorted(n for cell in members for n in numbers[cell])) for numbers in (real, made)]
            groups.append(Group(name, *both))
    return groups


def _section(
    scene: Scene, made: ImageSet, store: FeatureStore, pairs: PairMeasure | None, real: Features
) -> Section:
    new = store.of(made, scene.stage(f"features of {made.name}"))
    groups = groups_of(scene.real.categories, made.categories, scene.normal)
    show = scene.stage(f"fidelity of {made.name}")
    results: dict[str, Measured] = {}
    for done, group in enumerate(groups):
        show(done, len(groups))
        results[group.name] = _measure(scene, made, group, real, new, pairs)
    show(len(groups), len(groups))
    extractor = store.extractor
    title = f"Fidelity and diversity: {made.name}"
    if not groups:
        line = f"{made.name} and {scene.real.name} have no defective product and defect in common: nothing to compare."
        return Section(title, warnings=[line])
    return Section(
        title,
        lines=words.lines(results, extractor, pairs),
        warnings=words.warnings(results, extractor),
        tables=words.tables(results, extractor, pairs),
        figures=[words.figure(results, extractor)],
        findings=words.findings(made.name, results, extractor),
        method=words.method(extractor, pairs),
        numbers={
            "extractor": words.about(extractor) | {"features": extractor.size},
            "pair measure": words.about(pairs) if pairs else "Euclidean distance of the features",
            "neighbours": distances.NEIGHBOURS,
            "halvings": HALVINGS,
            "seed": scene.seed,
            "groups": results,
        },
    )


def _measure(
    scene: Scene, made: ImageSet, group: Group, real: Features, new: Features, pairs: PairMeasure | None
) -> Measured:
    a, b = real[list(group.real)], new[list(group.synthetic)]
    seed = zlib.crc32(f"{scene.seed}/{group.name}".encode())
    sizes = len(a), len(b)
    resamples = _resamples(min(min(sizes), a.shape[1]))
    numbers: dict = {"real": sizes[0], "synthetic": sizes[1], "resamples": resamples}
    if min(sizes) >= 2:
        kernels = distances.Kernels.of(a, b)
        numbers["frechet"] = distances.resampled(
            distances.frechet(a, b),
            lambda wa, wb: distances.frechet(a, b, wa, wb),
            sizes, seed=seed, resamples=resamples, floor=0.0,
        )  # fmt: skip
        numbers["kernel"] = distances.resampled(
            kernels.distance(), kernels.distance, sizes, seed=seed, resamples=resamples
        )
        cells = [[one.records[n].category for n in numbers] for one, numbers in _both(scene, made, group)]
        numbers |= _halved(a, b, cells, scene.groups[list(group.real)], seed)
    if min(sizes) > distances.NEIGHBOURS:
        for name, queries, others in (("precision", b, a), ("recall", a, b)):
            hits = distances.inside(queries, others)
            numbers[name] = distances.share_interval(int(hits.sum()), len(hits))
    for name, images, rows in (
        ("diversity", made.take(group.synthetic), b),
        ("diversity_real", scene.real.take(group.real), a),
    ):
        numbers[name] = _diversity(scene, images, rows, pairs, seed)
    return Measured(**numbers)


def _both(scene: Scene, made: ImageSet, group: Group) -> list[tuple[ImageSet, tuple[int, ...]]]:
    return [(scene.real, group.real), (made, group.synthetic)]


def _halved(
    a: Features, b: Features, cells: Sequence[Sequence[Category]], near: NDArray[np.int64], seed: int
) -> dict[str, float | int]:
    """The yardstick: real against real at the counts, cell by cell, at which synthetic is set against real."""
    synthetic, real, even = [], [], 0
    places = [{cell: [n for n, one in enumerate(some) if one == cell] for cell in sorted(set(some))} for some in cells]
    for halving in range(HALVINGS):
        rng = np.random.default_rng([seed, halving])
        names = rng.permutation(np.unique(near))
        first = np.isin(near, names[::2])  # near-duplicates stay in one half
        others: list[int] = []
        made: list[int] = []
        for cell, members in places[0].items():
            free = rng.permutation([n for n in members if not first[n]])
            there = rng.permutation(places[1][cell])
            count = min(len(free), len(there))
            others += [int(n) for n in free[:count]]
            made += [int(n) for n in there[:count]]
        even = len(made)
        if min(int(first.sum()), even) < 2:
            return {}
        synthetic.append(distances.frechet(a[first], b[made]))
        real.append(distances.frechet(a[first], a[others]))
    return {"frechet_even": float(np.mean(synthetic)), "frechet_real": float(np.mean(real)), "even": even}


def _diversity(scene: Scene, images: ImageSet, rows: Features, pairs: PairMeasure | None, seed: int) -> Interval | None:
    if len(images) < 2:
        return None
    if pairs is None:
        matrix = np.sqrt(distances.squared(rows, rows))
        value = distances.pair_mean(matrix)
        return distances.resampled(
            value, lambda w, _: distances.pair_mean(matrix, w), (len(rows), 1), seed=seed, resamples=200, floor=0.0
        )
    values = _pair_distances(scene, images, pairs, chosen_pairs(len(images), seed))
    return distances.resampled(
        float(values.mean()),
        lambda w, _: float(w @ values / w.sum()),
        (len(values), 1), seed=seed, resamples=200, floor=0.0,
    )  # fmt: skip


def chosen_pairs(count: int, seed: int) -> list[tuple[int, int]]:
    """All pairs of the numbers below `count`, or `PAIRS` of them drawn without repeats."""
    every = count * (count - 1) // 2
    if every <= PAIRS:
        return list(combinations(range(count), 2))
    rng = np.random.default_rng(seed)
    found: set[tuple[int, int]] = set()
    while len(found) < PAIRS:
        first, second = (int(number) for number in rng.choice(count, 2, replace=False))
        found.add((min(first, second), max(first, second)))
    return sorted(found)


def _pair_distances(
    scene: Scene, images: ImageSet, pairs: PairMeasure, chosen: Sequence[tuple[int, int]]
) -> NDArray[np.float64]:
    kind = f"pairs-{digest([pairs.name, pairs.weights, pairs.resize, scene.white])}"
    kept, prints = scene.cache.rows(kind), images.prints
    keys = ["-".join(sorted((prints[i], prints[j]))) for i, j in chosen]
    missing = [(key, pair) for key, pair in zip(keys, chosen, strict=True) if key not in kept]
    for start in range(0, len(missing), PAIR_BATCH):
        batch = missing[start : start + PAIR_BATCH]
        sides = []
        for side in (0, 1):
            loaded = load([images.records[pair[side]] for _, pair in batch], scene.white)
            small = [resized(image[None], pairs.side) for image in loaded]
            sides.append((torch.cat(small) * 255).round().to(torch.uint8))
        values = pairs(*sides)[:, None]
        names = [key for key, _ in batch]
        scene.cache.keep(kind, names, values)
        kept |= dict(zip(names, values, strict=True))
    return np.array([kept[key][0] for key in keys], np.float64)


def _resamples(side: int) -> int:
    """Fewer where each costs a decomposition of large matrices."""
    return 200 if side <= 256 else 50 if side <= 1024 else 20
