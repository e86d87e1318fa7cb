"""`run_study`: train classifiers with and without synthetic images, and tell whether these help."""

from __future__ import annotations

import logging
import platform
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from defectaug import __version__
from defectaug import device as devices
from defectaug.benchmark.conditions import Condition, conditions, sampling_budget, subset
from defectaug.benchmark.control import cut_and_paste
from defectaug.benchmark.leakage import SyntheticSet, filter_leaks
from defectaug.benchmark.result import ConditionResult, Run, StudyResult
from defectaug.benchmark.runs import Trial, outcome_of
from defectaug.benchmark.scoring import run_of
from defectaug.benchmark.settings import StudySettings
from defectaug.benchmark.splits import Partition, partition
from defectaug.data.index import DataIndex, alike, index_folder
from defectaug.data.survey import white_level
from defectaug.errors import DataError
from defectaug.io.progress import Log, Progress
from defectaug.metrics.changes import FindMask
from defectaug.metrics.classifier import Views
from defectaug.metrics.folders import records_of, refuse_overlap
from defectaug.metrics.images import Decoded, Form, ImageStore, channels_of, decode
from defectaug.nn.backbones import InitialWeights, find_weights

Folders = Mapping[str, Path | Sequence[Path]] | Sequence[Path]
logger = logging.getLogger("defectaug")


def run_study(
    real: Path | DataIndex,
    synthetic: Folders = (),
    settings: StudySettings | None = None,
    *,
    test: Path | DataIndex | None = None,
    cache: Path | None = None,
    models: Sequence[Path] = (),
    control: FindMask | None = None,
    store: ImageStore | None = None,
    progress: Progress | None = None,
    log: Log | None = None,
) -> StudyResult:
    """Trains a classifier of the defect on all products, once for each condition and seed, and compares error rates.

    Section 4.2 of the paper. Results depend on the images, their labels, the settings and the kind of device, not on
    names or order of files (but for MTD's, whose numbers tell which images show one tile).

    Args:
        real: real images, as a folder in any layout or as an index of it.
        synthetic: folders of synthetic images, or sets by name, a set of one folder or more.
        settings: None: the slim study on a CPU, the full one on a GPU.
        test: other real images to test on; None holds some of `real` out.
        cache: folder for finished trainings, which are not done again.
        models: bundles that made the synthetic images, beside those that manifests name; they tell whether they have
            seen the test images.
        control: gives the masks of real defects, which are cut out and pasted as one more set; None for no control.
        store: decodes the images; None for a new one.
        progress: called with (steps done, steps in all).
        log: takes lines for the user; None sends them to the logger "defectaug".

    Raises:
        DataError: folders that cannot be read, or leave nothing to train on or to test with.
        ConfigError: an unknown classifier or device, weights that cannot be had, folders that lie in one another.
        OutputError: the cache cannot be written.
    """
    log = log or logger.info
    settings = settings or default_settings()
    compute = devices.choose(settings.device, settings.precision)
    sets = _named(synthetic)
    weights = find_weights(settings.classifier, settings.weights, log)
    index = real if isinstance(real, DataIndex) else index_folder(real)
    test_index = alike(index_folder(test), index, log) if isinstance(test, Path) else test
    folders = dict.fromkeys(root for some in sets.values() for root in some)  # two sets may have folders in common
    refuse_overlap([*(folder for folder in (real, test) if isinstance(folder, Path)), *folders])

    records, store = records_of(index), store or ImageStore()
    form = Form(settings.image_size, channels_of(records), white_level(index.samples, read=store.read), store)
    log(f"reading {len(records):,} real images in {index.root}")
    images = decode(records, form, log)
    tests = None if test_index is None else _tests(test_index, index, form, log)
    divided = partition(index, images, tests, settings, store)
    usable = [filter_leaks(name, some, divided, index, form, log, models) for name, some in sets.items()]
    if control is not None:
        draw = partial(cut_and_paste, divided.train, index.normal, control, settings, tuple(usable))
        usable += [draw(number) for number in range(settings.control_draws)]
    notes = tuple(divided.notes(index))
    for line in (*notes, *(line for one in usable for line in one.lines())):
        log(line)

    trials = _trials(divided, usable, settings, index, weights, compute)
    total = settings.steps * len(settings.seeds) * len(conditions(settings, [one.name for one in usable]))
    results = _results(trials, cache, lambda done: progress(done, total) if progress else None)
    return StudyResult(
        folder=str(index.root),
        test_folder=None if test_index is None else str(test_index.root),
        settings=settings,
        classes=index.defects,
        products=tuple(sorted({record.product for record in divided.test.records})),
        weights={"origin": weights.origin, "sha256": weights.sha256},
        conditions=results,
        split=divided.files(index.root),
        left_out={one.name: one.left_out for one in usable},
        notes=notes,
        recipes={one.name: one.recipe for one in usable if one.recipe},
        models={one.name: one.model for one in usable if one.model},
        leaks={one.name: one.leak for one in usable if one.leak},
        machine=f"{platform.machine()}, {compute.describe()}",
        versions={"defectaug": __version__, "torch": torch.__version__, "python": platform.python_version()},
    )


def default_settings(device: str = "auto") -> StudySettings:
    """The full study where there is a GPU, else the slim one.

    Raises:
        ConfigError: a device that is not there.
    """
    full = devices.choose(device).device.type == "cuda"
    return replace(StudySettings.full() if full else StudySettings.slim(), device=device)


def _named(synthetic: Folders) -> dict[str, list[Path]]:
    """Sets by name; folders without one by their own, with their parent's where two have the same."""
    if isinstance(synthetic, Mapping):
        return {name: [some] if isinstance(some, Path) else list(some) for name, some in synthetic.items()}
    names = Counter(folder.name for folder in synthetic)
    return {f.name if names[f.name] == 1 else f"{f.resolve().parent.name}/{f.name}": [f] for f in synthetic}


def _tests(test: DataIndex, index: DataIndex, form: Form, log: Log) -> Decoded:
    """The images of a test folder, of the classes that the real folder has."""
    records = [
        replace(record, defect=index.normal) if record.defect == test.normal else record for record in records_of(test)
    ]
    known = [one for one in records if one.product in index.products and one.defect in index.defects]
    if not known:
        raise DataError(f"{test.root}: no product and defect of {index.root} in it")
    if len(known) < len(records):
        count = len(records) - len(known)
        log(f"{test.root}: {count} images of products or defects that {index.root} lacks, left out")
    log(f"reading {len(known):,} test images in {test.root}")
    return decode(known, form, log)


def _trials(
    real: Partition,
    sets: Sequence[SyntheticSet],
    settings: StudySettings,
    index: DataIndex,
    weights: InitialWeights,
    compute: devices.Compute,
) -> Iterator[Trial]:
    """Seed by seed, so that an interrupted study has compared all conditions on some seeds."""
    by_name = {one.name: one.images for one in sets}
    views = Views()
    counts = Counter(real.train.categories)

    def images(condition: Condition, seed: int) -> Decoded | None:
        if condition.synthetic is None:
            return None
        available = by_name[condition.synthetic]
        per_category = Counter(available.categories)
        budget = sampling_budget(counts, per_category, index.normal, condition.amount)
        return subset(available, budget, seed)

    for seed in settings.seeds:
        for condition in conditions(settings, by_name):
            drawn = images(condition, seed)
            yield Trial(condition, seed, settings, index.defects, real, drawn, weights, compute, views)


def _results(
    trials: Iterator[Trial], cache: Path | None, progress: Callable[[int], object]
) -> tuple[ConditionResult, ...]:
    """Trains, and sorts the runs by condition; `progress` is called with the steps done in all."""
    images: dict[Condition, dict[str, tuple[int, int]]] = {}
    runs: dict[Condition, list[Run]] = {}
    before = 0
    for trial in trials:
        outcome = outcome_of(trial, cache, lambda done, before=before: progress(before + done))  # type: ignore[misc]
        before += trial.settings.steps
        images.setdefault(trial.condition, _images(trial))
        runs.setdefault(trial.condition, []).append(run_of(trial, outcome))
    return tuple(
        ConditionResult(one.name, one.augmentation, one.synthetic, one.amount, images[one], tuple(found))
        for one, found in runs.items()
    )


def _images(trial: Trial) -> dict[str, tuple[int, int]]:
    real = Counter(trial.real.train.categories)
    synthetic = Counter(trial.synthetic.categories if trial.synthetic else ())
    return {str(category): (real[category], synthetic[category]) for category in sorted({*real, *synthetic})}
