"""What the fidelity of a synthetic set amounts to, in words, tables and a plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from defectaug.metrics.context import EvaluationContext
from defectaug.metrics.distances import NEIGHBOURS
from defectaug.metrics.features import Extractor, Lpips
from defectaug.metrics.fidelity import HALVINGS, Fidelity
from defectaug.metrics.images import ImageSet
from defectaug.reporting.plots import bars
from defectaug.reporting.sections import Figure, Finding, Section, Table

FEW = 20  # images below which one of them moves a share by more than five points


def fidelity_section(
    context: EvaluationContext,
    images: ImageSet,
    results: Mapping[str, Fidelity],
    extractor: Extractor,
    pairs: Lpips | None,
) -> Section:
    """The section of one synthetic set."""
    title = f"Fidelity and diversity: {images.name}"
    if not results:
        names = f"{images.name} and {context.real.name}"
        return Section(title, warnings=[f"{names} have no defective product and defect in common: nothing to compare."])
    return Section(
        title,
        lines=lines(results, extractor, pairs),
        warnings=warnings(results, extractor),
        tables=tables(results, extractor, pairs),
        figures=[figure(results, extractor)],
        # No distance is far enough by itself to speak against the images
        findings=[Finding(images.name, line) for line in lines(results, extractor, None)[:1]],
        method=method(extractor, pairs),
        numbers={
            "extractor": about(extractor) | {"features": extractor.size},
            "pair measure": about(pairs) if pairs else "Euclidean distance of the features",
            "neighbours": NEIGHBOURS,
            "halvings": HALVINGS,
            "seed": context.seed,
            "groups": results,
        },
    )


def about(part: Extractor | Lpips) -> dict[str, str]:
    """What a measure is, for the records."""
    return {"name": part.name, "weights sha256": part.weights, "resize": part.resize}


def tables(results: Mapping[str, Fidelity], extractor: Extractor, pairs: Lpips | None) -> list[Table]:
    """Synthetic against real, and both beside the baselines."""
    distance = Table(
        "How far the synthetic images are from the real ones",
        ["group", "real", "synthetic", extractor.frechet, extractor.kernel, "precision", "recall"],
        [
            [name, m.real, m.synthetic, m.frechet, m.kernel, m.precision, m.recall]
            for name, m in results.items()
        ],
        note="Both distances are 0 for sets that are alike, and grow without bound; the second, which may fall below 0 "
        "by chance, does not depend on the number of images. Precision: share of the synthetic images that look like "
        "a real one; recall: share of the real images that look like a synthetic one; an image looks like one of the "
        f"other set if it is no farther from it than that one's neighbour number {NEIGHBOURS} in its own set. "
        f"Features: {extractor.name}; {extractor.resize}; sha256 {extractor.weights[:16]}. In brackets 95 % intervals: "
        "bootstrap over the images of both sets, laid around the value; Wilson's for shares. Where categories are "
        "taken together, other shares of them in the two sets count as distance.",
    )  # fmt: skip
    diverse = pairs.name if pairs else "pair distance"
    beside = Table(
        "Beside the real images",
        ["group", "images each", "synthetic to real", "real to real", f"{diverse}, synthetic", f"{diverse}, real"],
        [
            [name, m.even or None, m.frechet_even, m.frechet_real, m.diversity, m.diversity_real]
            for name, m in results.items()
        ],
        note=f"First two distances: {extractor.frechet} of one half of the real images to so many synthetic ones of "
        f"each category, and to the other half, mean of {HALVINGS} halvings; few images alone make both large. Last "
        "two: "
        + (f"mean {pairs.name} of pairs; {pairs.resize}; sha256 {pairs.weights[:16]}." if pairs else
           "mean Euclidean distance of the features of all pairs; it is not LPIPS."),
    )  # fmt: skip
    return [distance, beside]


def lines(results: Mapping[str, Fidelity], extractor: Extractor, pairs: Lpips | None) -> list[str]:
    """The two plainest results, in words: of the last group, which holds all categories."""
    whole = list(results.values())[-1]
    found = []
    if whole.frechet_even is not None and whole.frechet_real:
        times = whole.frechet_even / whole.frechet_real
        found.append(
            f"At {whole.even} images each, the synthetic images are {times:.1f} times as far from the real ones as "
            f"other real ones are ({extractor.frechet})."
        )
    if whole.diversity and whole.diversity_real:
        share = whole.diversity.value / max(whole.diversity_real.value, 1e-12)
        what = pairs.name if pairs else "distance of pairs of images"
        found.append(f"Synthetic images differ among themselves {share:.2f} times as much as real ones ({what}).")
    return found


def warnings(results: Mapping[str, Fidelity], extractor: Extractor) -> list[str]:
    """Where there are too few images for a number to mean anything, and why."""
    found = []
    low = [name for name, m in results.items() if m.frechet and min(m.real, m.synthetic) <= extractor.size]
    if low:
        found.append(
            f"{extractor.frechet} of {_listed(low)} rests on fewer images than its {extractor.size} features, and is "
            "then mostly bias (the covariance is not of full rank). Compare it with real to real, and with other sets "
            "of the same counts only."
        )
    few = [name for name, m in results.items() if min(m.real, m.synthetic) < FEW]
    if few:
        found.append(
            f"{_listed(few)}: fewer than {FEW} images on one side, so that one image moves a share by more than "
            f"{100 / FEW:.0f} points; no number there means much."
        )
    none = [name for name, m in results.items() if m.frechet is None]
    if none:
        found.append(f"{_listed(none)}: a single image on one side, so no distance is taken.")
    return found


def _listed(names: Sequence[str], most: int = 6) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def figure(results: Mapping[str, Fidelity], extractor: Extractor) -> Figure:
    """Distances at equal counts, synthetic and real."""
    shown = {name: m for name, m in results.items() if m.frechet_even is not None}
    series: dict[str, list[float | None]] = {
        "synthetic to real": [m.frechet_even for m in shown.values()],
        "real to real": [m.frechet_real for m in shown.values()],
    }
    title = "How far synthetic and other real images are from the real ones, at equal counts"
    note = "The nearer the two bars are in height, the more the synthetic images are like real ones."
    return Figure(title, partial(bars, list(shown), series, y_label=extractor.frechet), note)


def method(extractor: Extractor, pairs: Lpips | None) -> list[tuple[str, str]]:
    """What the distances are taken with."""
    found = [("features", f"{extractor.name}, {extractor.size} of an image")]
    found += [("images for the features", extractor.resize), ("features' weights, sha256", extractor.weights)]
    if pairs is None:
        return [*found, ("distance of pairs", "Euclidean distance of the features (no LPIPS)")]
    return [*found, ("distance of pairs", f"{pairs.name}; {pairs.resize}; sha256 {pairs.weights}")]
