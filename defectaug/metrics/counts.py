"""What the folders hold: images of each cell, sizes and modes, exact duplicates, classes that do not meet."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from defectaug.errors import DataError
from defectaug.metrics.changes import Change, Painting, mean_change
from defectaug.metrics.context import Scene, cell_name
from defectaug.metrics.image_statistics import ImageSet, kinds
from defectaug.reporting.sections import Section, Table, Value

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
        for cell, members in made.categories.items()
    }
    return FolderScore(
        folder=made.name,
        synthetic=made.counts(),
        real=copied.counts(),
        copies_of_real=shared(made.prints, real.prints),
        repeats=repeats(made.prints),
        change={cell: change for cell, change in changes.items() if change is not None},
        by_this_model=None if weights is None else sum(picture.model == weights for picture in made.records),
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
            real = {picture.category[part] for picture in scene.real.records}
            new = {picture.category[part] for picture in made.records}
            if new and not new & real:
                raise DataError(
                    f"{made.name}: no {what} of it ({', '.join(sorted(new))}) is in {scene.real.name} "
                    f"({', '.join(sorted(real))}); rename its folders, or map the real ones with --map FILE"
                )


def counts(scene: Scene, scores: Sequence[FolderScore]) -> Section:
    """The section of all folders."""
    sets = [scene.real, *([scene.test] if scene.test else []), *scene.synthetic]
    cells = sorted({cell for one in sets for cell in one.categories} | set(scene.index.counts()))
    rows: list[list[Value]] = [
        [cell_name(cell), *(len(one.categories.get(cell, ())) for one in sets)] for cell in cells
    ]
    details: list[list[Value]] = [
        [one.name, len(one), kinds(one) if len(one) else "-", repeats(one.prints)] for one in sets
    ]
    tables = [
        Table(
            "Images of each cell, that is product and defect",
            ["cell", *(one.name for one in sets)],
            rows,
            "Of a synthetic folder without the real images that it may hold, too." if scores else "",
        ),
        Table("Folders", ["folder", "images", "sizes and modes", "exact duplicates"], details),
    ]
    if scores:
        named = any(s.by_this_model is not None for s in scores)
        columns = ["folder", "synthetic images", "real ones beside them (not judged)", "exact copies of a real image"]
        tables.append(
            Table(
                "Synthetic folders",
                [*columns, *(["made by this model"] if named else [])],
                [_row(s)[: len(columns) + named] for s in scores],
            )
        )
    numbers = {
        "normal": scene.normal,
        "layout": scene.index.layout,
        "white level": scene.white,
        "folders": {one.name: {"cells": one.counts(), "exact duplicates": repeats(one.prints)} for one in sets},
    }
    held = f" (held out: {scene.test.name}, {len(scene.test):,})" if scene.test else ""
    method = [("real images", f"{scene.real.name}, {len(scene.real):,}{held}")]
    method += [("synthetic images", f"{one.name}, {len(one):,}") for one in scene.synthetic]
    lines = [scene.index.describe(), *_absent(scene)]
    return Section("Images", lines, _warnings(scene), tables, numbers=numbers, method=method)


def _absent(scene: Scene) -> list[str]:
    """What the synthetic sets say nothing of."""
    lines = []
    for made in scene.synthetic:
        absent = [cell for cell in scene.real.categories if scene.normal != cell[1] and not made.categories.get(cell)]
        if absent:
            lines.append(f"{made.name} has no images of {', '.join(map(cell_name, absent))}.")
    return lines


def _row(one: FolderScore) -> list[Value]:
    made, real = (sum(cells.values()) for cells in (one.synthetic, one.real))
    return [one.folder, made, real, one.copies_of_real, one.by_this_model]


def _warnings(scene: Scene) -> list[str]:
    warnings = []
    real = scene.real.counts()
    empty = [cell_name(cell) for cell, count in scene.index.counts().items() if not count]
    if empty:
        warnings.append(
            f"{scene.real.name} has no images of {', '.join(empty)}: for synthetic ones of these there is nothing to "
            "compare them with."
        )
    few = [f"{cell} ({count})" for cell, count in real.items() if count < SCARCE]
    if few:
        warnings.append(f"{scene.real.name} has few images of {', '.join(few)}: numbers of these cells are rough.")
    for made in (*scene.synthetic, *([scene.test] if scene.test else [])):
        unmet = [f"{cell} ({count})" for cell, count in made.counts().items() if cell not in real]
        if unmet:
            warnings.append(f"{made.name} has images of {', '.join(unmet)}, of which {scene.real.name} has none.")
    warnings += [line for made in scene.synthetic if (line := _other_kinds(made, scene.real))]
    for name in [scene.real.name, *(one.name for one in (*scene.synthetic, *([scene.test] if scene.test else [])))]:
        bare = empty_folders(Path(name))
        if bare:
            warnings.append(f"{name}: folders without any file: {', '.join(bare)}.")
    return warnings


def _other_kinds(made: ImageSet, real: ImageSet) -> str | None:
    """How many images have a size or mode that no real image has: they can be told by that alone."""
    known = {(look.size, look.mode) for look in real.looks}
    other = [look for look in made.looks if (look.size, look.mode) not in known]
    if not other:
        return None
    (height, width), mode = other[0].size, other[0].mode
    return (
        f"{made.name}: {len(other)} of {len(made)} images have a size or colour mode that no real image has, such as "
        f"{width} x {height}, {mode}: that alone sets them apart."
    )


def empty_folders(root: Path) -> list[str]:
    """Folders that hold neither files nor folders: cells that somebody has meant to fill."""
    found = (Path(place) for place, folders, files in os.walk(root) if not folders and not files)
    return sorted(place.relative_to(root).as_posix() for place in found)
