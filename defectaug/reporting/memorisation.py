"""What synthetic sets repeat of the real images, and which are like none, in words, tables and pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial

from defectaug.data.near_duplicates import NEAR_DUPLICATE
from defectaug.metrics.context import EvaluationContext
from defectaug.metrics.copies import CHANCE, CLOSER
from defectaug.metrics.images import ImageSet
from defectaug.metrics.memorisation import ODD, Kind, Memorisation, NearDuplicates, Neighbour
from defectaug.reporting.plots import histogram
from defectaug.reporting.sections import Figure, Finding, PictureRow, Pictures, Section, Table, Value

SHOWN = 12  # rows of pictures
NOTE = (
    "Each synthetic defect is laid over every training defect, turned, mirrored, scaled, bent and in its tone; closer: "
    "share of pairs of a synthetic and an unseen real defect in which the synthetic one is the nearer to training (50 "
    "% where they are alike). Among themselves: the same for the nearest other one of the set. From "
    f"{100 * CLOSER:.0f} % on, and with a chance below {CHANCE} (Mann and Whitney's rank test), they count as "
    "repeated. Like no real one: tone, contrast or grain lie outside of all real ones by more than these differ."
)


def memorisation_sections(
    context: EvaluationContext, sets: Sequence[Memorisation], pairs: Sequence[NearDuplicates]
) -> list[Section]:
    """A section for near-duplicates between the sets, and one for each synthetic set."""
    of_sets = [_of_set(context, one.name, found) for one, found in zip(context.synthetic, sets, strict=True)]
    return [_between(context.sets, pairs, len(context.synthetic)), *of_sets]


def _between(sets: Sequence[ImageSet], pairs: Sequence[NearDuplicates], synthetic: int) -> Section:
    """Near-duplicates, counted by where they lie; the last `synthetic` sets are synthetic."""
    real = len(sets) - synthetic  # the real and the held-out images come first

    def kind(pair: NearDuplicates) -> int:
        first, second = pair.first[0], pair.second[0]
        return 2 if first == second else 3 if first >= real else 1 if second < real else 0

    kinds = Counter(map(kind, pairs))
    names = ("between synthetic and real images", "between the held-out images and the others", "within one set",
             "between the synthetic sets (those of one model and seed hold the same images)")  # fmt: skip
    asked = (synthetic > 0, real > 1, True, synthetic > 1)
    lines = [f"{_counted(kinds[n])} {name}." for n, name in enumerate(names) if asked[n]]
    order = sorted(pairs, key=lambda pair: (kind(pair), -pair.similarity, pair.first, pair.second))
    files = [[sets[k].records[n].path for k, n in (pair.first, pair.second)] for pair in order]
    rows = [PictureRow(f"{a} and {b}", [a, b]) for a, b in files[:SHOWN]]
    note = f"Images of one product and defect that correlate by {NEAR_DUPLICATE} or more, shifted and mirrored, too."
    named = [
        {"files": [str(path) for path in both], "likeness": pair.similarity}
        for both, pair in zip(files, order, strict=True)
    ]
    return Section(
        "Near-duplicates",
        lines,
        pictures=[Pictures("The most similar pairs", rows, note)] if rows else [],
        numbers={"threshold": NEAR_DUPLICATE, "pairs": named},
    )


def _counted(count: int) -> str:
    return f"{count:,} pair{'s' * (count != 1)} of near-duplicates" if count else "No near-duplicates"


def _of_set(context: EvaluationContext, name: str, found: Memorisation) -> Section:
    title = f"Memorisation: {name}"
    if not len(found.images):
        return Section(title, lines=[f"{name} holds no defect images."])
    against = accusations(found, context.normal)
    total = f"{len(found.images):,}"
    good = f"No copies of real images, no repeated and no odd defects found among its {total} defect images."
    tables = [_table(found)] if found.kinds else []
    return Section(
        title,
        lines=against or [good],
        warnings=_warnings(found),
        tables=tables,
        figures=[_figure(one) for one in found.kinds if one.to_training.real],
        pictures=[_pictures(context, found)],
        numbers=_numbers(context, found),
        findings=[Finding(name, line, "against") for line in against] or [Finding(name, good, "for")],
        method=[("copies", NOTE)],
    )


def accusations(found: Memorisation, normal: str) -> list[str]:
    """What speaks against a set, the worst first."""
    total, lines = len(found.images), []
    if found.copies:
        lines.append(f"MEMORISED: {found.copies} of {total} defect images are copies of real ones, exact or nearly so.")
    if found.unchanged:
        lines.append(f"WRONG DEFECT: {found.unchanged} of {total} defect images are unchanged normal ones.")
    asked = f" ({found.by_reference} follow the reference they were made after)" if found.by_reference else ""
    for one in found.kinds:
        count, share = len(one.numbers), 100 * one.to_training.test[0]
        if one.to_training.accuses:
            lines.append(
                f"REPEATED: the defects '{one.defect}' are training defects, moved, turned, bent or in another tone: "
                f"of {count} compared they are closer to these than unseen real ones in {share:.0f} % of pairs{asked}."
            )
        share = 100 * one.to_each_other.test[0]
        if one.to_each_other.accuses:
            lines.append(
                f"ALL ALIKE: the defects '{one.defect}' repeat one another: of {count} compared the nearest is closer "
                f"than among real ones in {share:.0f} % of pairs."
            )
        if one.is_odd:
            trait = Counter(trait for _, trait in one.odd).most_common(1)[0][0]
            lines.append(
                f"UNLIKE REAL ONES: {len(one.odd)} of {one.compared[0]} images of '{one.defect}' have a {trait} that "
                f"no real one has ({one.odd_real} of {one.compared[1]} unseen real ones do)."
            )
    return lines


def _warnings(found: Memorisation) -> list[str]:
    warnings = []
    if unknown := sum(one.normal < 0 for one in found.neighbours):
        warnings.append(
            f"{unknown} of {len(found.images)} images were painted on none of the normal images here, as far as can be "
            "told; they are compared as whole images."
        )
    for one in found.kinds:
        if not one.numbers:
            warnings.append(
                f"Whether defects '{one.defect}' repeat real ones elsewhere is not known: that needs masks of the real "
                "and of the synthetic defects (--masks DIR), or the model that finds them (--model DIR)."
            )
        elif one.to_training.test[1] == 1.0 and one.to_training.test[0] != one.to_training.test[0]:
            warnings.append(f"Whether defects '{one.defect}' repeat real ones cannot be known from so few.")
    return warnings


def _table(found: Memorisation) -> Table:
    rows: list[list[Value]] = [
        [
            one.defect, len(one.numbers), len(one.to_training.real),
            *(100 * part.test[0] if part.real else None for part in (one.to_training, one.to_each_other)),
            len(one.odd), one.odd_real,
        ]
        for one in found.kinds
    ]  # fmt: skip
    columns = ["defect", "synthetic", "unseen real", "closer to training (%)", "closer among themselves (%)",
               "like no real one", "real ones so"]  # fmt: skip
    return Table("Do the defects repeat those of training, or one another?", columns, rows, NOTE)


def _figure(kind: Kind) -> Figure:
    series = {"synthetic to training": kind.to_training.synthetic, "unseen real to training": kind.to_training.real}
    label = "similarity to the nearest training defect, 1 for a copy"
    title = f"How closely defects '{kind.defect}' repeat training ones"
    return Figure(title, partial(histogram, series, x_label=label), "Copies lie farther to the right than real ones.")


def _numbers(context: EvaluationContext, found: Memorisation) -> dict[str, object]:
    real = context.real.records

    def named(number: int, one: Neighbour) -> dict[str, object]:
        known = one.defective.number >= 0
        return {
            "file": str(found.images.records[number].path),
            "nearest defective": str(real[one.defective.number].path) if known else None,
            "likeness": one.defective.similarity if known else None,
            "painted on": str(real[one.normal].path) if one.normal >= 0 else None,
            "unchanged": one.unchanged,
        }

    kinds = {
        one.defect: {
            "compared": len(one.numbers),
            "closer to training": one.to_training.test,
            "closer among themselves": one.to_each_other.test,
            "similarities": one.to_training,
            "odd": len(one.odd),
            "odd real": one.odd_real,
            "repeated": one.to_training.accuses,
            "alike": one.to_each_other.accuses,
            "unlike": one.is_odd,
        }
        for one in found.kinds
    }
    return {
        "images": len(found.images),
        "exact": found.exact,
        "copies": found.copies,
        "unchanged": found.unchanged,
        "by_reference": found.by_reference,
        "twins_within": found.duplicates_within,
        "threshold": NEAR_DUPLICATE,
        "yardstick": "held-out images" if context.test else "real images, near-duplicates apart",
        "odd threshold": ODD,
        "defects": kinds,
        "neighbours": [named(n, one) for n, one in enumerate(found.neighbours)],
    }


def _pictures(context: EvaluationContext, found: Memorisation) -> Pictures:
    """The synthetic images that are most similar to a real defective one, beside it and what they were painted on."""
    records, near, real = found.images.records, found.neighbours, context.real.records
    closest: dict[int, tuple[float, object]] = {n: (one.defective.similarity, None) for n, one in enumerate(near)}
    beside = {n: real[one.defective.number].path for n, one in enumerate(near) if one.defective.number >= 0}
    for kind in found.kinds:
        for n, repeat in zip(kind.numbers, kind.repeats, strict=True):
            if repeat.number >= 0 and not near[n].is_copy:
                closest[n], beside[n] = (repeat.similarity, kind), kind.training[repeat.number].path
    order = sorted(closest, key=lambda n: (-closest[n][0], records[n].path))[:SHOWN]
    rows = []
    for n in order:
        images, labels = [records[n].path], ["synthetic"]
        if n in beside:
            images.append(beside[n])
            labels.append(f"nearest real, similarity {closest[n][0]:.2f}")
        if near[n].normal >= 0:
            images.append(real[near[n].normal].path)
            labels.append("painted on this" + (", no change to be seen" if near[n].unchanged else ""))
        rows.append(PictureRow(f"{records[n].category}: {records[n].path.name}", images, labels))
    return Pictures("The closest to training", rows, "See whether the defect is the same.")
