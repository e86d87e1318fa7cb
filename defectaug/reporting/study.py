"""A study's result as a section of the report. No torch."""

from __future__ import annotations

from typing import Literal

from defectaug.benchmark.intervals import RULE, Difference
from defectaug.benchmark.result import ALL, ERROR_RATE, StudyResult, per_cent
from defectaug.reporting.plots import bars, line
from defectaug.reporting.sections import Figure, Finding, Interval, Section, Table, Value

LINES = 5  # of products in the plot of a sweep
KINDS = {
    "none": "no augmentation",
    "traditional": "random flips and shifts, contrast, brightness, tint",
    "cutmix": "CutMix on top of the traditional ones",
    "cutout": "CutOut on top of the traditional ones",
    "mixup": "MixUp on top of the traditional ones",
}


def study_section(result: StudyResult) -> Section:
    """Verdicts, error rates, differences and training images as tables; error rates and the sweep as plots."""
    notes = [*result.notes, *([_from_scratch(result)] if _starts_from_scratch(result) else [])]
    sweeps = [figure for name in result.left_out if (figure := _sweep(result, name))]
    return Section(
        title="Does it help a classifier?",
        lines=result.sentences(swept=False),
        warnings=[*result.warnings, *notes, *_left_out(result), *_short(result)],
        tables=[error_table(result), *([difference_table(result)] if result.comparisons else []), image_table(result)],
        figures=[_rates(result), *sweeps],
        numbers=result.as_json(),
        findings=[finding for name in result.left_out for finding in _findings(result, name)],
        method=_method(result),
    )


def _findings(result: StudyResult, synthetic: str) -> list[Finding]:
    """What the comparisons outside the sweep say of a set: over all products the verdict, against it single ones."""
    found = []
    for comparison in result.comparisons:
        if comparison.synthetic != synthetic or result.is_swept(comparison.arm):
            continue
        for product, verdict in comparison.verdicts.items():
            if product == ALL or (verdict == "hurts" and len(result.products) > 1):
                speaks: Literal["for", "against", "neither"] = (
                    "for" if verdict == "helps" else "against" if verdict == "hurts" else "neither"
                )
                first = comparison.against == result.settings.synthetic_with[0]  # the sweep rests on this one, too
                text = result.sentence(comparison, product)
                found.append(Finding(synthetic, f"{text}.", speaks, decides=first and product == ALL))
    return found + [
        Finding(synthetic, f"Of the study: {line.removeprefix(f'{synthetic}: ')}.")
        for line in result.warnings
        if line.startswith(f"{synthetic}: ")
    ]


def _short(result: StudyResult) -> list[str]:
    """Amounts of a sweep that a set is too small for."""
    return [
        f"{arm.name}: only {arm.made:,} synthetic images were there, {result.per_real(arm):.2g} per real defective one"
        for arm in result.arms
        if result.falls_short(arm)
    ]


def _method(result: StudyResult) -> list[tuple[str, str]]:
    chosen = result.settings
    side, seeds = chosen.image_size, len(chosen.seeds)
    hashed = f", sha256 {result.weights['sha256']}" if result.weights["sha256"] else ""
    images = {use: f"{len(result.split[use]):,}" for use in ("train", "val", "test")}
    held = f"from {result.test_folder}" if result.test_folder else "held out of the real ones"
    return [
        ("classifier of the study", f"{chosen.classifier} ({result.weights['origin']}{hashed})"),
        ("trainings", f"{len(result.arms) * seeds}: {len(result.arms)} ways, {seeds} seeds each; {chosen.steps} steps "
         f"of {chosen.batch_size} images, squeezed to {side} x {side}, antialiased"),
        ("real images of the study", f"{images['train']} to train on, {images['val']} to choose the best state by, "
         f"{images['test']} to test on ({held})"),
        ("machine of the study", f"{result.machine}; {result.seconds / 60:.0f} minutes of training"),
    ]  # fmt: skip


def error_table(result: StudyResult) -> Table:
    """Error rates in per cent, as in the paper's Table 2."""
    names = (*result.products, ALL)
    rows: list[list[Value]] = [[arm.name, *(per_cent(arm, name) for name in names)] for arm in result.arms]
    runs = len(result.settings.seeds)
    classifier = f"{result.settings.classifier} ({result.weights['origin']})"
    kinds = dict.fromkeys(arm.augmentation for arm in result.arms)
    explained = "; ".join(f"{kind}: {KINDS[kind]}" for kind in kinds)
    swept = "; N per real: so many synthetic images per real defective one" if result.settings.sweep else ""
    note = f"{explained}; + set: with its synthetic images{swept}. {ERROR_RATE} "
    note += f"Mean ± standard deviation over {runs} seeds; {classifier}, {result.machine}."
    return Table("Error rate (%)", ["training", *names], rows, note)


def difference_table(result: StudyResult) -> Table:
    """Differences in percentage points, and the verdicts."""
    names = (*result.products, ALL)
    rows: list[list[Value]] = [
        [comparison.arm, *(points(comparison.differences[name]) for name in names), comparison.verdicts[ALL]]
        for comparison in result.comparisons
    ]
    title = "What the synthetic images change: error rate with them less without (percentage points)"
    return Table(title, ["training", *names, f"verdict on {ALL}"], rows, f"In brackets 95 % intervals. {RULE}")


def image_table(result: StudyResult) -> Table:
    """Training images of each cell: real, and synthetic by arm; of the sweep's arms the sums."""
    made = [arm for arm in result.arms if arm.synthetic is not None and not result.is_swept(arm.name)]
    cells = sorted({cell for arm in result.arms for cell in arm.images})
    real = {cell: max(arm.images.get(cell, (0, 0))[0] for arm in result.arms) for cell in cells}
    rows: list[list[Value]] = [[cell, real[cell], *(arm.images.get(cell, (0, 0))[1] for arm in made)] for cell in cells]
    swept = "".join(f" {arm.name}: {arm.made:,}." for arm in result.arms if result.is_swept(arm.name))
    note = f"Tested on {len(result.split['test']):,} images, best state chosen on {len(result.split['val']):,}."
    note += f" Synthetic images of the sweep:{swept}" if swept else ""
    return Table("Training images", ["cell", "real", *(f"synthetic, {arm.name}" for arm in made)], rows, note)


def points(difference: Difference) -> Value:
    """A difference of error rates in percentage points, with its 95 % interval where there is one."""
    if difference.ends is None:
        return 100 * difference.mean
    low, high = difference.ends
    return Interval(100 * difference.mean, 100 * low, 100 * high)


def _rates(result: StudyResult) -> Figure:
    names = [*result.products, ALL]
    arms = [arm for arm in result.arms if arm.amount is None or arm.amount == result.settings.amount]
    rates = {arm.name: [per_cent(arm, name) for name in names] for arm in arms}
    svg = bars(
        names,
        {name: [rate.mean for rate in row] for name, row in rates.items()},
        errors={name: [rate.deviation for rate in row] for name, row in rates.items()},
        y_label="error rate (%)",
    )
    seeds = len(result.settings.seeds)
    note = f"Bars: mean over {seeds} seeds; lines: ± one standard deviation. Lower is better."
    return Figure("Error rates", svg, note)


def _sweep(result: StudyResult, synthetic: str) -> Figure | None:
    arms = result.sweep(synthetic)
    if len(arms) < 2:
        return None
    plain = next(
        arm for arm in result.arms if arm.synthetic is None and arm.augmentation == result.settings.synthetic_with[0]
    )
    # What a set is too small for is drawn where it came to lie
    arms = list({result.per_real(arm): arm for arm in reversed([plain, *arms])}.values())[::-1]
    # More lines than these cannot be told apart; the table has them all
    names = [ALL, *(result.products if 1 < len(result.products) <= LINES else ())]
    rates = {name: [per_cent(arm, name) for arm in arms] for name in names}
    svg = line(
        [result.per_real(arm) for arm in arms],
        {name: [rate.mean for rate in row] for name, row in rates.items()},
        bands={ALL: [(max(rate.mean - rate.deviation, 0), rate.mean + rate.deviation) for rate in rates[ALL]]},
        x_label="synthetic images per real defective one",
        y_label="error rate (%)",
    )
    note = f"At 0: {plain.name} alone, without synthetic images. Band: ± one standard deviation over the seeds."
    return Figure(
        f"Error rate by the number of synthetic images of {synthetic}", svg,
        f"{note} {result.hurts_from(synthetic) or ''}.",
    )  # fmt: skip


def _left_out(result: StudyResult) -> list[str]:
    return [
        f"{name}: {count:,} synthetic images left out, {why}"
        for name, reasons in result.left_out.items()
        for why, count in reasons.items()
    ]


def _starts_from_scratch(result: StudyResult) -> bool:
    return result.weights["sha256"] is None


def _from_scratch(result: StudyResult) -> str:
    return (
        f"The classifier ({result.settings.classifier}) was trained {result.weights['origin']}, not from ImageNet "
        "weights as in the paper: error rates are not the paper's."
    )
