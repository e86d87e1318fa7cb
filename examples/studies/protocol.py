"""The protocol by which few-shot defect synthesis is compared (DFMGAN, Duan et al., 2023; AnomalyDiffusion, Hu et al.,
2024).

    python examples/studies/protocol.py MVTEC/bottle --out studies/bottle [--model DIR] [--slim|--full]
        [--per-category N] [--seeds 5]

The first third of each defect type, by name, trains the model, with the normal images that the data set trains on;
the rest tests. Of each type N synthetic images are made (1,000; --slim: 100). A U-Net that has seen synthetic images
with their masks, and normal ones, finds the defects of the rest; a classifier that has seen synthetic images alone
names the type, both trained --seeds times; synthetic images are compared with one another around the real one each is
nearest to. The model sees no masks.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev

import common
import numpy as np
import torch
from scipy.spatial.distance import cdist
from torch import Tensor
from unet import localisation, maps_of, train_unet

from defectaug.cli.progress import Progress
from defectaug.data.index import DataIndex, index_folder
from defectaug.data.sample import Sample
from defectaug.device import Compute, choose
from defectaug.errors import DataError, OutputError
from defectaug.io.images import resize_float
from defectaug.io.masks import read_mask
from defectaug.metrics.augmentation import Augment
from defectaug.metrics.classifier import CategorySampler, Labelled, Recipe, build, fit, predict, usual_rate
from defectaug.metrics.distances import intra_cluster, pair_mean
from defectaug.metrics.features import LiteFeatures, LiteMaps
from defectaug.metrics.folders import ImageRecord, read_synthetic, records_of
from defectaug.metrics.images import Form, decode
from defectaug.nn.backbones import LITE, find_weights
from defectaug.nn.weights import EFFICIENTNET_LITE, require
from defectaug.reporting.sections import Spread, Table, Value

TRAINING_SHARE = 3  # one in so many defective images of a type
COVERED = 0.25  # share of a pixel that the mask covers where it counts as defect


@dataclass(frozen=True)
class Size:
    """How large the protocol is run."""

    images: int
    side: int
    width: int
    steps: int
    batch: int
    classifier: str
    naming_steps: int


SLIM = Size(images=100, side=128, width=12, steps=300, batch=16, classifier=LITE, naming_steps=300)
FULL = Size(images=1000, side=256, width=64, steps=10_000, batch=32, classifier="resnet34", naming_steps=3_000)


def parted(index: DataIndex) -> tuple[DataIndex, DataIndex]:
    """Training and test images: the first third of each defect, by name, and the rest; normal ones by their folder.

    Raises:
        DataError: too few defective images of a type to part, or test images without masks.
    """
    train, test = [], []
    for product in index.products:
        for defect in index.defects:
            found = sorted(index.category(product, defect), key=lambda sample: sample.path.name)
            if defect == index.normal:
                train += [one for one in found if not tests(one, index)]
                test += [one for one in found if tests(one, index)]
                continue
            count = len(found) // TRAINING_SHARE
            if found and not count:
                raise DataError(f"{index.root}: {len(found)} images of {product}/{defect}; 3 or more are needed")
            train += [replace(one, mask=None) for one in found[:count]]  # labels alone
            test += found[count:]
    if not any(one.defect == index.normal for one in train) or not any(one.defect == index.normal for one in test):
        raise DataError(f"{index.root}: no train/good or no test/good; the protocol is for MVTec's layout")
    if bare := [one.path for one in test if one.defect != index.normal and one.mask is None]:
        raise DataError(f"{bare[0]}: has no mask ({len(bare)} in all), so localisation cannot be tested")
    return tuple(replace(index, samples=tuple(some)) for some in (train, test))  # type: ignore[return-value]


def tests(sample: Sample, index: DataIndex) -> bool:
    """Whether an image lies in the data set's own test folder."""
    return "test" in sample.path.relative_to(index.root).parts


def folders(options: argparse.Namespace) -> tuple[DataIndex, DataIndex]:
    """The parts as OUT/real and OUT/test, made once.

    Raises:
        OutputError: OUT holds the study of other data.
    """
    record, parts = options.out / "parted", (options.out / "real", options.out / "test")
    if not record.exists():
        index = index_folder(options.data, class_map=options.map, normal=options.normal)
        for part, place in zip(parted(index), parts, strict=True):
            common.link(part, place)
        record.write_text(f"{options.data.resolve()}\n", encoding="utf-8")
    if record.read_text(encoding="utf-8").strip() != str(options.data.resolve()):
        raise OutputError(f"{options.out}: holds a study of other data; name another folder with --out")
    return index_folder(parts[0]), index_folder(parts[1])


@dataclass(frozen=True)
class Images:
    """uint8 (N, 3, S, S) with masks (N, S, S) and types."""

    pixels: Tensor
    masks: Tensor
    types: list[str]

    def where(self, kept: Sequence[bool]) -> Images:
        """The images to keep."""
        chosen = torch.tensor([number for number, keep in enumerate(kept) if keep], dtype=torch.long)
        return Images(self.pixels[chosen], self.masks[chosen], [self.types[n] for n in chosen.tolist()])


def read(records: Sequence[ImageRecord], side: int) -> Images:
    """Images squeezed to `side`, and their masks; empty ones where there are none."""
    decoded = decode(records, Form(side, 3), common.log)
    masks = [
        np.zeros((side, side), bool) if record.mask is None
        else resize_float(read_mask(record.mask).astype(np.float32), (side, side)) > COVERED
        for record in decoded.records
    ]  # fmt: skip
    return Images(decoded.images, torch.from_numpy(np.stack(masks)), [record.defect for record in decoded.records])


def localise(made: Images, real: Images, normal: Images, size: Size, seed: int, compute: Compute) -> list[float]:
    """Pixel AUROC, AP, F1-max and PRO, per cent, of a U-Net trained on synthetic images and on normal ones."""
    pixels, masks = torch.cat([made.pixels, normal.pixels]), torch.cat([made.masks, normal.masks])
    with Progress("train the U-Net", unit="step") as progress:
        network = train_unet(
            pixels, masks, compute, width=size.width, steps=size.steps, batch=size.batch, seed=seed, progress=progress
        )
    scores = localisation(maps_of(network, real.pixels, compute), real.masks.numpy())
    return [100 * value for value in (scores.auroc, scores.precision, scores.f1, scores.pro)]


def name_types(made: Images, real: Images, size: Size, seed: int, compute: Compute) -> float | None:
    """Real defective images whose type is named right, per cent, by a classifier that has seen synthetic ones alone."""
    types = sorted(set(made.types))
    if len(types) < 2:
        return None
    weights = find_weights(size.classifier, "auto", common.log)
    classifier = build(size.classifier, len(types), seed=seed, weights=weights)
    labels = torch.tensor([types.index(one) for one in made.types])
    sampler = CategorySampler(labels.numpy(), np.zeros(len(labels), bool), batch=48, seed=seed)
    recipe = Recipe(size.naming_steps, usual_rate(size.classifier, weights))
    data = Labelled.of(made.pixels, labels, len(types))
    fit(classifier, data, sampler, recipe, compute, augment=Augment(), seed=seed)
    named = predict(classifier, real.pixels, compute).argmax(1).tolist()
    right = sum(types[number] == wanted for number, wanted in zip(named, real.types, strict=True))
    return 100 * right / len(named)


def spread(found: Sequence[float | None]) -> Value:
    """Mean and standard deviation over the seeds; the value alone of a single one, None where nothing was measured."""
    known = [one for one in found if one is not None]
    return Spread(fmean(known), stdev(known)) if len(known) > 1 else known[0] if known else None


def class_score(chances: Tensor) -> float:
    """What IS takes of chances (N, C) of classes: from 1, all images alike, to C (Salimans et al., 2016)."""
    mean = chances.mean(0, keepdim=True)
    return float((torch.xlogy(chances, chances) - torch.xlogy(chances, mean)).sum(1).mean().exp())


def named_classes(images: Images, compute: Compute) -> Tensor:
    """Chances (N, 1000) of ImageNet's classes by EfficientNet-Lite1."""
    file = require(EFFICIENTNET_LITE, None)
    features, head = LiteFeatures(file, compute.device), torch.load(file.path, map_location="cpu", weights_only=True)
    rows = torch.from_numpy(np.concatenate([features(part) for part in images.pixels.split(32)]))
    return torch.softmax(rows @ head["_fc.weight"].T + head["_fc.bias"], 1)


def diversity(made: Images, real: Images, compute: Compute) -> list[Value]:
    """The score of classes; distances of pairs of synthetic images, and within clusters, as means over the types."""
    maps = LiteMaps(require(EFFICIENTNET_LITE, None), compute.device)

    def rows(images: Images, kind: str) -> np.ndarray:
        some = images.where([one == kind for one in images.types]).pixels
        return np.concatenate([maps(part) for part in some.split(32)])

    pairs, clustered = [], []
    for kind in sorted(set(made.types) & set(real.types)):
        a, b = rows(made, kind), rows(real, kind)
        among = cdist(a, a, "sqeuclidean")
        pairs.append(pair_mean(among))
        clustered.append(intra_cluster(among, cdist(a, b, "sqeuclidean")))
    known = [one for one in clustered if one is not None]
    scored = class_score(named_classes(made, compute))
    return [scored, float(np.mean(pairs)), float(np.mean(known)) if known else None]


def protocol(options: argparse.Namespace) -> None:
    """Trains, synthesizes, measures and writes the table."""
    size = SLIM if common.is_slim(options) else FULL
    size = replace(size, side=options.image_size or size.side, steps=options.steps or size.steps)
    options.per_category = options.per_category or size.images
    real, test = folders(options)
    model = options.model or common.trained("model", real, options, "auto")
    made_folders = common.synthetic(model, real, options, masks=True)
    compute, normal = choose(options.device), real.normal
    made = read([record for folder in made_folders for record in read_synthetic(folder, common.log)], size.side)
    few, rest = read(records_of(real), size.side), read(records_of(test), size.side)
    few_defects, few_normals = (few.where([(one != normal) == want for one in few.types]) for want in (True, False))
    defects = rest.where([one != normal for one in rest.types])
    row: list[Value] = [model.resolve().name, len(made.types)]
    runs = [
        [*localise(made, rest, few_normals, size, seed, compute), name_types(made, defects, size, seed, compute)]
        for seed in range(options.seed, options.seed + options.seeds)
    ]
    row += [*(spread(column) for column in zip(*runs, strict=True)), *diversity(made, few_defects, compute)]
    note = (
        f"{len(few_defects.types)} defective images of {len(set(few_defects.types))} types train the model, "
        f"{len(defects.types)} and {len(rest.types) - len(defects.types)} normal ones test. U-Net of width "
        f"{size.width}, {size.steps} steps of {size.batch}, {size.side} pixels, synthetic and normal images alone; "
        f"classifier {size.classifier}, synthetic images alone. Mean ± standard deviation of {options.seeds} "
        "trainings, of one model's images. Score of classes: as IS, by EfficientNet-Lite1 at 128 pixels. Distances of "
        "pairs, and within clusters as IC-LPIPS takes them (Ojha et al., 2021), around the real images that trained: "
        f"{LiteMaps.name}, whole images; not LPIPS."
    )
    beside: list[Value] = ["real test images", len(defects.types), *[None] * 5]
    beside += diversity(defects, few_defects, compute)
    columns = ["model", "synthetic images", "pixel AUROC (%)", "AP (%)", "F1-max (%)", "PRO (%)"]
    columns += ["type named right (%)", "score of classes", "distance of pairs", "within clusters"]
    table = Table("Localisation, naming, diversity", columns, [row, beside], note)
    common.write("protocol", options, f"The field's protocol on {options.data.name}", [], [table], {})


if __name__ == "__main__":
    parser = common.parser(__doc__)
    common.training_options(parser)
    common.main(protocol, parser.parse_args())
