"""One training of the study, an arm with a seed: computed once, kept by what it was computed from."""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from defectaug.benchmark.conditions import Arm
from defectaug.benchmark.settings import StudySettings
from defectaug.device import Compute
from defectaug.io.images import write_atomic
from defectaug.metrics.augmentation import Augment
from defectaug.metrics.classifier import (
    CategorySampler,
    Check,
    Labelled,
    Recipe,
    Validation,
    build,
    fit,
    predict,
    usual_rate,
)
from defectaug.metrics.images import Decoded
from defectaug.nn.backbones import InitialWeights

VERSION = 1  # of what a training computes; a new one makes kept results void


@dataclass(frozen=True)
class Outcome:
    """What a training has given.

    Args:
        predicted: class number named for every test image.
        checks: statistics at the validation images.
        seconds: time it took.
    """

    predicted: tuple[int, ...]
    checks: tuple[Check, ...]
    seconds: float


@dataclass(frozen=True)
class Unit:
    """All that a training depends on.

    Args:
        arm, seed: what is trained.
        settings: the study's.
        classes: the defects, in the order of the class numbers.
        real, synthetic, validation, test: the images; of the synthetic ones those that are trained on.
        weights: what the classifier starts with.
        compute: where it is trained.
    """

    arm: Arm
    seed: int
    settings: StudySettings
    classes: tuple[str, ...]
    real: Decoded
    synthetic: Decoded | None
    validation: Decoded
    test: Decoded
    weights: InitialWeights
    compute: Compute

    @property
    def recipe(self) -> Recipe:
        """How it is trained."""
        settings = self.settings
        return Recipe(
            steps=settings.steps,
            rate=settings.rate or usual_rate(settings.classifier, self.weights),
            weight_decay=settings.weight_decay,
            checks=settings.checks,
            reversal=settings.reversal if self.synthetic is not None else 0.0,
        )

    def key(self) -> str:
        """Stands for everything that the outcome depends on; names of files and of sets are not among it."""
        settings = self.settings
        parts = {
            "version": VERSION,
            "torch": torch.__version__,
            "compute": [self.compute.device.type, self.compute.bf16],
            "recipe": asdict(self.recipe),
            "classifier": [settings.classifier, self.weights.sha256],
            "augment": [self.arm.augmentation, settings.flips],
            "draws": [settings.batch_size, settings.oversample, settings.real_share],
            "seed": self.seed,
            "classes": self.classes,
            "images": {
                name: [] if part is None else [list(part.images.shape), _content(part)]
                for name, part in (
                    ("real", self.real),
                    ("synthetic", self.synthetic),
                    ("validation", self.validation),
                    ("test", self.test),
                )
            },
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def outcome_of(unit: Unit, cache: Path | None, progress: Callable[[int], object]) -> Outcome:
    """The outcome that the cache folder holds, or a new one, which is put there when it is whole.

    Raises:
        OutputError: the cache cannot be written.
    """
    path = None if cache is None else cache / f"{unit.key()}.json"
    kept = None if path is None else _read(path, len(unit.test), len(unit.classes))
    if kept is not None:
        progress(unit.settings.steps)
        return kept
    outcome = train(unit, progress)
    if path is not None:
        content = json.dumps(asdict(outcome)).encode()
        write_atomic(path, lambda file: file.write(content))
    return outcome


def train(unit: Unit, progress: Callable[[int], object] | None = None) -> Outcome:
    """Trains, chooses by the validation images, and names the test images."""
    started = time.monotonic()
    data, sampler = _training(unit)
    classifier = build(
        unit.settings.classifier,
        len(unit.classes),
        channels=unit.real.images.shape[1],
        seed=unit.seed,
        weights=unit.weights,
        auxiliary=unit.recipe.reversal > 0,
    )
    checks = fit(
        classifier,
        data,
        sampler,
        unit.recipe,
        unit.compute,
        augment=Augment(unit.arm.augmentation, unit.settings.flips),
        validation=_validation(unit.validation, unit.classes),
        seed=unit.seed,
        progress=progress,
    )
    predicted = predict(classifier, unit.test.images, unit.compute).argmax(1)
    return Outcome(tuple(predicted.tolist()), tuple(checks), time.monotonic() - started)


def _training(unit: Unit) -> tuple[Labelled, CategorySampler]:
    parts = [unit.real] if unit.synthetic is None else [unit.real, unit.synthetic]
    categories = [category for part in parts for category in part.categories]
    synthetic = np.repeat([False, True][: len(parts)], [len(part) for part in parts])
    labels = torch.tensor([unit.classes.index(defect) for _, defect in categories])
    data = Labelled.of(torch.cat([part.images for part in parts]), labels, len(unit.classes))
    # CHOICE: the origin is learnt in categories that hold both kinds; elsewhere it would be a second label of the class
    made, real = set(unit.synthetic.categories if unit.synthetic else ()), set(unit.real.categories)
    mixed = torch.tensor([category in made and category in real for category in categories])
    origin = torch.from_numpy(synthetic)
    data.targets[:, -2] = (mixed & ~origin).float()
    data.targets[:, -1] = (mixed & origin).float()
    numbers = {category: number for number, category in enumerate(sorted(set(categories)))}
    settings = unit.settings
    sampler = CategorySampler(
        np.array([numbers[category] for category in categories]),
        synthetic,
        batch=settings.batch_size,
        seed=unit.seed,
        oversample=settings.oversample,
        real_share=settings.real_share,
    )
    return data, sampler


def _validation(part: Decoded, classes: tuple[str, ...]) -> Validation | None:
    """Validation images, every category weighing the same."""
    if not len(part):
        return None
    counts = Counter(part.categories)
    weights = torch.tensor([1 / (counts[category] * len(counts)) for category in part.categories])
    labels = torch.tensor([classes.index(defect) for _, defect in part.categories])
    return Validation(part.images, labels, weights)


def _content(part: Decoded) -> str:
    rows = ["\0".join((*category, digest)) for category, digest in zip(part.categories, part.digests, strict=True)]
    return hashlib.sha256("\n".join(rows).encode(errors="surrogatepass")).hexdigest()


def _read(path: Path, images: int, classes: int) -> Outcome | None:
    """A kept outcome; a file that is damaged is as if it were not there."""
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
        checks = tuple(Check(int(c["step"]), float(c["error"]), float(c["loss"])) for c in held["checks"])
        outcome = Outcome(tuple(map(int, held["predicted"])), checks, float(held["seconds"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    fits = len(outcome.predicted) == images and all(0 <= number < classes for number in outcome.predicted)
    return outcome if fits else None
