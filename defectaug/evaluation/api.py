"""`defectaug.evaluate`: count and compare real and synthetic images."""

from __future__ import annotations

import json as json_module
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from defectaug.data.images import write_atomic
from defectaug.errors import ConfigError, DataError
from defectaug.evaluation.folders import Picture, read_real, read_synthetic
from defectaug.evaluation.measures import Change, change_from_source, fingerprint, repeats, shared

if TYPE_CHECKING:
    from defectaug.data.class_map import ClassMap
    from defectaug.model import DefectModel

Say = Callable[[str], None]
Cells = dict[str, int]  # "product/defect" to a number of images
log = logging.getLogger("defectaug")


@dataclass(frozen=True)
class FolderScore:
    """One synthetic folder against the real one.

    Args:
        folder: the folder.
        synthetic, real: images of each cell, made and copied.
        copies_of_real: synthetic images whose pixels equal a real image's.
        repeats: synthetic images whose pixels equal an earlier synthetic one's.
        change: difference from the sources, by cell; cells without known sources are left out.
        by_this_model: synthetic images made by the model that was named; None without a model.
    """

    folder: str
    synthetic: Cells
    real: Cells
    copies_of_real: int
    repeats: int
    change: dict[str, Change]
    by_this_model: int | None = None


@dataclass(frozen=True)
class EvaluationResult:
    """What :func:`evaluate` has found.

    Args:
        folder: the real folder.
        real: images of each cell.
        repeats: real images whose pixels equal an earlier real one's.
        synthetic: one score a synthetic folder.
    """

    folder: str
    real: Cells
    repeats: int
    synthetic: tuple[FolderScore, ...]

    def as_json(self) -> dict[str, Any]:
        """Plain numbers, lists and tables."""
        return asdict(self)

    def describe(self) -> str:
        """Tables for people."""
        lines = [f"real: {self.folder}", *_table(self.real), f"  exact duplicates: {self.repeats}"]
        for score in self.synthetic:
            lines += [f"synthetic: {score.folder}", *_table(score.synthetic)]
            if score.real:
                lines.append(f"  real images kept beside them: {sum(score.real.values()):,}")
            if score.by_this_model is not None:
                lines.append(f"  made by this model: {score.by_this_model:,}")
            lines.append(f"  exact copies of a real image: {score.copies_of_real}")
            lines.append(f"  exact duplicates: {score.repeats}")
            lines += [_describe_change(cell, change) for cell, change in score.change.items()]
        return "\n".join(lines)


def evaluate(
    real: str | Path,
    synthetic: Sequence[str | Path] | str | Path = (),
    *,
    model: str | Path | DefectModel | None = None,
    json: str | Path | None = None,
    report: str | Path | None = None,
    seeds: int = 5,
    class_map: str | Path | ClassMap | None = None,
    normal: str | None = None,
    say: Say | None = None,
) -> EvaluationResult:
    """Count the images of each cell, find exact duplicates, and measure what painting has changed.

    These are the simplest true numbers; they do not say how real the images look.

    Args:
        real: folder of real images, in any layout.
        synthetic: folders that :func:`defectaug.synthesize` has left, or other folders of images.
        model: counts the images that this model has made, by the manifest.
        json: file for the numbers.
        report: HTML report; not in this version.
        seeds: runs that a spread is taken over; none of the present numbers has one.
        class_map, normal: for the real folder, as for training.
        say: takes lines for the user; None sends them to the logger "defectaug".

    Raises:
        ConfigError: `report` is given, `seeds` is below 1, or the class map does not fit.
        DataError: a folder or an image that cannot be read.
        BundleError: no such model.
        OutputError: the JSON file cannot be written.
    """
    if report is not None:
        raise ConfigError(f"--report {report}: this version writes no report; --json FILE writes the numbers")
    if seeds < 1:
        raise ConfigError(f"--seeds {seeds}: must be 1 or more")
    say = say or log.info
    folders = [synthetic] if isinstance(synthetic, str | Path) else list(synthetic)
    weights = _weights(model) if model is not None else None
    originals = read_real(Path(real), class_map=class_map, normal=normal)
    made = {str(folder): read_synthetic(Path(folder)) for folder in folders}
    say(f"reading {len(originals):,} real images in {real}")
    originals, prints = _readable(originals, say)
    scores = []
    for folder, pictures in made.items():
        say(f"reading {len(pictures):,} images in {folder}")
        scores.append(_score(folder, *_readable(pictures, say), prints, weights))
    result = EvaluationResult(str(real), _counts(originals), repeats(prints), tuple(scores))
    if json is not None:
        content = json_module.dumps(result.as_json(), indent=2, ensure_ascii=False).encode()
        write_atomic(Path(json), lambda file: file.write(content + b"\n"))
    return result


def _readable(pictures: Sequence[Picture], say: Say) -> tuple[list[Picture], list[str]]:
    """The pictures whose files can be decoded, and their fingerprints; the others are named."""

    def read(picture: Picture) -> str | None:
        try:
            return fingerprint(picture.path)
        except DataError as error:
            say(f"skipped: {error}")
            return None

    with ThreadPoolExecutor(4) as pool:
        prints = list(pool.map(read, pictures))
    kept = [(picture, print_) for picture, print_ in zip(pictures, prints, strict=True) if print_]
    if pictures and not kept:
        raise DataError(f"{pictures[0].path}: cannot be read, nor can any of the {len(pictures)} images")
    return [picture for picture, _ in kept], [print_ for _, print_ in kept]


def _score(
    folder: str, pictures: Sequence[Picture], prints: Sequence[str], real: Sequence[str], weights: str | None
) -> FolderScore:
    new = [picture for picture in pictures if picture.synthetic]
    new_prints = [print_ for picture, print_ in zip(pictures, prints, strict=True) if picture.synthetic]
    counts = _counts(new)
    changes = {cell: change_from_source(one for one in new if _cell(one) == cell) for cell in counts}
    return FolderScore(
        folder=folder,
        synthetic=counts,
        real=_counts(picture for picture in pictures if not picture.synthetic),
        copies_of_real=shared(new_prints, real),
        repeats=repeats(new_prints),
        change={cell: change for cell, change in changes.items() if change is not None},
        by_this_model=None if weights is None else sum(picture.model == weights for picture in new),
    )


def _weights(model: str | Path | DefectModel) -> str:
    from defectaug.synthesis.render import loaded

    return loaded(model, "cpu").info.weights_sha256


def _cell(picture: Picture) -> str:
    return f"{picture.product}/{picture.defect}"


def _counts(pictures: Iterable[Picture]) -> Cells:
    return dict(sorted(Counter(map(_cell, pictures)).items()))


def _table(cells: Cells) -> list[str]:
    width = max(map(len, cells), default=0)
    return [f"  {cell:<{width}}  {count:>7,}" for cell, count in cells.items()]


def _describe_change(cell: str, change: Change) -> str:
    line = f"  {cell}: {change.everywhere:.2f} grey levels from the source on average"
    if change.outside is not None:
        line += f", {change.outside:.2f} outside the mask"
    if change.defect_share is not None:
        line += f"; the mask covers {100 * change.defect_share:.1f} %"
    return line
