"""The numbers of one set: a row a product and defect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from defect_statistics import (
    BLOCK,
    RING,
    SIDE,
    Classify,
    DefectStatistics,
    anywhere,
    dilated,
    distribution_distance,
    iou,
    moved_iou,
    named,
    near_defect,
    nearest_training_defect,
    style_effect,
    told_from_real,
)
from images import Item, Mask, of
from numpy.typing import NDArray
from scipy.stats import wasserstein_distance

from defectaug.io.images import read_image, resize_float
from defectaug.methods.base import BundleInfo, DefectModel
from defectaug.methods.native import restoration_change
from defectaug.metrics.localisation import BLUR, PixelCounts, blurred

CROP = 64  # pixels, at native scale, that a classifier is shown
NORMALS = 200  # crops of normal images to learn from
VIEWS = 4  # crops of each defective image to learn from
SEEDS = 3
Row = dict[str, float]


@dataclass(frozen=True)
class Styled:
    """One shape in K styles: images (K, H, W, 3), masks (K, H, W)."""

    images: NDArray[np.uint8]
    masks: NDArray[np.bool_]

    @property
    def mask(self) -> Mask:
        """Where any of the styles has left something."""
        return np.asarray(self.masks.any(0))


@dataclass(frozen=True)
class Transferred:
    """A transfer and the image whose defect it took."""

    made: Item
    reference: Item


@dataclass(frozen=True)
class Material:
    """All that a set's numbers are computed from."""

    train: Sequence[Item]
    test: Sequence[Item]
    synthetic: Sequence[Item]
    styled: Mapping[str, Sequence[Styled]]
    transferred: Mapping[str, Sequence[Transferred]]
    model: DefectModel
    classify: Classify

    @property
    def names(self) -> list[str]:
        """Categories that training has seen and of which unseen images have masks."""
        trained = {one.name for one in self.train}
        return sorted({one.name for one in self.test if one.name in trained and not one.normal and one.mask.any()})


def rows(material: Material) -> dict[str, Row]:
    """Every measure of every product and defect; one that cannot be computed is left out."""
    columns = {"told from real": told_apart(material), "transfers told": transfers_told(material)}
    columns |= named_right(material) | {"restoration": restoration(material)}
    return {
        name: {
            "painted": painted(material, name),
            **styles(material, name),
            **distances(material, name),
            **{key: some[name] for key, some in columns.items() if name in some},
            **transfers(material, name),
        }
        for name in material.names
    }  # fmt: skip


def painted(material: Material, name: str) -> float:
    """Share of the synthetic images of a category on which a defect is visible."""
    visible = [one.mask.any() for one in material.synthetic if one.name == name]
    return float(np.mean(visible)) if visible else 0.0


def levels(item: Item) -> NDArray[np.float32]:
    """Grey levels within the mask over those of its surround (N, 3)."""
    surround = dilated(item.mask, RING[1]) & ~dilated(item.mask, RING[0])
    base = item.image[surround if surround.any() else ~item.mask]
    return item.image[item.mask].astype(np.float32) - (base.mean(0) if len(base) else 0)


def real_difference(items: Sequence[Item]) -> float:
    """How far the levels of two real defects are apart: Wasserstein distance, mean over pairs and channels."""
    some = [levels(one) for one in items[:20]]
    pairs = [wasserstein_distance(a[:, c], b[:, c]) for a, b in combinations(some, 2) for c in range(3)]
    return float(np.mean(pairs)) if pairs else float("nan")


def styles(material: Material, name: str) -> Row:
    """Difference of styles of one shape inside its mask, over real defects', and outside, in grey levels."""
    effects, shapes = [], material.styled.get(name, ())
    for one in shapes:
        flat = np.concatenate(np.moveaxis(one.images, 3, 0), 1)  # (K, 3H, W): the channels one below the other
        effects.append(style_effect(flat, np.tile(one.mask, (3, 1))))
    real = real_difference(of(material.test, name))
    if not effects or not real > 0:
        return {}
    identical = sum(np.array_equal(a, b) for one in shapes for a, b in combinations(one.images, 2))
    inside, outside = np.mean(effects, 0)
    return {"styles": inside / real, "styles outside": outside, "styles identical": float(identical)}


def distances(material: Material, name: str) -> Row:
    """Tone and contrast against real ones (the worst channel), and the nearest training defect."""
    groups = [of(some, name) for some in (material.synthetic, material.test, material.train)]
    if min(map(len, groups)) < 2:
        return {}
    colour = any((one.image.max(2) != one.image.min(2)).any() for one in groups[1])
    by_channel = [
        [
            DefectStatistics.of([one.image[..., c] for one in some], [one.mask for one in some])
            for c in (range(3) if colour else (1,))
        ]
        for some in groups
    ]
    ours, real, known = by_channel
    row = {
        f"{key} distance": max(
            distribution_distance(getattr(a, key), getattr(b, key)) for a, b in zip(ours, real, strict=True)
        )
        for key in ("tone", "contrast")
    }
    middle = len(known) // 2  # green, or grey
    around = turned(known[middle].centred)
    for key, some in (("nearest training", ours), ("nearest, of real", real)):
        row[key] = float(np.median(nearest_training_defect(some[middle].centred, around)))
    return row


def turned(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Centred maps (N, P) in their eight orientations (8 N, P)."""
    squares = maps.reshape(len(maps), SIDE // BLOCK, SIDE // BLOCK)
    turns = [np.rot90(some, k, (1, 2)) for some in (squares, squares[:, :, ::-1]) for k in range(4)]
    return np.concatenate(turns).reshape(-1, maps.shape[1])


def told_apart(material: Material) -> Row:
    """Share of crops that a classifier tells right to be real or synthetic, by category; it has not seen them."""

    def cut(items: Sequence[Item]) -> dict[str, NDArray]:
        groups = {name: of(items, name) for name in material.names}
        return {name: np.stack([one.crop(CROP) for one in some]) for name, some in groups.items() if len(some) > 3}

    real, made = cut([*material.train, *material.test]), cut(material.synthetic)
    runs = [told_from_real(real, made, material.classify, seed) for seed in range(SEEDS)]
    return {name: float(np.mean([run[name] for run in runs])) for name in runs[0]}


def transfers_told(material: Material) -> Row:
    """Share of crops that a classifier tells right to be transfers or their references. Each defect is there once on
    either side, so that what it tells is not that a shape comes again."""
    pairs = {
        name: [one for one in some if one.made.mask.any()]
        for name, some in material.transferred.items()
        if sum(bool(one.made.mask.any()) for one in some) > 3
    }
    real = {name: np.stack([one.reference.crop(CROP) for one in some]) for name, some in pairs.items()}
    made = {name: np.stack([one.made.crop(CROP) for one in some]) for name, some in pairs.items()}
    runs = [told_from_real(real, made, material.classify, seed) for seed in range(SEEDS)] if pairs else []
    return {name: float(np.mean([run[name] for run in runs])) for name in pairs}


def named_right(material: Material) -> dict[str, Row]:
    """Share of crops whose defect a classifier names right that knows real training images: synthetic, unseen real."""
    rng = np.random.default_rng(0)
    normals = [one for one in material.train if one.normal]
    learn: dict[str, list[NDArray]] = {}
    for number in rng.permutation(len(normals))[:NORMALS]:
        learn.setdefault("any/normal", []).append(anywhere(normals[number].image, CROP, rng))
    for name in material.names:
        views = [near_defect(one.image, one.mask, CROP, rng, offset=CROP // 8)
                 for one in of(material.train, name) for _ in range(VIEWS)]  # fmt: skip
        learn |= {name: views} if views else {}
    groups = {"named right": material.synthetic, "of real": material.test}
    asked = {
        f"{key}:{name}": np.stack([one.crop(CROP) for one in some])
        for key, items in groups.items()
        for name in material.names
        if (some := of(items, name))
    }
    if len(learn) < 2 or not asked:
        return {}
    answers = named({name: np.stack(some) for name, some in learn.items()}, asked, material.classify)
    found: dict[str, Row] = {}
    for group, names in answers.items():
        key, _, name = group.partition(":")
        right = [answer.split("/")[1] == name.split("/")[1] for answer in names]
        found.setdefault(key, {})[name] = float(np.mean(right))
    return found


def restoration(material: Material) -> Row:
    """Pixel AUROC of what restoring changes on unseen images against their true masks."""
    found = {}
    for name in material.names:
        counts = PixelCounts()
        for one in of(material.test, name):
            change = 255 * np.abs(restoration_change(read_image(one.path), material.model, name.split("/")[0]))
            grey = change if change.ndim == 2 else change.mean(2)
            counts.add(np.clip(blurred(grey.astype(np.float32), BLUR), 0, 255), one.mask)
        score = counts.score()
        found |= {name: score.auroc} if score else {}
    return found


def transfers(material: Material, name: str) -> Row:
    """:func:`overlap`, as a mean over the transfers of a category."""
    overlaps = [overlap(one, material.model.info, name) for one in material.transferred.get(name, ())]
    return {"transfer IoU": float(np.mean(overlaps))} if overlaps else {}


def overlap(one: Transferred, info: BundleInfo, name: str) -> float:
    """Overlap of a transfer's mask with the reference's true mask, which is brought to the transfer's size; where
    images are seen in windows defects keep their size, and places are those of windows: the best overlap, then."""
    made, reference = one.made.mask, one.reference.mask
    if info.window(name.split("/")[0], reference.shape) is None:
        return iou(made, resize_float(reference.astype(np.float32), made.shape) > 0.5)
    return moved_iou(made, reference)
