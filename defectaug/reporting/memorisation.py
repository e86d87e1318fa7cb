"""What synthetic sets repeat of the real images, in words, tables and pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial

import numpy as np

from defectaug.data.near_duplicates import NEAR_DUPLICATE, THUMBNAIL
from defectaug.metrics.changes import repeats, shared
from defectaug.metrics.context import EvaluationContext
from defectaug.metrics.features import FeatureCache
from defectaug.metrics.images import ImageSet
from defectaug.metrics.memorisation import SAME_DEFECT, Memorisation, MemorisationResult
from defectaug.metrics.neighbours import NearDuplicates, Neighbour
from defectaug.reporting.plots import histogram
from defectaug.reporting.sections import Figure, Finding, PictureRow, Pictures, Section, Table, Value

SHOWN = 12  # rows of pictures
SAMPLE = 2  # of these of pairs between synthetic sets


def memorisation_sections(
    context: EvaluationContext, result: MemorisationResult, features: FeatureCache | None
) -> list[Section]:
    """A section for near-duplicates between the sets, and one for each synthetic set."""
    sets = [_of_set(context, name, one, result.baseline, features)
            for name, one in zip((one.name for one in context.synthetic), result.sets, strict=True)]  # fmt: skip
    return [_between(context.sets, result.pairs, len(context.synthetic)), *sets]


def _between(sets: Sequence[ImageSet], pairs: Sequence[NearDuplicates], synthetic: int) -> Section:
    """Near-duplicates, counted for each pair of sets; the last `synthetic` sets are synthetic."""
    counts = Counter((pair.first[0], pair.second[0]) for pair in pairs)
    rows: list[list[Value]] = []
    for a, first in enumerate(sets):
        rows.append([first.name, "itself", repeats(first.pixel_hashes), counts[a, a]])
        for b, second in enumerate(sets[a + 1 :], a + 1):
            same = shared(second.pixel_hashes, first.pixel_hashes)
            rows.append([first.name, second.name, same, counts[a, b]])
    real = len(sets) - synthetic  # the real and the held-out images come first
    kinds = Counter(_kind(pair, real) for pair in pairs)
    lines = [f"{_counted(kinds[0])} between synthetic and real images."] if synthetic else []
    if real > 1:
        lines.append(f"{_counted(kinds[1])} between the held-out images and those of {sets[0].name}.")
    lines.append(f"{_counted(kinds[2])} within one set.")
    if synthetic > 1:
        why = " (sets that one model has made with one seed hold the same images)" if kinds[3] else ""
        lines.append(f"{_counted(kinds[3])} between the synthetic sets{why}.")
    note = (
        f"Pairs of one product and defect whose images correlate by {NEAR_DUPLICATE} or more, shifts and mirrors "
        "included, once the product's mean image and slow changes of brightness are taken away; where an image was "
        "painted on, that place must be similar by itself."
    )
    columns = ["set", "and", "same pixels", "near-duplicate pairs"]
    shown = _shown(sets, pairs, real)
    return Section(
        "Near-duplicates",
        lines=lines,
        tables=[Table("Within and between the sets", columns, rows, note)],
        pictures=[Pictures("The most similar pairs", shown)] if shown else [],
        numbers={"threshold": NEAR_DUPLICATE, "pairs": [_named_pair(sets, pair) for pair in pairs]},
    )


def _shown(sets: Sequence[ImageSet], pairs: Sequence[NearDuplicates], real: int) -> list[PictureRow]:
    order = sorted(pairs, key=lambda pair: (_kind(pair, real), -pair.similarity, pair.first, pair.second))
    # Two synthetic sets of one model and seed are the same images: no reason to show them all
    chosen = [one for one in order if _kind(one, real) < 3][:SHOWN]
    chosen += [one for one in order if _kind(one, real) == 3][:SAMPLE]
    rows = []
    for pair in chosen:
        paths = [sets[k].records[n].path for k, n in (pair.first, pair.second)]
        rows.append(PictureRow(f"{paths[0]} and {paths[1]}", paths, ["", f"similarity {pair.similarity:.2f}"]))
    return rows


def _kind(pair: NearDuplicates, real: int) -> int:
    """Synthetic against real or held-out 0, real against held-out 1, within a set 2, between synthetic sets 3."""
    first, second = pair.first[0], pair.second[0]
    if first == second:
        return 2
    return 3 if first >= real else 1 if second < real else 0


def _counted(count: int) -> str:
    return f"{count:,} pair{'s' * (count != 1)} of near-duplicates" if count else "No near-duplicates"


def _named_pair(sets: Sequence[ImageSet], pair: NearDuplicates) -> dict[str, object]:
    names = [str(sets[k].records[n].path) for k, n in (pair.first, pair.second)]
    return {"files": names, "likeness": pair.similarity}


def _of_set(
    context: EvaluationContext, name: str, found: Memorisation, baseline: list[float], features: FeatureCache | None
) -> Section:
    title = f"Memorisation: {name}"
    if not len(found.images):
        return Section(title, lines=[f"{name} holds no defect images."])
    similarities = {"synthetic": [one.defective.similarity for one in found.neighbours], "real": baseline}
    held_out = "held-out real to real" if context.test else "real to another real, near-duplicates apart"
    return Section(
        title,
        lines=_lines(found, name),
        warnings=_warnings(found),
        tables=[_table(found, baseline)],
        figures=_figures(context, found, similarities, held_out, features),
        pictures=[_pictures(context, found)],
        numbers={
            "images": len(found.images),
            "exact": found.exact,
            "copies": found.copies,
            "unchanged": found.unchanged,
            "same_defect": found.same_defect,
            "by_reference": found.by_reference,
            "same_defect_real": found.same_defect_real,
            "twins_within": found.duplicates_within,
            "threshold": NEAR_DUPLICATE,
            "same defect threshold": SAME_DEFECT,
            "yardstick": "held-out images" if context.test else "real images, near-duplicates apart",
            "real likeness": baseline,
            "feature distances": found.distances,
            "neighbours": [_named(context, found, n) for n in range(len(found.images))],
        },
        findings=_findings(found, name),
        method=[
            (
                "copies and near-duplicates",
                f"correlation of {NEAR_DUPLICATE} or more, images of {THUMBNAIL} x {THUMBNAIL} pixels",
            ),
            ("baseline of the neighbours", held_out),
        ],
    )


def _figures(
    context: EvaluationContext,
    found: Memorisation,
    similarities: dict[str, list[float]],
    held_out: str,
    features: FeatureCache | None,
) -> list[Figure]:
    def named(values: dict[str, list[float]]) -> dict[str, Sequence[float]]:
        return {"synthetic to real": values["synthetic"], held_out: values["real"]}

    figures = [
        Figure(
            f"How similar the nearest defective image of {context.real.name} is",
            partial(
                histogram,
                named(similarities),
                x_label="similarity (correlation), 1 for a copy",
                mark=(NEAR_DUPLICATE, "copies from here on"),
            ),
            "Memorised images would lie farther to the right than real ones do.",
        )
    ]
    if found.distances is not None and features is not None:
        label = f"Euclidean distance of features ({features.extractor.name})"
        figures.append(
            Figure(
                f"How far from the nearest defective image of {context.real.name}",
                partial(histogram, named(found.distances), x_label=label),
                "Memorised images would lie farther to the left than real ones do.",
            )
        )
    return figures


def _findings(found: Memorisation, name: str) -> list[Finding]:
    total = len(found.images)
    findings = [Finding(name, line, "against") for line in _accusations(found, name)]
    findings = findings or [Finding(name, f"No copies of real images among its defect images ({total:,}).", "for")]
    return findings + ([Finding(name, _repeated(found))] if found.same_defect else [])


def _accusations(found: Memorisation, name: str) -> list[str]:
    of, lines = f"of {len(found.images)} defect images of {name}", []
    if found.copies:
        lines.append(f"MEMORISED: {found.copies} {of} are copies of real defective images, exact or nearly so.")
    if found.unchanged:
        lines.append(f"WRONG DEFECT: {found.unchanged} {of} are normal images without a visible change.")
    return lines


def _lines(found: Memorisation, name: str) -> list[str]:
    lines = _accusations(found, name)
    lines = lines or [f"None of the {len(found.images)} defect images of {name} is a copy of a real one."]
    return lines + ([_repeated(found)] if found.repeated is not None else [])


def _repeated(found: Memorisation) -> str:
    same, total = found.same_defect or 0, len(found.images)
    asked = f" ({found.by_reference} of them of the reference they were made after)" if found.by_reference else ""
    beside = ""
    if found.same_defect_real is not None:
        beside = f"; of the real defects {100 * found.same_defect_real:.0f} % repeat another one so"
    return (
        f"{same} of {total} ({100 * same / total:.0f} %) repeat the shape and grey levels of a real defect on another "
        f"background{asked}{beside}."
    )


def _warnings(found: Memorisation) -> list[str]:
    warnings = []
    unknown = sum(one.normal < 0 for one in found.neighbours)
    if unknown:
        warnings.append(
            f"{unknown} of {len(found.images)} images do not tell what they were painted on, nor does a normal image "
            "show it; they are compared as whole images."
        )
    if found.repeated is None:
        warnings.append(
            "Whether a defect repeats a real one on another background is not known: that needs masks of the real and "
            "of the synthetic defects."
        )
    return warnings


def _table(found: Memorisation, baseline: list[float]) -> Table:
    rows: list[list[Value]] = []
    for category, numbers in found.images.categories.items():
        near = [found.neighbours[n] for n in numbers]
        similarities = [one.defective.similarity for one in near if one.defective.number >= 0]
        copies, unchanged = sum(one.is_copy for one in near), sum(one.unchanged for one in near)
        rows.append([str(category), len(numbers), copies, unchanged, *_middle_and_end(similarities)])
    copies = sum(value >= NEAR_DUPLICATE for value in baseline)
    rows.append(["real, as baseline", len(baseline), copies, None, *_middle_and_end(baseline)])
    columns = ["category", "images", "copies", "unchanged normals", "median similarity", "highest similarity"]
    note = (
        "Similarity: correlation with the nearest real defective image of the product, the lower of that of the whole "
        f"images and that of the place painted on; 1 for a copy, copies from {NEAR_DUPLICATE} on. Unchanged normals: "
        "no difference from a normal image can be seen. Baseline: the similarity of real defective images to one "
        "another."
    )
    return Table("Nearest real defective images", columns, rows, note)


def _middle_and_end(values: list[float]) -> list[Value]:
    return [float(np.median(values)), float(max(values))] if values else [None, None]


def _named(context: EvaluationContext, found: Memorisation, number: int) -> dict[str, object]:
    real, one = context.real.records, found.neighbours[number]
    known = one.defective.number >= 0
    return {
        "file": str(found.images.records[number].path),
        "nearest defective": str(real[one.defective.number].path) if known else None,
        "likeness": one.defective.similarity if known else None,
        "painted on": str(real[one.normal].path) if one.normal >= 0 else None,
        "unchanged": one.unchanged,
    }


def _pictures(context: EvaluationContext, found: Memorisation) -> Pictures:
    """The synthetic images that are most similar to a real defective one, beside it and what they were painted on."""
    records, near = found.images.records, found.neighbours
    order = sorted(range(len(near)), key=lambda n: (-near[n].defective.similarity, records[n].path))
    rows = [_picture_row(context, found, n, near[n]) for n in order[:SHOWN]]
    note = (
        f"The {len(rows)} of {len(near)} synthetic images that are most similar to a real defective one, each beside "
        "it and beside the normal image that it was painted on, where that is known. See whether the defect is the "
        "same."
    )
    return Pictures("Nearest neighbours, the most similar first", rows, note)


def _picture_row(context: EvaluationContext, found: Memorisation, number: int, one: Neighbour) -> PictureRow:
    record, real = found.images.records[number], context.real.records
    images, labels = [record.path], ["synthetic"]
    if one.defective.number >= 0:
        images.append(real[one.defective.number].path)
        labels.append(f"nearest real, similarity {one.defective.similarity:.2f}")
    if one.normal >= 0:
        images.append(real[one.normal].path)
        labels.append("painted on this" + (", no change to be seen" if one.unchanged else ""))
    return PictureRow(f"{record.category}: {record.path.name}", images, labels)
