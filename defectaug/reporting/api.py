"""`defectaug.evaluate`: are the synthetic images good, and do they help?"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from defectaug.bundle import as_model
from defectaug.data.index import DataIndex, index_folder
from defectaug.errors import ConfigError, DataError
from defectaug.metrics.changes import Counts, FolderScore, check_classes, repeats, score, source_changes
from defectaug.metrics.context import ArrayCache, EvaluationContext, Stages, silent
from defectaug.metrics.folders import (
    ImageRecord,
    read_synthetic,
    records_of,
    refuse_overlap,
    with_masks,
    without_shared,
)
from defectaug.metrics.images import ImageSet, ImageStore, read_images, white_level_of
from defectaug.nn.weights import check as check_weights
from defectaug.reporting.output import check_outputs, only_run, settings_of, write_outputs
from defectaug.reporting.sections import Section, as_json, plain
from defectaug.reporting.terminal import WIDTH, as_text

if TYPE_CHECKING:
    from defectaug.benchmark.settings import StudySettings
    from defectaug.data.class_map import ClassMap
    from defectaug.methods.base import DefectModel
    from defectaug.metrics.naming import NamingSettings

Say = Callable[[str], None]
Folders = Sequence[str | Path] | str | Path
PARTS = ("counts", "fidelity", "memorisation", "correctness", "study")
log = logging.getLogger("defectaug")


@dataclass(frozen=True)
class EvaluationResult:
    """What :func:`evaluate` has found.

    Args:
        folder: the real folder.
        real: images of each cell.
        repeats: real images whose pixels equal an earlier real one's.
        synthetic: one score a synthetic folder.
        sections: everything measured, in the order in which it is shown.
        settings: what was asked for, seeds, versions and machine.
        notes: what was said on the way: files skipped, weights that could not be had.
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
    model: str | Path | DefectModel | None = None,
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
    naming: NamingSettings | None = None,
    class_map: str | Path | ClassMap | None = None,
    normal: str | None = None,
    command: Sequence[str] = (),
    stages: Stages = silent,
    say: Say | None = None,
) -> EvaluationResult:
    """Measure synthetic images against real ones, and train classifiers with and without them.

    The parts: `counts`; `fidelity` (FID, KID, precision, recall, LPIPS); `memorisation` (copies, near-duplicates);
    `correctness` (right defect and product, background kept, masks); `study` (does it help a classifier?).

    Args:
        real: folder of real images, in any layout.
        synthetic: folders that :func:`defectaug.synthesize` has left, or other folders of images.
        model: a bundle: its images are counted, and real defects located by restoring where true masks are known.
        test: folder of further real images that nothing was trained on.
        masks: folder of masks, found by the images' places and names; default: those beside the images.
        weights: file or folder of pretrained weights (Inception-v3, AlexNet); None fetches them where it can.
        json, report: files for every number, and for a page with plots and images.
        cache: folder for what is computed, taken up by the next run; None for JSON.cache beside `json`.
        only, skip: parts to do, or not to do. Without synthetic images there is nothing to do for most.
        seeds: runs of the study that a spread is taken over.
        seed: of every random choice.
        device: as for training.
        study: settings of the study; None for its defaults on this machine.
        naming: settings of the classifier that names defects; None for its defaults.
        class_map, normal: for the real folders, as for training.
        command: what was typed, for the records.
        stages: gives for a stage's name what shows its progress.
        say: takes lines for the user; None sends them to the logger "defectaug".

    Raises:
        ConfigError: an unknown part, folders that overlap, weights or masks that cannot be used.
        DataError: a folder or manifest that cannot be used, or images without a class in common.
        BundleError: no such model.
        OutputError: a file cannot be written, or is there and is not ours; another run writes to it or to the cache.
    """
    parts = chosen_parts(only, skip)
    for option, value, least in (("--seeds", seeds, 1), ("--seed", seed, 0)):
        if value < least:
            raise ConfigError(f"{option} {value}: must be {least} or more")
    outputs = check_outputs(json, report)
    notes: list[str] = []
    tell = _noted(say or log.info, notes)
    keep = ArrayCache(_cache_folder(cache, json))
    made = [Path(folder) for folder in ([synthetic] if isinstance(synthetic, str | Path) else synthetic)]
    held = None if test is None else Path(test)
    pretrained = None if weights is None else Path(weights)
    check_weights(pretrained)
    check_inputs(parts, bool(made), model is not None, asked=bool(tuple(only)), log=tell)
    refuse_overlap([Path(real), *([held] if held else []), *made])
    from defectaug.reporting.parts import measure, study_settings

    planned = None
    if "study" in parts and made:
        planned = study_settings(study, weights=pretrained, device=device, seed=seed, seeds=seeds)
    with only_run(outputs, keep.folder), _way_on(keep.folder, tell):
        reader = _Reader(class_map, normal, None if masks is None else Path(masks), tell, stages)
        painter = as_model(model, device) if model is not None else None
        index, originals = reader.real(Path(real))
        folders = [reader.synthetic(folder, index, originals) for folder in made]
        test_index, tests = reader.real(held) if held else (None, None)
        reader.check_masks()
        sets = tuple(images.where(lambda record: record.synthetic) for images in folders)
        white = white_level_of([originals, *sets])
        context = EvaluationContext(
            index, originals, sets, tests, test_index, white, seed, reader.store, keep, tell, stages
        )
        check_classes(context)
        changes = [source_changes(one, reader.store, stages(f"what was painted in {one.name}")) for one in sets]
        sha = None if painter is None else painter.info.weights_sha256
        scores = tuple(
            score(one, images.where(lambda record: not record.synthetic), originals, known, sha)
            for one, images, known in zip(sets, folders, changes, strict=True)
        )
        sections = measure(
            context, parts, scores, changes, painter,
            weights=pretrained, device=device, study=planned, naming=naming,
            folders=made, model_folder=Path(model) if isinstance(model, str | Path) else None,
        )  # fmt: skip
        settings = settings_of(
            command, parts=parts, real=real, synthetic=made, test=test, masks=masks, weights=weights, model=sha,
            seeds=seeds, seed=seed, device=device, class_map=str(class_map) if class_map else None, normal=normal,
        )  # fmt: skip
        twice = repeats(originals.pixel_hashes)
        result = EvaluationResult(str(real), originals.counts(), twice, scores, tuple(sections), settings, tuple(notes))
        write_outputs(outputs, result.as_json(), result.sections, notes, white)
        return result


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


def check_inputs(parts: Sequence[str], synthetic: bool, model: bool, *, asked: bool, log: Say) -> None:
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


def _noted(say: Say, notes: list[str]) -> Say:
    def tell(line: str) -> None:
        notes.append(line)
        say(line)

    return tell


@contextmanager
def _way_on(kept: Path | None, say: Say) -> Iterator[None]:
    """Tells after an interrupt what is left to go on from."""
    try:
        yield
    except KeyboardInterrupt:
        if kept is None:
            say("nothing is kept; with --cache DIR (or --json FILE) the same command goes on where it was")
        else:
            say(f"what is finished is kept in {kept}; the same command goes on from there")
        raise


def _cache_folder(cache: str | Path | None, json: str | Path | None) -> Path | None:
    if cache is not None:
        return Path(cache)
    return None if json is None else Path(json).with_name(f"{Path(json).name}.cache")


class _Reader:
    """Reads folders, and counts for how many of their images `--masks` holds masks."""

    def __init__(
        self, class_map: str | Path | ClassMap | None, normal: str | None, masks: Path | None, say: Say, stages: Stages
    ) -> None:
        if masks is not None and not masks.is_dir():
            raise ConfigError(f"--masks {masks}: no such folder")
        self._class_map, self._normal, self._masks = class_map, normal, masks
        self._say, self._stages = say, stages
        self.store = ImageStore()
        self._masked = 0

    def real(self, folder: Path) -> tuple[DataIndex, ImageSet]:
        """A data folder without what cannot be read: its index, its images in the same order."""
        index = index_folder(folder, class_map=self._class_map, normal=self._normal, require_defects=False)
        self._say(f"reading {len(index):,} real images in {folder}")
        images = self._look(folder, records_of(index))
        samples = {sample.path: sample for sample in index.samples}
        return replace(index, samples=tuple(samples[record.path] for record in images.records)), images

    def synthetic(self, folder: Path, index: DataIndex, real: ImageSet) -> ImageSet:
        """A synthetic folder, or a balanced one with real images in it."""
        records = without_shared(read_synthetic(folder, self._say), real.records, folder, self._say)
        records = _product_of_real(records, folder, index, self._say)
        if not records:
            raise DataError(f"{folder}: holds nothing but links to the images of {index.root}")
        self._say(f"reading {len(records):,} images in {folder}")
        return self._look(folder, records)

    def check_masks(self) -> None:
        """Raises ConfigError where `--masks` holds no mask of any image."""
        if self._masks is not None and not self._masked:
            raise ConfigError(
                f"--masks {self._masks}: no mask of any image in it; masks are named as their images, "
                "PRODUCT/DEFECT/NAME.png"
            )

    def _look(self, folder: Path, records: list[ImageRecord]) -> ImageSet:
        if self._masks is not None:
            before = [record.mask for record in records]
            records = with_masks(records, folder, self._masks)
            self._masked += sum(old != one.mask for old, one in zip(before, records, strict=True))
        return read_images(str(folder), records, self.store, self._say, self._stages(f"reading {folder.name}"))


def _product_of_real(records: list[ImageRecord], folder: Path, index: DataIndex, say: Say) -> list[ImageRecord]:
    """Gives images without a folder for their product, DEFECT/*, the only product there is."""
    named = {record.product for record in records}
    if len(index.products) != 1 or len(named) != 1 or named <= set(index.products):
        return records
    if named != {folder.resolve().name}:
        return records
    say(f"{folder}: no folder names the product; taken for '{index.products[0]}'")
    return [replace(record, product=index.products[0]) for record in records]
