"""What the fidelity of a synthetic set amounts to, in words, tables and plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from defectaug.metrics.context import EvaluationContext
from defectaug.metrics.distances import NEIGHBOURS
from defectaug.metrics.features import Extractor, Lpips
from defectaug.metrics.fidelity import CROPS, HALVINGS, WHOLE, Fidelity, Measure, Results
from defectaug.metrics.images import ImageSet
from defectaug.reporting.plots import bars
from defectaug.reporting.sections import Figure, Finding, Section, Table

NAMED = 6  # groups in a sentence
FEW = 20  # images below which one of them moves a share by more than five points


def fidelity_section(
    context: EvaluationContext, images: ImageSet, results: Results, measures: Sequence[Measure]
) -> Section:
    """The section of one synthetic set."""
    title = f"Fidelity and diversity: {images.name}"
    if not results[measures[0].title]:
        names = f"{images.name} and {context.real.name}"
        return Section(title, warnings=[f"{names} have no defective product and defect in common: nothing to compare."])
    shown = [(measure, results[measure.title]) for measure in measures if results[measure.title]]
    told = lines(shown)
    return Section(
        title,
        lines=told,
        warnings=[*(line for one in shown for line in warnings(*one)), *_lacking(measures, results)],
        tables=[table for one in shown for table in tables(*one)],
        figures=[figure(*one) for one in shown],
        # No distance is far enough by itself to speak against the images
        findings=[Finding(images.name, line) for line in told[:1]],
        method=method(measures),
        numbers={
            "neighbours": NEIGHBOURS,
            "halvings": HALVINGS,
            "seed": context.seed,
            "measures": {
                measure.title: {
                    "extractor": about(measure.extractor) | {"features": measure.extractor.size},
                    "pairs": [about(part) for part in (measure.maps, measure.lpips) if part],
                    "groups": groups,
                }
                for measure, groups in shown
            },
        },
    )


def about(part: Extractor | Lpips) -> dict[str, str]:
    """What a measure is, for the records."""
    return {"name": part.name, "weights sha256": part.weights, "resize": part.resize}


def tables(measure: Measure, groups: Mapping[str, Fidelity]) -> list[Table]:
    """Synthetic against real, beside the baselines; pairs where they are compared."""
    extractor, where = measure.extractor, CROPS if measure.crops else WHOLE
    distance = Table(
        f"How far the synthetic images are from the real ones: {where}, {extractor.name}",
        ["group", "real", "synthetic", extractor.frechet, extractor.kernel, "precision", "recall",
         "images each", "synthetic to real", "real to real"],
        [
            [name, m.real, m.synthetic, m.frechet, m.kernel, m.precision, m.recall, m.even or None, m.frechet_even,
             m.frechet_real]
            for name, m in groups.items()
        ],
        note="Both distances are 0 for sets that are alike, and grow without bound; the second, which may fall below 0 "
        "by chance, does not depend on the number of images. Precision: share of the synthetic images that look like "
        "a real one; recall: share of the real images that look like a synthetic one; an image looks like one of the "
        f"other set if it is no farther from it than that one's neighbour number {NEIGHBOURS} in its own set. "
        f"{extractor.resize}; sha256 {extractor.weights[:16]}. In brackets 95 % intervals: "
        "bootstrap over the images of both sets, laid around the value; Wilson's for shares. Where categories are "
        "taken together, other shares of them in the two sets count as distance. Last columns: the first distance, of "
        "one half of the real images to so many synthetic ones of each category, and to the other half, mean of "
        f"{HALVINGS} halvings; few images alone make both large.",
    )  # fmt: skip
    if measure.maps is None:
        return [distance]
    columns, rows = ["group", "synthetic", "real", "within clusters"], [
        [name, m.diversity, m.diversity_real, m.clustered] for name, m in groups.items()
    ]
    if measure.lpips is not None:
        columns += ["LPIPS, synthetic", "LPIPS, real"]
        rows = [[*row, m.lpips, m.lpips_real] for row, m in zip(rows, groups.values(), strict=True)]
    pairs = Table(
        f"How much images differ among themselves: {where}, {measure.maps.name}",
        columns,
        rows,
        note=f"Mean over pairs of images; {measure.maps.resize}; LPIPS by the network's own maps, not LPIPS. Within "
        "clusters: of synthetic images with the same nearest real image (IC-LPIPS of Ojha et al., 2021, by these "
        "maps): next to nothing where they are copies of the real ones.",
    )
    return [distance, pairs]


def lines(shown: Sequence[tuple[Measure, Mapping[str, Fidelity]]]) -> list[str]:
    """The plainest results, in words: of the last group, which holds all categories; crops tell the most."""
    found = []
    for measure, groups in sorted(shown, key=lambda one: not one[0].crops):
        whole = list(groups.values())[-1]
        subject = "crops around synthetic defects" if measure.crops else "the synthetic images"
        if whole.frechet_even is not None and whole.frechet_real:
            times = whole.frechet_even / whole.frechet_real
            found.append(
                f"At {whole.even} images each, {subject} are {times:.1f} times as far from the real ones as other real "
                f"ones are ({measure.extractor.frechet})."
            )
        if measure.maps and whole.diversity and whole.diversity_real:
            share = whole.diversity.value / max(whole.diversity_real.value, 1e-12)
            found.append(
                f"{subject[0].upper()}{subject[1:]} differ among themselves {share:.2f} times as much as real ones "
                f"({measure.maps.name})."
            )
    return found


def warnings(measure: Measure, groups: Mapping[str, Fidelity]) -> list[str]:
    """Where there are too few images for a number to mean anything, and why."""
    found, extractor = [], measure.extractor
    low = [name for name, m in groups.items() if m.frechet and min(m.real, m.synthetic) <= extractor.size]
    if low:
        found.append(
            f"{extractor.frechet} of {_listed(low)} rests on fewer images than its {extractor.size} features, and is "
            "then mostly bias (the covariance is not of full rank). Compare it with real to real, and with other sets "
            "of the same counts only."
        )
    few = [name for name, m in groups.items() if min(m.real, m.synthetic) < FEW]
    if few:
        found.append(
            f"{_listed(few)}: fewer than {FEW} images on one side, so that one image moves a share by more than "
            f"{100 / FEW:.0f} points; no number there means much."
        )
    none = [name for name, m in groups.items() if m.frechet is None]
    if none:
        found.append(f"{_listed(none)}: a single image on one side, so no distance is taken.")
    return [f"{measure.title}: {line}" for line in found]


def _lacking(measures: Sequence[Measure], results: Results) -> list[str]:
    if all(results[measure.title] for measure in measures):
        return []
    return [
        f"No {CROPS}: masks of real defects are not known (--masks DIR, or a --model that finds them), or not where "
        "the synthetic ones were painted. On whole images backgrounds hide the defect."
    ]


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def figure(measure: Measure, groups: Mapping[str, Fidelity]) -> Figure:
    """Distances at equal counts, synthetic and real."""
    shown = {name: m for name, m in groups.items() if m.frechet_even is not None}
    series: dict[str, list[float | None]] = {
        "synthetic to real": [m.frechet_even for m in shown.values()],
        "real to real": [m.frechet_real for m in shown.values()],
    }
    title = f"How far synthetic and other real images are from the real ones, at equal counts: {measure.title}"
    note = "The nearer the two bars are in height, the more the synthetic images are like real ones."
    return Figure(title, partial(bars, list(shown), series, y_label=measure.extractor.frechet), note)


def method(measures: Sequence[Measure]) -> list[tuple[str, str]]:
    """What the distances are taken with."""
    parts = {part.name: part for one in measures for part in (one.extractor, one.maps, one.lpips) if part}
    return [(f"fidelity by {name}", f"{part.resize}; sha256 {part.weights}") for name, part in parts.items()]
