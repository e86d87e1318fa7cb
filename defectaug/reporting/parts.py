"""The parts of an evaluation, one after the other: from the context to sections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from defectaug import device as devices
from defectaug.errors import DataError
from defectaug.metrics.changes import FolderScore, SourceChange
from defectaug.metrics.context import EvaluationContext
from defectaug.metrics.features import FeatureCache, find_extractor, find_pair_measure
from defectaug.metrics.fidelity import fidelity
from defectaug.metrics.memorisation import memorisation
from defectaug.metrics.naming import NamingSettings, name_images
from defectaug.metrics.neighbours import Neighbour
from defectaug.reporting.correctness import background_section, naming_section, restoration_section
from defectaug.reporting.counts import counts_section
from defectaug.reporting.fidelity import fidelity_section
from defectaug.reporting.memorisation import memorisation_sections
from defectaug.reporting.sections import Section
from defectaug.reporting.verdict import verdicts

if TYPE_CHECKING:
    from defectaug.benchmark.settings import StudySettings
    from defectaug.methods.base import DefectModel

Changes = Sequence[Sequence[SourceChange | None]]


def measure(
    context: EvaluationContext,
    parts: Sequence[str],
    scores: Sequence[FolderScore],
    changes: Changes,
    model: DefectModel | None,
    *,
    weights: Path | None,
    device: str,
    study: StudySettings | None,
    naming: NamingSettings | None,
    folders: Sequence[Path],
    model_folder: Path | None,
) -> list[Section]:
    """Sections of the parts that are asked for and for which there are images, the verdicts last.

    Arguments as of `evaluate`, but for `study`: the settings to use, from :func:`study_settings`, or None for no study.
    """
    compute = devices.choose(device)
    sections = [counts_section(context, scores)] if "counts" in parts else []
    features: FeatureCache | None = None
    neighbours: list[list[Neighbour]] = []
    if context.synthetic and {"fidelity", "memorisation"} & set(parts):
        extractor = find_extractor(weights, compute.device, context.log)
        features = FeatureCache(extractor, context.cache, context.store, context.white)
    if features is not None and "fidelity" in parts:
        pairs = find_pair_measure(weights, compute.device, context.log)
        for images, groups in zip(context.synthetic, fidelity(context, features, pairs), strict=True):
            sections.append(fidelity_section(context, images, groups, features.extractor, pairs))
    if "memorisation" in parts:
        found = memorisation(context, features, changes)
        sections += memorisation_sections(context, found, features)
        neighbours = found.neighbours
    if "correctness" in parts:
        sections += _correctness(context, changes, neighbours, model, naming or NamingSettings(), compute)
    if study is not None and context.synthetic:
        sections.append(_study(context, study, folders, model_folder, alone=len(parts) == 1))
    if len(parts) > 1:  # one part alone tells by itself what it has found
        sections += verdicts([one.name for one in context.synthetic], sections)
    return sections


def _correctness(
    context: EvaluationContext,
    changes: Changes,
    neighbours: list[list[Neighbour]],
    model: DefectModel | None,
    settings: NamingSettings,
    compute: devices.Compute,
) -> list[Section]:
    sections: list[Section] = []
    if context.synthetic and len(context.real.categories) > 1:
        named = name_images(context, settings, compute)
        for number in range(len(context.synthetic)):
            near = neighbours[number] if neighbours else ()
            sections.append(naming_section(context, number, named, settings, near))
    for images, known in zip(context.synthetic, changes, strict=True):
        sections.append(background_section(images, known, context.store))
    if model is not None:
        sections.append(restoration_section(context, model))
    return sections


def study_settings(
    settings: StudySettings | None, *, weights: Path | None, device: str, seed: int, seeds: int
) -> StudySettings:
    """The settings of an evaluation's study. Arguments as of `evaluate`.

    Raises:
        ConfigError: an unknown classifier, or a file of weights that is not its own; better now than after an hour.
    """
    from defectaug.benchmark.api import default_settings
    from defectaug.nn.backbones import build_backbone, find_weights

    settings = settings or default_settings(device)
    settings = replace(settings, seeds=tuple(range(seed, seed + seeds)), device=device)
    own = _weights_of(settings.classifier, weights)
    if own is not None:
        settings = replace(settings, weights=str(own))
    at_hand = settings.weights not in ("auto", "imagenet")  # these may have to be fetched, which the study does
    found = find_weights(settings.classifier, settings.weights, lambda line: None) if at_hand else None
    build_backbone(settings.classifier, weights=found)
    return settings


def _study(
    context: EvaluationContext, settings: StudySettings, folders: Sequence[Path], model: Path | None, *, alone: bool
) -> Section:
    from defectaug.benchmark.api import run_study
    from defectaug.reporting.study import study_section

    try:
        result = run_study(
            context.index,
            {one.name: [folder] for one, folder in zip(context.synthetic, folders, strict=True)},
            settings,
            test=context.test_index,
            cache=None if context.cache.folder is None else context.cache.folder / "study",
            models=[model] if model is not None else [],
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


def _weights_of(classifier: str, weights: Path | None) -> Path | None:
    """The classifier's file in a folder of weights, named as torchvision names it: resnet50-0676ba61.pth."""
    if weights is None or not weights.is_dir():
        return None
    return next((path for path in sorted(weights.iterdir()) if path.name.startswith(f"{classifier}-")), None)
