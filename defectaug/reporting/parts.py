"""The parts of an evaluation, one after the other: from the scene to sections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from defectaug import device as devices
from defectaug.errors import DataError
from defectaug.metrics import correctness
from defectaug.metrics.changes import Painting
from defectaug.metrics.context import Scene
from defectaug.metrics.counts import FolderScore, counts
from defectaug.metrics.extractors import find_extractor, find_pair_measure
from defectaug.metrics.features import FeatureStore
from defectaug.metrics.fidelity import fidelity
from defectaug.metrics.memorisation import memorisation
from defectaug.metrics.naming import JudgeSettings, judge
from defectaug.metrics.neighbours import Neighbour
from defectaug.reporting.sections import Section
from defectaug.reporting.verdict import verdicts

if TYPE_CHECKING:
    from defectaug.benchmark.settings import StudySettings
    from defectaug.methods.base import DefectModel

Known = Sequence[Sequence[Painting | None]]


def measure(
    scene: Scene,
    parts: Sequence[str],
    scores: Sequence[FolderScore],
    known: Known,
    model: DefectModel | None,
    *,
    weights: Path | None,
    device: str,
    study: StudySettings | None,
    judge: JudgeSettings | None,
    folders: Sequence[Path],
    model_folder: Path | None,
) -> list[Section]:
    """Sections of the parts that are asked for and for which there are images, the verdicts last.

    Arguments as of `evaluate`, but for `study`: the settings to use, from :func:`study_settings`, or None for no study.
    """
    compute = devices.choose(device)
    sections = [counts(scene, scores)] if "counts" in parts else []
    store: FeatureStore | None = None
    near: list[list[Neighbour]] = []
    if scene.synthetic and {"fidelity", "memorisation"} & set(parts):
        store = FeatureStore(find_extractor(weights, compute.device, scene.say), scene.cache, scene.white)
    if store is not None and "fidelity" in parts:
        sections += fidelity(scene, store, find_pair_measure(weights, compute.device, scene.say))
    if "memorisation" in parts:
        found, near = memorisation(scene, store, known)
        sections += found
    if "correctness" in parts:
        sections += _correctness(scene, known, near, model, judge or JudgeSettings(), compute)
    if study is not None and scene.synthetic:
        sections.append(_study(scene, study, folders, model_folder, alone=len(parts) == 1))
    if len(parts) > 1:  # one part alone says by itself what it has found
        sections += verdicts([one.name for one in scene.synthetic], sections)
    return sections


def _correctness(
    scene: Scene,
    known: Known,
    near: list[list[Neighbour]],
    model: DefectModel | None,
    settings: JudgeSettings,
    compute: devices.Compute,
) -> list[Section]:
    sections: list[Section] = []
    if scene.synthetic and len(scene.real.categories) > 1:
        sections += correctness.naming(scene, judge(scene, settings, compute), settings, near)
    if scene.synthetic:
        sections += correctness.background(scene, known)
    if model is not None:
        sections.append(correctness.restoration(scene, model))
    return sections


def study_settings(
    settings: StudySettings | None, *, weights: Path | None, device: str, seed: int, seeds: int
) -> StudySettings:
    """The settings of an evaluation's study. Arguments as of `evaluate`.

    Raises:
        ConfigError: an unknown classifier, or a file of weights that is not its own; better now than after an hour.
    """
    from defectaug.benchmark.api import default_settings
    from defectaug.metrics.backbones import build_backbone, find_weights

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
    scene: Scene, settings: StudySettings, folders: Sequence[Path], model: Path | None, *, alone: bool
) -> Section:
    from defectaug.benchmark.api import run_study
    from defectaug.reporting.study import study_section

    try:
        result = run_study(
            scene.index,
            {one.name: [folder] for one, folder in zip(scene.synthetic, folders, strict=True)},
            settings,
            test=scene.test_index,
            cache=None if scene.cache.folder is None else scene.cache.folder / "study",
            models=[model] if model is not None else [],
            progress=scene.stage("study"),
            say=scene.say,
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
