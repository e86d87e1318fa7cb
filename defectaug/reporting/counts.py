"""What the folders hold, in words and tables: images of each category, sizes and modes, exact duplicates."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from defectaug.metrics.changes import FolderScore, repeats
from defectaug.metrics.context import EvaluationContext
from defectaug.metrics.images import ImageSet
from defectaug.reporting.sections import Section, Table, Value

FEW = 8  # images of a category that `train` advises


def counts_section(context: EvaluationContext, scores: Sequence[FolderScore]) -> Section:
    """The section of all folders."""
    sets = context.sets
    categories = sorted({category for one in sets for category in one.categories} | set(context.index.counts()))
    rows: list[list[Value]] = [
        [str(category), *(len(one.categories.get(category, ())) for one in sets)] for category in categories
    ]
    held_out = f" (held out: {context.test.name}, {len(context.test):,})" if context.test else ""
    return Section(
        "Images",
        [context.index.describe(), *_absent(context)],
        _warnings(context),
        [
            Table("Images of each category, that is product and defect", ["category", *(some.name for some in sets)],
                  rows, "Of a synthetic folder without the real images that it may hold, too." if scores else ""),
            _folders(sets, scores),
        ],
        numbers={
            "normal": context.normal,
            "layout": context.index.layout,
            "white level": context.white,
            "folders": {
                one.name: {"cells": one.counts(), "exact duplicates": repeats(one.pixel_hashes)} for one in sets
            },
        },
        method=[
            ("real images", f"{context.real.name}, {len(context.real):,}{held_out}"),
            *(("synthetic images", f"{one.name}, {len(one):,}") for one in context.synthetic),
        ],
    )  # fmt: skip


def _folders(sets: Sequence[ImageSet], scores: Sequence[FolderScore]) -> Table:
    columns = ["folder", "images", "sizes and modes", "exact duplicates"]
    rows: list[list[Value]] = [
        [one.name, len(one), kinds(one) if len(one) else "-", repeats(one.pixel_hashes)] for one in sets
    ]
    of_synthetic: dict[str, list[int | None]] = {
        "real ones beside them (not evaluated)": [sum(one.real.values()) for one in scores],
        "exact copies of a real image": [one.copies_of_real for one in scores],
        "made by this model": [one.by_this_model for one in scores],
    }
    for name, values in of_synthetic.items():
        if any(value is not None for value in values):
            columns.append(name)
            rows = [[*row, one] for row, one in zip(rows, [*[None] * (len(sets) - len(scores)), *values], strict=True)]
    return Table("Folders", columns, rows)


def kinds(images: ImageSet) -> str:
    """Sizes and colour modes in words: "128 x 128, 8-bit grey" or the commonest and how many differ."""
    parts = []
    for found in (Counter(one.size for one in images.statistics), Counter(one.mode for one in images.statistics)):
        ((most, count),) = found.most_common(1)
        text = f"{most[1]} x {most[0]}" if isinstance(most, tuple) else most
        parts.append(text if len(found) == 1 else f"{text} ({len(images) - count} of {len(images)} differ)")
    return ", ".join(parts)


def _absent(context: EvaluationContext) -> list[str]:
    """Defective categories that a synthetic set has no images of."""
    defective = [category for category in context.real.categories if category.defect != context.normal]
    absent = {one.name: [str(c) for c in defective if not one.categories.get(c)] for one in context.synthetic}
    return [f"{name} has no images of {', '.join(some)}." for name, some in absent.items() if some]


def _warnings(context: EvaluationContext) -> list[str]:
    name, real = context.real.name, context.real.counts()
    others = [*context.synthetic, *([context.test] if context.test else [])]
    found = []
    if empty := [str(category) for category, count in context.index.counts().items() if not count]:
        found.append(
            f"{name} has no images of {', '.join(empty)}: for synthetic ones of these there is nothing to compare with."
        )
    if few := [f"{category} ({count})" for category, count in real.items() if count < FEW]:
        found.append(f"{name} has few images of {', '.join(few)}: numbers of these categories are rough.")
    for one in others:
        if unmet := [f"{category} ({count})" for category, count in one.counts().items() if category not in real]:
            found.append(f"{one.name} has images of {', '.join(unmet)}, of which {name} has none.")
    found += [line for one in context.synthetic if (line := _other_kinds(one, context.real))]
    for one in (context.real, *others):
        if bare := empty_folders(Path(one.name)):
            found.append(f"{one.name}: folders without any file: {', '.join(bare)}.")
    return found


def _other_kinds(synthetic: ImageSet, real: ImageSet) -> str | None:
    """How many images have a size or mode that no real image has: they can be told by that alone."""
    known = {(one.size, one.mode) for one in real.statistics}
    other = [one for one in synthetic.statistics if (one.size, one.mode) not in known]
    if not other:
        return None
    (height, width), mode = other[0].size, other[0].mode
    return (
        f"{synthetic.name}: {len(other)} of {len(synthetic)} images have a size or colour mode that no real image has, "
        f"such as {width} x {height}, {mode}: that alone sets them apart."
    )


def empty_folders(root: Path) -> list[str]:
    """Folders that hold neither files nor folders: categories that somebody has meant to fill."""
    found = (Path(place) for place, folders, files in os.walk(root) if not folders and not files)
    return sorted(place.relative_to(root).as_posix() for place in found)
