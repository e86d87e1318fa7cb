"""One training of the study, a condition with a seed: computed once, kept by what it was computed from."""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from defectaug.benchmark.conditions import Condition
from defectaug.benchmark.settings import StudySettings
from defectaug.benchmark.splits import Partition
from defectaug.device import Compute
from defectaug.io.images import write_atomic
from defectaug.metrics.augmentation import Augment
from defectaug.metrics.classifier import (
    CategorySampler,
    Check,
    Labelled,
    Recipe,
    Validation,
    Views,
    build,
    fit,
    predict,
    usual_rate,
)
from defectaug.metrics.images import Decoded
from defectaug.nn.backbones import InitialWeights

VERSION = 4  # of what a training computes; a new one makes kept results void


@dataclass(frozen=True)
class Outcome:
    """What a training has given.

    Args:
        kinds: number of the likeliest defect for every test image, as if it were known to show one.
        margins: logarithm of how much likelier that one is than the normal class: the classifier names it where this
            is above 0, its line.
        defective: probability that it shows a defect, of any class.
        checks: statistics at the validation images.
        seconds: time it took.
    """

    kinds: tuple[int, ...]
    margins: tuple[float, ...]
    defective: tuple[float, ...]
    checks: tuple[Check, ...]
    seconds: float


@dataclass(frozen=True)
class Trial:
    """All that a training depends on.

    Args:
        condition, seed: what is trained.
        settings: the study's.
        classes: the defects, in the order of the class numbers.
        real, synthetic: the real images by use, and the synthetic ones that are trained on.
        weights, compute: what the classifier starts with, and where it is trained.
        views: what a frozen network has seen of the images.
    """

    condition: Condition
    seed: int
    settings: StudySettings
    classes: tuple[str, ...]
    real: Partition
    synthetic: Decoded | None
    weights: InitialWeights
    compute: Compute
    views: Views = field(default_factory=Views, compare=False)

    @property
    def recipe(self) -> Recipe:
        """How it is trained."""
        settings = self.settings
        rate = settings.rate or usual_rate(settings.classifier, self.weights)
        reversal = settings.reversal if self.synthetic is not None else 0.0
        return Recipe(settings.steps, rate, settings.weight_decay, settings.checks, reversal)

    def key(self) -> str:
        """Stands for everything that the outcome depends on; names of files and of sets are not among it."""
        settings, real = self.settings, self.real
        images = {"real": real.train, "synthetic": self.synthetic, "validation": real.validation, "test": real.test}
        parts = {
            "version": VERSION,
            "torch": torch.__version__,
            "compute": [self.compute.device.type, self.compute.bf16],
            "recipe": asdict(self.recipe),
            "classifier": [settings.classifier, self.weights.sha256],
            "augment": [self.condition.augmentation, settings.flips],
            "draws": [settings.batch_size, settings.real_share],
            "seed": self.seed,
            "classes": self.classes,
            "images": {name: None if part is None else _content(part) for name, part in images.items()},
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]

    def names(self, part: Decoded) -> Tensor:
        """Class numbers (N,) of images."""
        return torch.tensor([self.classes.index(defect) for _, defect in part.categories], dtype=torch.long)


def outcome_of(trial: Trial, cache: Path | None, progress: Callable[[int], object]) -> Outcome:
    """The outcome that the cache folder holds, or a new one, which is put there when it is whole.

    Raises:
        OutputError: the cache cannot be written.
    """
    path = None if cache is None else cache / f"{trial.key()}.json"
    kept = None if path is None else _read(path, len(trial.real.test), len(trial.classes))
    if kept is not None:
        progress(trial.settings.steps)
        return kept
    outcome = train(trial, progress)
    if path is not None:
        content = json.dumps(asdict(outcome)).encode()
        write_atomic(path, lambda file: file.write(content))
    return outcome


def train(trial: Trial, progress: Callable[[int], object] | None = None) -> Outcome:
    """Trains, chooses by the validation images, and names the test images."""
    started, settings = time.monotonic(), trial.settings
    data, sampler = _training(trial)
    classifier = build(
        settings.classifier,
        len(trial.classes),
        seed=trial.seed,
        weights=trial.weights,
        auxiliary=trial.recipe.reversal > 0,
    )
    checks = fit(
        classifier,
        data,
        sampler,
        trial.recipe,
        trial.compute,
        augment=Augment(trial.condition.augmentation, settings.flips),
        validation=_validation(trial),
        seed=trial.seed,
        views=trial.views,
        progress=progress,
    )
    tested = trial.views.plain(classifier, trial.real.test.images, trial.compute)
    likely = predict(classifier, tested, trial.compute)
    return _outcome(likely, checks, time.monotonic() - started)


def _outcome(likely: Tensor, checks: Sequence[Check], seconds: float) -> Outcome:
    """What class probabilities (N, classes) of the test images say, the normal class being the first."""
    defective = likely[:, 1:].sum(1)  # not one less the first, which float32 rounds to 0
    greatest, kinds = likely[:, 1:].max(1)
    tiny = torch.finfo(likely.dtype).tiny  # a probability that float32 holds for 0 has no logarithm
    margins = greatest.clamp_min(tiny).log() - likely[:, 0].clamp_min(tiny).log()
    return Outcome(
        tuple((kinds + 1).tolist()), tuple(margins.tolist()), tuple(defective.tolist()), tuple(checks), seconds
    )


def _training(trial: Trial) -> tuple[Labelled, CategorySampler]:
    parts = [trial.real.train] if trial.synthetic is None else [trial.real.train, trial.synthetic]
    categories = [category for part in parts for category in part.categories]
    synthetic = np.repeat([False, True][: len(parts)], [len(part) for part in parts])
    images, labels = torch.cat([part.images for part in parts]), torch.cat([trial.names(part) for part in parts])
    data = Labelled.of(images, labels, len(trial.classes))
    # CHOICE: the origin is learnt in categories that hold both kinds; elsewhere it would be a second label of the class
    both = set.intersection(*(set(part.categories) for part in parts)) if trial.synthetic else set()
    mixed, origin = torch.tensor([category in both for category in categories]), torch.from_numpy(synthetic)
    data.targets[:, -2:] = torch.stack([mixed & ~origin, mixed & origin], 1).float()
    numbers = {category: number for number, category in enumerate(sorted(set(categories)))}
    sampler = CategorySampler(
        np.array([numbers[category] for category in categories]),
        synthetic,
        batch=trial.settings.batch_size,
        seed=trial.seed,
        real_share=trial.settings.real_share,
    )
    return data, sampler


def _validation(trial: Trial) -> Validation | None:
    """Validation images, every category weighing the same."""
    part = trial.real.validation
    if not len(part):
        return None
    counts = Counter(part.categories)
    weights = torch.tensor([1 / (counts[category] * len(counts)) for category in part.categories])
    return Validation(part.images, trial.names(part), weights)


def _content(part: Decoded) -> list[object]:
    rows = ["\0".join((*category, digest)) for category, digest in zip(part.categories, part.digests, strict=True)]
    return [*part.images.shape, hashlib.sha256("\n".join(rows).encode(errors="surrogatepass")).hexdigest()]


def _read(path: Path, images: int, classes: int) -> Outcome | None:
    """A kept outcome; a file that is damaged is as if it were not there."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        checks = tuple(Check(int(c["step"]), float(c["error"]), float(c["loss"])) for c in kept["checks"])
        margins, defective = (tuple(map(float, kept[name])) for name in ("margins", "defective"))
        outcome = Outcome(tuple(map(int, kept["kinds"])), margins, defective, checks, float(kept["seconds"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    fits = len(outcome.kinds) == len(outcome.margins) == len(outcome.defective) == images
    fits = fits and all(0 < number < classes for number in outcome.kinds)
    return outcome if fits else None
