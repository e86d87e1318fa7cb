"""What the folders hold: images of each cell, sizes and modes, exact duplicates, classes that do not meet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from defectaug.errors import DataError
from defectaug.evaluation.changes import Change, Painting, mean_change
from defectaug.evaluation.looks import ImageSet, kinds
from defectaug.evaluation.scene import Scene, cell_name
from defectaug.evaluation.sections import Section, Table, Value

Cells = dict[str, int]  # "product/defect" to a number of images
SCARCE = 8  # images of a cell that `train` advises


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


def score(
    made: ImageSet, copied: ImageSet, real: ImageSet, known: Sequence[Painting | None], weights: str | None
) -> FolderScore:
    """Counts of one folder.

    Args:
        made, copied: its synthetic images, and the real ones that a balanced folder holds beside them.
        real: the real folder.
        known: how each synthetic image differs from its source.
        weights: sha256 of the model that was named.
    """
    changes = {
        cell_name(cell): mean_change(row for n in members if (row := known[n]) is not None)
        for cell, members in made.cells.items()
    }
    return FolderScore(
        folder=made.name,
        synthetic=made.counts(),
        real=copied.counts(),
        copies_of_real=shared(made.prints, real.prints),
        repeats=repeats(made.prints),
        change={cell: change for cell, change in changes.items() if change is not None},
        by_this_model=None if weights is None else sum(picture.model == weights for picture in made.pictures),
    )


def repeats(fingerprints: Sequence[str]) -> int:
    """Images that equal an earlier one of the sequence."""
    return len(fingerprints) - len(set(fingerprints))


def shared(synthetic: Sequence[str], real: Sequence[str]) -> int:
    """Synthetic images that equal a real one."""
    known = set(real)
    return sum(count for one, count in Counter(synthetic).items() if one in known)


def check_classes(scene: Scene) -> None:
    """Raises DataError where a synthetic set shares no product or no defect with the real images."""
    for made in scene.synthetic:
        for part, what in ((0, "product"), (1, "defect")):
            real = {picture.cell[part] for picture in scene.real.pictures}
            new = {picture.cell[part] for picture in made.pictures}
            if new and not new & real:
                raise DataError(
                    f"{made.name}: no {what} of it ({', '.join(sorted(new))}) is in {scene.real.name} "
                    f"({', '.join(sorted(real))}); rename its folders, or map the real ones with --map FILE"
                )


def counts(scene: Scene, scores: Sequence[FolderScore]) -> Section:
    """The section of all folders."""
    sets = [scene.real, *([scene.test] if scene.test else []), *scene.synthetic]
    cells = sorted({cell for one in sets for cell in one.cells} | set(scene.index.counts()))
    rows: list[list[Value]] = [
        [cell_name(cell), *(len(one.cells.get(cell, ())) for one in sets)] for cell in cells
    ]
    details: list[list[Value]] = [
        [one.name, len(one), kinds(one) if len(one) else "-", repeats(one.prints)] for one in sets
    ]
    tables = [
        Table("Images", ["cell", *(one.name for one in sets)], rows),
        Table("Folders", ["folder", "images", "sizes and modes", "exact duplicates"], details),
    ]
    if scores:
        columns = ["folder", "made", "real ones beside them", "exact copies of a real image", "made by this model"]
        tables.append(
            Table(
                "Synthetic folders",
                columns,
                [
                    [s.folder, sum(s.synthetic.values()), sum(s.real.values()), s.copies_of_real, s.by_this_model]
                    for s in scores
                ],
            )
        )
    numbers = {
        "normal": scene.normal,
        "layout": scene.index.layout,
        "white level": scene.white,
        "folders": {one.name: {"cells": one.counts(), "exact duplicates": repeats(one.prints)} for one in sets},
    }
    return Section("Images", [scene.index.describe()], _warnings(scene), tables, numbers=numbers)


def _warnings(scene: Scene) -> list[str]:
    warnings = []
    real = scene.real.counts()
    empty = [cell_name(cell) for cell, count in scene.index.counts().items() if not count]
    if empty:
        warnings.append(f"{scene.real.name} has no images of {', '.join(empty)}; these have no yardstick.")
    few = [f"{cell} ({count})" for cell, count in real.items() if count < SCARCE]
    if few:
        warnings.append(f"{scene.real.name} has few images of {', '.join(few)}: numbers of these cells are rough.")
    for made in (*scene.synthetic, *([scene.test] if scene.test else [])):
        unmet = [f"{cell} ({count})" for cell, count in made.counts().items() if cell not in real]
        if unmet:
            warnings.append(f"{made.name} has images of {', '.join(unmet)}, of which {scene.real.name} has none.")
    return warnings
