"""`run_study`: train classifiers with and without synthetic images, and say whether these help."""

from __future__ import annotations

import logging
import platform
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import torch

from defectaug import __version__
from defectaug import device as devices
from defectaug.benchmark.conditions import Arm, arms, chosen, portions
from defectaug.benchmark.intervals import paired_difference, verdict
from defectaug.benchmark.leakage import SyntheticSet, admit
from defectaug.benchmark.result import ALL, ArmResult, Comparison, Run, StudyResult
from defectaug.benchmark.runs import Outcome, Unit, outcome_of
from defectaug.benchmark.settings import StudySettings
from defectaug.benchmark.splits import Division, divide
from defectaug.data.class_map import ClassMap
from defectaug.data.index import DataIndex, index_folder
from defectaug.data.survey import white_level
from defectaug.errors import DataError
from defectaug.metrics.folders import ImageRecord, records_of, refuse_overlap
from defectaug.metrics.images import Decoded, Form, ImageStore, Log, channels_of, decode
from defectaug.nn.backbones import InitialWeights, find_weights

Progress = Callable[[int, int], None]
Folders = Mapping[str, Path | Sequence[Path]] | Sequence[Path]
log = logging.getLogger("defectaug")


def run_study(
    real: Path | DataIndex,
    synthetic: Folders = (),
    settings: StudySettings | None = None,
    *,
    test: Path | DataIndex | None = None,
    cache: Path | None = None,
    split: Path | None = None,
    models: Sequence[Path] = (),
    class_map: str | Path | ClassMap | None = None,
    normal: str | None = None,
    store: ImageStore | None = None,
    progress: Progress | None = None,
    say: Log | None = None,
) -> StudyResult:
    """Trains a classifier of the defect on all products, once for each arm and seed, and compares the error rates.

    Section 4.2 of the paper. Results depend on the images, their labels, the settings and the kind of device, not on
    names or order of files (but for MTD's, whose numbers tell which images show one tile).

    Args:
        real: real images, as a folder in any layout or as an index of it.
        synthetic: folders of synthetic images, or sets by name, a set of one folder or more.
        settings: None: the slim study on a CPU, the full one on a GPU.
        test: other real images to test on; None holds some of `real` out.
        cache: folder for finished trainings, which are not done again.
        split: a split file for `real`, such as an earlier result's JSON.
        models: the bundles that made the synthetic images; tells whether they have seen the test images.
        class_map, normal: as for training.
        store: decodes the images; None for a new one.
        progress: called with (steps done, steps in all).
        say: takes lines for the user; None sends them to the logger "defectaug".

    Raises:
        DataError: folders that cannot be read, or leave nothing to train on or to test with.
        ConfigError: an unknown classifier or device, weights that cannot be had, folders that lie in one another.
        OutputError: the cache cannot be written.
    """
    say = say or log.info
    settings = settings or default_settings()
    compute = devices.choose(settings.device, settings.precision)
    sets = _named(synthetic)
    weights = find_weights(settings.classifier, settings.weights, say)
    index = _index(real, class_map, normal)
    test_index = None if test is None else _index(test, class_map, normal)
    made = dict.fromkeys(root for some in sets.values() for root in some)  # two sets may have folders in common
    refuse_overlap([*(folder for folder in (real, test) if isinstance(folder, Path)), *made])
    records = records_of(index)
    store = store or ImageStore()
    white = white_level(index.samples, read=store.read)
    form = Form(settings.image_size, channels_of(records), white, store)
    division = _divided(index, records, test_index, form, settings, split, say)
    admitted = [admit(name, some, division, index, form, say, models) for name, some in sets.items()]
    for line in (*division.notes, *_set_lines(admitted)):
        say(line)
    units = _units(division, admitted, settings, index, weights, compute)
    outcomes = _outcomes(units, cache, progress)
    results = _results(units, outcomes, settings, division)
    return StudyResult(
        folder=str(index.root),
        test_folder=None if test_index is None else str(test_index.root),
        settings=settings,
        classes=index.defects,
        products=tuple(sorted({record.product for record in division.test.records})),
        weights={"origin": weights.origin, "sha256": weights.sha256},
        arms=results,
        comparisons=compare(results),
        split=division.files(index.root),
        left_out={one.name: one.left_out for one in admitted},
        notes=division.notes,
        warnings=tuple(line for one in admitted for line in one.warnings),
        machine=f"{platform.machine()}, {compute.describe()}",
        versions={"defectaug": __version__, "torch": torch.__version__, "python": platform.python_version()},
        seconds=sum(run.seconds for arm in results for run in arm.runs),
    )


def default_settings(device: str = "auto") -> StudySettings:
    """The full study where there is a GPU, else the slim one.

    Raises:
        ConfigError: a device that is not there.
    """
    full = devices.choose(device).device.type == "cuda"
    return replace(StudySettings.full() if full else StudySettings.slim(), device=device)


def compare(results: Sequence[ArmResult]) -> tuple[Comparison, ...]:
    """Every arm with synthetic images against its counterpart without, paired by seed."""
    plain = {arm.augmentation: arm for arm in results if arm.synthetic is None}
    found = []
    for arm in results:
        if arm.synthetic is None:
            continue
        against = plain[arm.augmentation]
        names = list(arm.runs[0].errors)
        differences = {name: paired_difference(arm.errors(name), against.errors(name)) for name in names}
        verdicts = {name: verdict(difference) for name, difference in differences.items()}
        found.append(Comparison(arm.name, against.name, arm.synthetic, differences, verdicts))
    return tuple(found)


def _named(synthetic: Folders) -> dict[str, list[Path]]:
    """Sets by name; folders without one by their own, with their parent's where two are alike."""
    if isinstance(synthetic, Mapping):
        return {name: [some] if isinstance(some, Path) else list(some) for name, some in synthetic.items()}
    names = Counter(folder.name for folder in synthetic)
    return {f.name if names[f.name] == 1 else f"{f.resolve().parent.name}/{f.name}": [f] for f in synthetic}


def _index(folder: Path | DataIndex, class_map: str | Path | ClassMap | None, normal: str | None) -> DataIndex:
    if isinstance(folder, DataIndex):
        return folder
    return index_folder(folder, class_map=class_map, normal=normal)


def _divided(
    index: DataIndex,
    records: Sequence[ImageRecord],
    test: DataIndex | None,
    form: Form,
    settings: StudySettings,
    split: Path | None,
    say: Log,
) -> Division:
    say(f"reading {len(records):,} real images in {index.root}")
    images = decode(records, form, say)
    held = None if test is None else _tests(test, index, form, say)
    return divide(
        index,
        images,
        held,
        validation=settings.validation,
        test_share=settings.test,
        seed=settings.split_seed,
        file=split,
        store=form.store,
    )


def _tests(test: DataIndex, index: DataIndex, form: Form, say: Log) -> Decoded:
    """The images of a test folder, of the classes that the real folder has."""
    records = [
        replace(record, defect=index.normal) if record.defect == test.normal else record
        for record in records_of(test)
    ]
    known = [p for p in records if p.product in index.products and p.defect in index.defects]
    if not known:
        raise DataError(f"{test.root}: no product and defect of {index.root} in it")
    if len(known) < len(records):
        count = len(records) - len(known)
        say(f"{test.root}: {count} images of products or defects that {index.root} lacks, left out")
    say(f"reading {len(known):,} test images in {test.root}")
    return decode(known, form, say)


def _set_lines(admitted: Sequence[SyntheticSet]) -> list[str]:
    left = [f"{one.name}: {n} images left out, {why}" for one in admitted for why, n in one.left_out.items()]
    return left + [line for one in admitted for line in one.warnings]


def _units(
    division: Division,
    admitted: Sequence[SyntheticSet],
    settings: StudySettings,
    index: DataIndex,
    weights: InitialWeights,
    compute: devices.Compute,
) -> list[Unit]:
    """Seed by seed, so that an interrupted study has compared all arms on some seeds."""
    by_name = {one.name: one.images for one in admitted}
    real = Counter(division.train.categories)

    def images(arm: Arm, seed: int) -> Decoded | None:
        if arm.synthetic is None:
            return None
        there = by_name[arm.synthetic]
        portion = portions(real, Counter(there.categories), index.normal, arm.amount, settings.fill)
        return chosen(there, portion, seed)

    return [
        Unit(
            arm=arm,
            seed=seed,
            settings=settings,
            classes=index.defects,
            real=division.train,
            synthetic=images(arm, seed),
            validation=division.validation,
            test=division.test,
            weights=weights,
            compute=compute,
        )
        for seed in settings.seeds
        for arm in arms(settings, by_name)
    ]


def _outcomes(units: Sequence[Unit], cache: Path | None, progress: Progress | None) -> list[Outcome]:
    total = sum(unit.settings.steps for unit in units)
    outcomes: list[Outcome] = []
    for unit in units:
        before = len(outcomes) * unit.settings.steps

        def step(done: int, before: int = before) -> None:
            if progress is not None:
                progress(before + done, total)

        outcomes.append(outcome_of(unit, cache, step))
    return outcomes


def _results(
    units: Sequence[Unit], outcomes: Sequence[Outcome], settings: StudySettings, division: Division
) -> tuple[ArmResult, ...]:
    found: dict[Arm, list[tuple[Unit, Outcome]]] = {}
    for unit, outcome in zip(units, outcomes, strict=True):
        found.setdefault(unit.arm, []).append((unit, outcome))
    return tuple(
        ArmResult(
            name=arm.name,
            augmentation=arm.augmentation,
            synthetic=arm.synthetic,
            amount=arm.amount,
            images=_images(rows[0][0]),
            runs=tuple(_run(unit, outcome) for unit, outcome in rows),
        )
        for arm, rows in found.items()
    )


def _images(unit: Unit) -> dict[str, tuple[int, int]]:
    real, made = Counter(unit.real.categories), Counter(unit.synthetic.categories if unit.synthetic else ())
    return {"/".join(category): (real[category], made[category]) for category in sorted({*real, *made})}


def _run(unit: Unit, outcome: Outcome) -> Run:
    named = [unit.classes[number] for number in outcome.predicted]
    wrong: dict[str, dict[str, list[bool]]] = {}
    for (product, defect), name in zip(unit.test.categories, named, strict=True):
        wrong.setdefault(product, {}).setdefault(defect, []).append(name != defect)
    errors = {product: fmean(fmean(row) for row in of.values()) for product, of in wrong.items()}
    best = min(outcome.checks, key=lambda check: (check.error, check.loss), default=None)
    return Run(
        seed=unit.seed,
        errors={**errors, ALL: fmean(errors.values())},
        wrong={f"{p}/{d}": (sum(row), len(row)) for p, of in wrong.items() for d, row in of.items()},
        chosen_step=best.step if best else None,
        validation_error=best.error if best else None,
        seconds=outcome.seconds,
    )
