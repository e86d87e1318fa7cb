"""A study's result as a section of the report. No torch."""

from __future__ import annotations

from defectaug.evaluation.plots import bars, line
from defectaug.evaluation.sections import Figure, Interval, Section, Spread, Table, Value
from defectaug.evaluation.study.intervals import RULE, spread
from defectaug.evaluation.study.result import ALL, ERROR_RATE, ArmResult, StudyResult


def study_section(result: StudyResult) -> Section:
    """Verdicts, error rates, differences and training images as tables; error rates and the sweep as plots."""
    notes = [*result.notes, *([_from_scratch(result)] if _starts_from_scratch(result) else [])]
    sweeps = [figure for name in result.left_out if (figure := _sweep(result, name))]
    return Section(
        title="Does it help a classifier?",
        lines=result.sentences(),
        warnings=[*result.warnings, *notes, *_left_out(result)],
        tables=[error_table(result), *([difference_table(result)] if result.comparisons else []), image_table(result)],
        figures=[_rates(result), *sweeps],
        numbers=result.as_json(),
    )


def error_table(result: StudyResult) -> Table:
    """Error rates in per cent, as in the paper's Table 2."""
    names = (*result.products, ALL)
    rows: list[list[Value]] = [[arm.name, *(_percent(arm, name) for name in names)] for arm in result.arms]
    runs = len(result.settings.seeds)
    classifier = f"{result.settings.classifier} ({result.weights['origin']})"
    note = f"{ERROR_RATE} Mean ± standard deviation over {runs} seeds; {classifier}, {result.machine}."
    return Table("Error rate (%)", ["training", *names], rows, note)


def difference_table(result: StudyResult) -> Table:
    """Differences in percentage points, and the verdicts."""
    rows: list[list[Value]] = []
    for comparison in result.comparisons:
        for name, difference in comparison.differences.items():
            interval: Value = (
                Interval(100 * difference.mean, 100 * difference.low, 100 * difference.high)
                if difference.low is not None and difference.high is not None
                else 100 * difference.mean
            )
            rows.append([comparison.arm, comparison.against, name, interval, comparison.verdicts[name]])
    columns = ["with", "without", "product", "difference (percentage points)", "verdict"]
    return Table("What the synthetic images change", columns, rows, RULE)


def image_table(result: StudyResult) -> Table:
    """Training images of each cell: real, and synthetic by arm."""
    with_made = [arm for arm in result.arms if arm.synthetic is not None]
    cells = sorted({cell for arm in result.arms for cell in arm.images})
    real = {cell: max(arm.images.get(cell, (0, 0))[0] for arm in result.arms) for cell in cells}
    rows: list[list[Value]] = [
        [cell, real[cell], *(arm.images.get(cell, (0, 0))[1] for arm in with_made)] for cell in cells
    ]
    note = f"Tested on {len(result.split['test']):,} images, chosen on {len(result.split['val']):,}."
    return Table("Training images", ["cell", "real", *(f"synthetic, {arm.name}" for arm in with_made)], rows, note)


def _percent(arm: ArmResult, product: str) -> Spread:
    mean, deviation = spread(arm.errors(product))
    return Spread(100 * mean, 100 * deviation)


def _rates(result: StudyResult) -> Figure:
    names = [*result.products, ALL]
    arms = [arm for arm in result.arms if arm.amount is None or arm.amount == result.settings.amount]
    rates = {arm.name: [_percent(arm, name) for name in names] for arm in arms}
    svg = bars(
        names,
        {name: [rate.mean for rate in row] for name, row in rates.items()},
        errors={name: [rate.deviation for rate in row] for name, row in rates.items()},
        y_label="error rate (%)",
    )
    return Figure("Error rates", svg, "Bars: mean over the seeds; lines: ± one standard deviation.")


def _sweep(result: StudyResult, synthetic: str) -> Figure | None:
    arms = result.sweep(synthetic)
    if len(arms) < 2:
        return None
    plain = next(
        arm for arm in result.arms if arm.synthetic is None and arm.augmentation == result.settings.synthetic_with[0]
    )
    arms = [plain, *arms]
    names = [*result.products, ALL]
    rates = {name: [_percent(arm, name) for arm in arms] for name in names}
    svg = line(
        [arm.amount or 0.0 for arm in arms],
        {name: [rate.mean for rate in row] for name, row in rates.items()},
        bands={ALL: [(rate.mean - rate.deviation, rate.mean + rate.deviation) for rate in rates[ALL]]},
        x_label="synthetic images per real defective one",
        y_label="error rate (%)",
    )
    return Figure(f"How many of {synthetic}", svg, result.hurts_from(synthetic) or "")


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
