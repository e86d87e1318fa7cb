"""`defectaug.evaluate`: are the synthetic images good, and do they help? The whole way from folders to a report."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from defectaug import device as devices
from defectaug.benchmark.api import default_settings, run_study
from defectaug.benchmark.leakage import bundles_of
from defectaug.benchmark.settings import StudySettings
from defectaug.bundle import CONFIG, as_model
from defectaug.errors import BundleError, ConfigError, DataError, at_least
from defectaug.io.files import expanded
from defectaug.io.progress import Log, Stages, silent, unheard
from defectaug.methods.base import GenerativeModel
from defectaug.metrics.changes import (
    Counts,
    FindMask,
    FolderScore,
    SetChanges,
    check_classes,
    mask_finder,
    repeats,
    score,
    source_changes,
)
from defectaug.metrics.context import ArrayCache, EvaluationContext
from defectaug.metrics.fidelity import fidelity, find_measures
from defectaug.metrics.folders import refuse_overlap
from defectaug.metrics.images import white_level_of
from defectaug.metrics.memorisation import memorisation
from defectaug.metrics.naming import NamingSettings, name_images
from defectaug.nn.backbones import check_backbone, find_weights
from defectaug.nn.weights import check as check_weights
from defectaug.reporting.correctness import background_section, naming_section, restoration_section
from defectaug.reporting.counts import counts_section
from defectaug.reporting.fidelity import fidelity_section
from defectaug.reporting.inputs import FolderReader
from defectaug.reporting.memorisation import memorisation_sections
from defectaug.reporting.output import check_outputs, only_run, settings_of, write_outputs
from defectaug.reporting.sections import Section, as_json, plain
from defectaug.reporting.study import study_section
from defectaug.reporting.terminal import WIDTH, as_text
from defectaug.reporting.verdict import strip, verdicts

if TYPE_CHECKING:
    from defectaug.data.class_map import ClassMap
    from defectaug.methods.base import DefectModel, Model

Folders = Sequence[str | Path] | str | Path
PARTS = ("counts", "fidelity", "memorisation", "correctness", "study")
logger = logging.getLogger("defectaug")


@dataclass(frozen=True)
class EvaluationResult:
    """What :func:`evaluate` has found.

    Args:
        folder: the real folder.
        real: images of each category.
        repeats: real images whose pixels equal an earlier real one's.
        synthetic: one score a synthetic folder.
        sections: everything measured, in the order in which it is shown.
        settings: what was asked for, seeds, versions and machine.
        notes: lines for the user on the way: files skipped, weights that could not be had.
    """

    folder: str
    real: Counts
    repeats: int
    synthetic: tuple[FolderScore, ...]
    sections: tuple[Section, ...]
    settings: dict[str, Any]
    notes: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Every number and setting as plain numbers, lists and tables."""
        return {
            **self.settings,
            "folder": self.folder,
            "real": self.real,
            "repeats": self.repeats,
            "synthetic": plain(self.synthetic),
            "notes": list(self.notes),
            "sections": [as_json(section) for section in self.sections],
        }

    def describe(self, *, width: int = WIDTH, colour: bool = False) -> str:
        """Sentences and tables for people."""
        return as_text(self.sections, width=width, colour=colour)


def evaluate(
    real: str | Path,
    synthetic: Folders = (),
    *,
    model: str | Path | Model | None = None,
    test: str | Path | None = None,
    masks: str | Path | None = None,
    weights: str | Path | None = None,
    json: str | Path | None = None,
    report: str | Path | None = None,
    cache: str | Path | None = None,
    only: Iterable[str] = (),
    skip: Iterable[str] = (),
    seeds: int = 5,
    seed: int = 0,
    device: str = "auto",
    study: StudySettings | None = None,
    control: bool = False,
    naming: NamingSettings | None = None,
    class_map: str | Path | ClassMap | None = None,
    normal: str | None = None,
    command: Sequence[str] = (),
    stages: Stages = silent,
    log: Log | None = None,
) -> EvaluationResult:
    """Measure synthetic images against real ones, and train classifiers with and without them.

    The parts: `counts`; `fidelity` (FID, KID, precision, recall, LPIPS); `memorisation` (copies, near-duplicates);
    `correctness` (right defect and product, background kept, masks); `study` (does it help a classifier?).

    Args:
        real: folder of real images, in any layout.
        synthetic: folders that :func:`defectaug.synthesize` has left, or other folders of images.
        model: a bundle: its images are counted, and real defects located by restoring where true masks are known.
        test: folder of further real images that nothing was trained on; None for those that the model's training has
            held out, as its folder tells.
        masks: folder of masks, found by the images' places and names; default: those beside the images.
        weights: file or folder of pretrained weights (Inception-v3, AlexNet, the classifier's NAME-*.pth); None fetches
            them where it can.
        json, report: files for every number, and for a page with plots and images.
        cache: folder for what is computed, taken up by the next run; None for JSON.cache beside `json`.
        only, skip: parts to do, or not to do. Without synthetic images there is nothing to do for most.
        seeds: runs of the study that a spread is taken over.
        seed: of every random choice.
        device: as for training.
        study: settings of the study; None for its defaults on this machine.
        control: whether the study also tries real training defects, cut out by true masks or by the model's, warped
            and pasted on normal images.
        naming: settings of the classifier that names defects; None for its defaults.
        class_map, normal: for the real folders, as for training.
        command: what was typed, for the records.
        stages: gives for a stage's name what shows its progress.
        log: takes lines for the user; None sends them to the logger "defectaug".

    Raises:
        ConfigError: an unknown part, folders that overlap, weights or masks that cannot be used.
        DataError: a folder or manifest that cannot be used, or images without a class in common.
        BundleError: no such model.
        OutputError: a file cannot be written, or is there and is not ours; another run writes to it or to the cache.
    """
    parts = chosen_parts(only, skip)
    at_least(1, seeds=seeds)
    at_least(0, seed=seed)
    notes: list[str] = []

    def tell(line: str) -> None:
        notes.append(line)
        (log or logger.info)(line)

    folders = [expanded(folder) for folder in ([synthetic] if isinstance(synthetic, str | Path) else synthetic)]
    test_folder, mask_folder, pretrained = (None if path is None else expanded(path) for path in (test, masks, weights))
    outputs = check_outputs(json, report)
    kept = ArrayCache(_cache_folder(cache, outputs.json))
    check_weights(pretrained)
    check_inputs(parts, bool(folders), model is not None, asked=bool(tuple(only)), log=tell)
    refuse_overlap([expanded(real), *([test_folder] if test_folder else []), *folders])
    planned = None
    if "study" in parts and folders:
        planned = study_settings(study, weights=pretrained, device=device, seed=seed, seeds=seeds)
        _refuse_unused(pretrained, parts, planned)
    with only_run(outputs, kept.folder), _advice_on_interrupt(kept.folder, tell):
        reader = FolderReader(class_map, normal, mask_folder, tell, stages)
        loaded = None if model is None else as_model(model, device)
        index, originals = reader.real(expanded(real))
        found = [reader.synthetic(folder, index, originals) for folder in folders]
        sets = tuple(images.where(lambda record: record.synthetic) for images in found)
        named = [loaded.info.path] if loaded and (loaded.info.path / CONFIG).is_file() else []
        bundles = bundles_of((record for images in sets for record in images.records), named)
        if test_folder is None:
            (index, originals), (test_index, tests) = reader.held_out(index, originals, bundles)
        else:
            test_index, tests = reader.real(test_folder, index)
        reader.check_masks()
        restorer = None if isinstance(loaded, GenerativeModel) else loaded
        if isinstance(loaded, GenerativeModel):
            tell(f"model {loaded.info.name} makes whole images and restores none: no part on restoration")
        lacking = any(record.defect != index.normal and not record.mask for record in originals.records)
        finder = restorer or (_maker(bundles, device, tell) if lacking and sets else None)
        if control and finder is None and not any(record.mask for record in originals.records):
            empty = next((f": {one.name} holds no synthetic image" for one in sets if not one.records), "")
            raise ConfigError(
                "--control: neither masks of real defects nor the one model that made the images are there to cut them "
                f"out by{empty}; name masks with --masks DIR, or a model with --model DIR"
            )
        white = white_level_of([originals, *sets])
        context = EvaluationContext(
            index, originals, sets, tests, test_index, white, seed, reader.store, kept, tell, stages
        )
        check_classes(context)
        find = mask_finder(reader.store, finder)
        changes = [source_changes(one, reader.store, stages(f"what was painted in {one.name}")) for one in sets]
        sha = None if loaded is None else loaded.info.weights_sha256
        scores = tuple(
            score(one, images.where(lambda record: not record.synthetic), originals, known.images, sha)
            for one, images, known in zip(sets, found, changes, strict=True)
        )
        evaluation = _Evaluation(
            context, scores, changes, restorer, devices.choose(device), pretrained, naming or NamingSettings(), planned,
            find, control, bundles,
        )  # fmt: skip
        settings = settings_of(
            command, parts=parts, real=real, synthetic=folders, test=test, masks=masks, weights=weights, model=sha,
            seeds=seeds, seed=seed, device=device, class_map=str(class_map) if class_map else None, normal=normal,
        )  # fmt: skip
        sections = tuple(evaluation.sections(parts))
        result = EvaluationResult(
            str(real), originals.counts(), repeats(originals.pixel_hashes), scores, sections, settings, tuple(notes)
        )
        write_outputs(outputs, result.as_json(), sections, notes, white)
        return result


@dataclass(frozen=True)
class _Evaluation:
    """What has been read, and how it is measured: `changes` of each set's images from their sources, `model` that
    restores real defects, `weights` that are pretrained, `study` None for none, `find` that gives the masks of defects,
    `control` whether the study has one, `bundles` that made the images."""

    context: EvaluationContext
    scores: Sequence[FolderScore]
    changes: Sequence[SetChanges]
    model: DefectModel | None
    compute: devices.Compute
    weights: Path | None
    naming: NamingSettings
    study: StudySettings | None
    find: FindMask
    control: bool
    bundles: Sequence[Path]

    def sections(self, parts: Sequence[str]) -> list[Section]:
        """Those of the parts that are asked for and for which there are images, the verdicts last."""
        context = self.context
        sections = [counts_section(context, self.scores)] if "counts" in parts else []
        if context.synthetic and "fidelity" in parts:
            measures = find_measures(self.weights, self.compute.device, context)
            for images, results in zip(context.synthetic, fidelity(context, measures, self.find), strict=True):
                sections.append(fidelity_section(context, images, results, measures))
        if "memorisation" in parts:
            found = memorisation(context, [one.images for one in self.changes], self.find)
            sections += memorisation_sections(context, *found)
        if "correctness" in parts:
            sections += self._correctness()
        if self.study is not None:
            sections.append(self._study(self.study, alone=len(parts) == 1))
        if len(parts) > 1:  # one part alone tells by itself what it has found
            strips = {one.name: strip(context.real, one, context.normal) for one in context.synthetic}
            sections += verdicts(list(strips), sections, strips)
        return sections

    def _correctness(self) -> Iterator[Section]:
        context = self.context
        if context.synthetic and len(context.real.categories) > 1:
            named = name_images(context, self.naming, self.compute)
            yield from (naming_section(context, n, named, self.naming) for n in range(len(context.synthetic)))
        yield from map(background_section, context.synthetic, self.changes)
        if self.model is not None:
            yield restoration_section(context, self.model)

    def _study(self, settings: StudySettings, *, alone: bool) -> Section:
        context, kept = self.context, self.context.cache.folder
        try:
            result = run_study(
                context.index,
                {one.name: Path(one.name) for one in context.synthetic},
                settings,
                test=context.test_index,
                cache=None if kept is None else kept / "study",
                models=self.bundles,
                control=self.find if self.control else None,
                store=context.store,
                progress=context.stages("study"),
                log=context.log,
            )
        except DataError as error:
            if alone:
                raise
            # The other parts are worth having where there is too little to train on
            return Section("Does it help a classifier?", warnings=[f"No study: {error}"])
        return study_section(result)


def _maker(bundles: Sequence[Path], device: str, log: Log) -> DefectModel | None:
    """The one model that made all images, to find the defects of real ones that bring no mask."""
    if len(bundles) != 1:
        return None
    try:
        model = as_model(bundles[0], device)
    except BundleError as error:
        log(f"{bundles[0]}: not used to find defects ({error})")
        return None
    return None if isinstance(model, GenerativeModel) else model


def chosen_parts(only: Iterable[str], skip: Iterable[str]) -> tuple[str, ...]:
    """The parts to do, in their order.

    Raises:
        ConfigError: an unknown part, both options at once, or nothing left.
    """
    only, skip = tuple(only), tuple(skip)
    for option, names in (("--only", only), ("--skip", skip)):
        for name in names:
            if name not in PARTS:
                raise ConfigError(f"{option} {name}: no such part; the parts are {', '.join(PARTS)}")
    if only and skip:
        raise ConfigError("--only and --skip both choose the parts: give one of them")
    parts = tuple(part for part in PARTS if (part in only if only else part not in skip))
    if not parts:
        raise ConfigError("--skip: leaves no part to do")
    return parts


def check_inputs(parts: Sequence[str], synthetic: bool, model: bool, *, asked: bool, log: Log) -> None:
    """Refuses an evaluation none of whose parts has what it measures; names such parts where they were asked for.

    Raises:
        ConfigError: there is nothing to measure.
    """
    lacking = {"fidelity": "synthetic images", "study": "synthetic images"} if not synthetic else {}
    if not (synthetic or model):
        lacking["correctness"] = "synthetic images or a --model"
    lines = [f"{part}: nothing to measure without {lacking[part]}" for part in parts if part in lacking]
    if len(lines) == len(parts):
        raise ConfigError(f"{lines[0]}; name their folder after that of the real images")
    for line in lines if asked else ():
        log(line)


def study_settings(
    settings: StudySettings | None, *, weights: Path | None, device: str, seed: int, seeds: int
) -> StudySettings:
    """The settings of an evaluation's study. Arguments as of `evaluate`.

    Raises:
        ConfigError: an unknown classifier, or a file of weights that is not its own; better now than after an hour.
    """
    settings = settings or default_settings(device)
    settings = replace(settings, seeds=tuple(range(seed, seed + seeds)), device=device)
    if weights is not None and (own := _weights_of(settings.classifier, weights)):
        settings = replace(settings, weights=str(own))
    at_hand = settings.weights not in ("auto", "imagenet")  # these may have to be fetched, which the study does
    found = find_weights(settings.classifier, settings.weights, unheard) if at_hand else None
    check_backbone(settings.classifier, settings.image_size, found)
    return settings


def _weights_of(classifier: str, weights: Path) -> Path | None:
    """The file of a classifier's weights, such as resnet50-0676ba61.pth, by its name alone."""
    files = sorted(weights.iterdir()) if weights.is_dir() else [weights]
    return next((one for one in files if one.stem == classifier or one.name.startswith(f"{classifier}-")), None)


def _refuse_unused(weights: Path | None, parts: Collection[str], planned: StudySettings | None) -> None:
    """Raises ConfigError where nothing that is asked for takes the weights that the user has named."""
    if weights is None or "fidelity" in parts or planned is None or _weights_of(planned.classifier, weights):
        return
    name = planned.classifier
    raise ConfigError(f"--weights {weights}: not used here; the study takes those of {name}, named {name}-*.pth, alone")


@contextmanager
def _advice_on_interrupt(kept: Path | None, log: Log) -> Iterator[None]:
    """Tells after an interrupt what is left to go on from."""
    try:
        yield
    except KeyboardInterrupt:
        if kept is None:
            log("nothing is kept; with --cache DIR (or --json FILE) the same command goes on where it was")
        else:
            log(f"what is finished is kept in {kept}; the same command goes on from there")
        raise


def _cache_folder(cache: str | Path | None, json: Path | None) -> Path | None:
    if cache is not None:
        return expanded(cache)
    return None if json is None else json.with_name(f"{json.name}.cache")
