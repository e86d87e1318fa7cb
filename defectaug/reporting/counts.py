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
    details: list[list[Value]] = [
        [one.name, len(one), kinds(one) if len(one) else "-", repeats(one.pixel_hashes)] for one in sets
    ]
    tables = [
        Table(
            "Images of each category, that is product and defect",
            ["category", *(one.name for one in sets)],
            rows,
            "Of a synthetic folder without the real images that it may hold, too." if scores else "",
        ),
        Table("Folders", ["folder", "images", "sizes and modes", "exact duplicates"], details),
        *([_folders(scores)] if scores else []),
    ]
    numbers = {
        "normal": context.normal,
        "layout": context.index.layout,
        "white level": context.white,
        "folders": {
            one.name: {"cells": one.counts(), "exact duplicates": repeats(one.pixel_hashes)} for one in sets
        },
    }
    held_out = f" (held out: {context.test.name}, {len(context.test):,})" if context.test else ""
    method = [("real images", f"{context.real.name}, {len(context.real):,}{held_out}")]
    method += [("synthetic images", f"{one.name}, {len(one):,}") for one in context.synthetic]
    lines = [context.index.describe(), *_absent(context)]
    return Section("Images", lines, _warnings(context), tables, numbers=numbers, method=method)


def _folders(scores: Sequence[FolderScore]) -> Table:
    columns = ["folder", "synthetic images", "real ones beside them (not evaluated)", "exact copies of a real image"]
    rows: list[list[Value]] = [
        [one.folder, sum(one.synthetic.values()), sum(one.real.values()), one.copies_of_real] for one in scores
    ]
    if any(one.by_this_model is not None for one in scores):
        columns = [*columns, "made by this model"]
        rows = [[*row, one.by_this_model] for row, one in zip(rows, scores, strict=True)]
    return Table("Synthetic folders", columns, rows)


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
    lines = []
    for synthetic in context.synthetic:
        absent = [
            str(category)
            for category in context.real.categories
            if category.defect != context.normal and not synthetic.categories.get(category)
        ]
        if absent:
            lines.append(f"{synthetic.name} has no images of {', '.join(absent)}.")
    return lines


def _warnings(context: EvaluationContext) -> list[str]:
    warnings = []
    name, real = context.real.name, context.real.counts()
    empty = [str(category) for category, count in context.index.counts().items() if not count]
    if empty:
        warnings.append(
            f"{name} has no images of {', '.join(empty)}: for synthetic ones of these there is nothing to compare "
            "them with."
        )
    few = [f"{category} ({count})" for category, count in real.items() if count < FEW]
    if few:
        warnings.append(f"{name} has few images of {', '.join(few)}: numbers of these categories are rough.")
    others = [*context.synthetic, *([context.test] if context.test else [])]
    for one in others:
        unmet = [f"{category} ({count})" for category, count in one.counts().items() if category not in real]
        if unmet:
            warnings.append(f"{one.name} has images of {', '.join(unmet)}, of which {name} has none.")
    warnings += [line for one in context.synthetic if (line := _other_kinds(one, context.real))]
    for one in (context.real, *others):
        bare = empty_folders(Path(one.name))
        if bare:
            warnings.append(f"{one.name}: folders without any file: {', '.join(bare)}.")
    return warnings


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
