"""A study's result in words, tables and plots. No torch."""

from __future__ import annotations

from functools import partial
from statistics import fmean, stdev
from typing import Literal

from defectaug.benchmark.intervals import RULE, Difference, mean_and_deviation
from defectaug.benchmark.result import ALL, CONTROL, ERROR_RATE, Comparison, ConditionResult, StudyResult
from defectaug.reporting.plots import bars, line
from defectaug.reporting.sections import Figure, Finding, Interval, Section, Spread, Table, Value, interval_digits, show

LINES = 5  # of products in the plot of a sweep
KINDS = {
    "none": "no augmentation",
    "traditional": "random flips and shifts, contrast, brightness, tint",
    "cutmix": "CutMix on top of the traditional ones",
    "cutout": "CutOut on top of the traditional ones",
    "mixup": "MixUp on top of the traditional ones",
}
SPEAKS: dict[str, Literal["for", "against", "neither", "needless", "unknown"]] = {
    "helps": "for", "hurts": "against", "no difference shown": "neither", "cannot be known": "unknown",
}  # fmt: skip


def study_section(result: StudyResult) -> Section:
    """Verdicts, error rates, differences and training images as tables; error rates and the sweep as plots."""
    sweeps = [figure for name in result.left_out if (figure := _sweep(result, name))]
    return Section(
        title="Does it help a classifier?",
        lines=sentences(result, swept=False),
        warnings=_warnings(result),
        tables=[
            error_table(result), *([difference_table(result)] if result.comparisons else []), alarm_table(result),
            image_table(result),
        ],
        figures=[_rates(result), *sweeps],
        numbers=result.as_json(),
        findings=[finding for name in result.left_out for finding in _findings(result, name)],
        method=_method(result),
    )


def sentences(result: StudyResult, *, swept: bool = True) -> list[str]:
    """The verdicts in plain words, that on all products first; `swept`: of the sweep's conditions, too."""
    lines = [
        sentence(result, comparison, product)
        for comparison in result.comparisons
        if swept or not result.is_swept(comparison.condition)
        for product in (ALL, *(result.products if len(result.products) > 1 else ()))
    ]
    lines += [control_sentence(result, one) for one in result.over_control if not result.is_swept(one.condition)]
    for one in result.comparisons:
        if swept or not result.is_swept(one.condition):
            lines += [line for line in (best_line_sentence(result, one), alarm_sentence(result, one)) if line]
    lines += [draws_sentence(result)] if result.settings.control_draws > 1 else []
    return lines + [line for name in result.left_out if (line := _hurts_from(result, name))]


def sentence(result: StudyResult, comparison: Comparison, product: str) -> str:
    """The verdict on one product, or `ALL`, in plain words."""
    where = "over all products" if product == ALL else f"on {product}"
    before, after = (
        show(per_cent(result.condition(name), product)) for name in (comparison.against, comparison.condition)
    )
    return (
        f"{comparison.condition}: {comparison.verdicts[product]} {where}, error rate {before} % without, {after} % "
        f"with, {_difference(comparison.differences[product])}"
    )


def control_sentence(result: StudyResult, comparison: Comparison) -> str:
    """What a set adds to cut and paste, over all products, and what at the best lines."""
    words = {"helps": "more than the control", "hurts": "less than the control"}
    none = "no difference to the control shown"
    said = (
        f"{comparison.condition}: {words.get(comparison.verdicts[ALL], none)}, {comparison.against}, whose error "
        f"rate is {show(per_cent(result.condition(comparison.against), ALL))} %, "
        f"{_difference(comparison.differences[ALL])}"
    )
    if ALL not in comparison.at_best:
        return said
    best = comparison.at_best[ALL]
    return f"{said}; at the best lines {words.get(best.verdict, none)}, {_difference(best)}"


def best_line_sentence(result: StudyResult, comparison: Comparison) -> str | None:
    """The verdict over all products at the best lines; None where no product has both normal and defective images."""
    if ALL not in comparison.at_best:
        return None
    difference = comparison.at_best[ALL]
    before, after = (
        show(per_cent(result.condition(name), ALL, best=True)) for name in (comparison.against, comparison.condition)
    )
    return (
        f"{comparison.condition}: {difference.verdict} at the best line between normal and defective images, error "
        f"rate {before} % without, {after} % with, {_difference(difference)}"
    )


def alarm_sentence(result: StudyResult, comparison: Comparison) -> str:
    """False alarms, defects named wrong and their AUROC, with the synthetic images and without: one error rate may
    hide that the first rise while the second fall."""
    of, than = (alarms(result, result.condition(name)) for name in (comparison.condition, comparison.against))
    words = ("of normal images {} % are named a defect", "of defective ones {} % wrong", "AUROC {} %")
    told = [
        f"{word.format(show(now))} ({show(before)} % without)"
        for word, now, before in zip(words, of, than, strict=True)
        if now is not None and before is not None
    ]
    return f"{comparison.condition}: {', '.join(told)}"


def alarms(result: StudyResult, condition: ConditionResult) -> list[Spread | None]:
    """In per cent: normal test images that are named a defect, defective ones that are named wrong, and the AUROC of
    the second against the first; None where there are no such images."""
    shares = [condition.named_wrong(result.classes[0], defective=defective) for defective in (False, True)]
    return [
        Spread(*(100 * value for value in mean_and_deviation(some))) if some else None
        for some in (*shares, condition.told_apart())
    ]


def draws_sentence(result: StudyResult) -> str:
    """How far draws of cut and paste differ, over all products."""
    first = result.settings.synthetic_with[0], result.settings.amount
    rates = [
        100 * one.error_rate(ALL)[0]
        for one in result.conditions
        if str(one.synthetic).startswith(CONTROL) and (one.augmentation, one.amount) == first
    ]
    return (
        f"{len(rates)} draws of cut and paste: error rates of {min(rates):.1f} to {max(rates):.1f} %, "
        f"{show(Spread(fmean(rates), stdev(rates)))} % over the draws"
    )


def per_cent(condition: ConditionResult, product: str, *, best: bool = False) -> Spread:
    """Error rate of a condition in per cent over its seeds; `best`: at the best line."""
    mean, deviation = mean_and_deviation(condition.errors(product, best=best))
    return Spread(100 * mean, 100 * deviation)


def _difference(difference: Difference) -> str:
    if difference.ends is None:
        why = "one seed" if difference.runs == 1 else f"the same with all {difference.runs} seeds"
        return f"difference {100 * difference.mean:.2f} percentage points ({why}: no interval)"
    mean, low, high = interval_digits(*(100 * value for value in (difference.mean, *difference.ends)))
    others = [f"{name}" for name in difference.spans if name != difference.over]
    narrower = f", wider than over {' and '.join(others)}" if others else ""
    over = f"{difference.runs} seeds" if difference.over == "seeds" else difference.over
    return f"difference {mean} percentage points, 95 % interval {low} to {high}, over {over}{narrower}"


def _hurts_from(result: StudyResult, synthetic: str) -> str | None:
    """Where, in a sweep over the number of synthetic images, they start to hurt; None without a sweep."""
    sweep = result.sweep(synthetic)
    if len(sweep) < 2:
        return None
    verdict_of = {comparison.condition: comparison.verdicts[ALL] for comparison in result.comparisons}
    hurting = [one for one in sweep if verdict_of[one.name] == "hurts"]
    at = result.per_real((hurting or sweep[-1:])[0])
    how = "starts to hurt at" if hurting else "not shown to hurt up to"
    return f"{synthetic}: {how} {at:.3g} synthetic images per real defective one"


def _findings(result: StudyResult, synthetic: str) -> list[Finding]:
    """What the comparisons outside the sweep tell of a set: over all products the verdict, against it single ones."""
    found = []
    for comparison in result.comparisons:
        if comparison.synthetic != synthetic or result.is_swept(comparison.condition):
            continue
        first = comparison.against == result.settings.synthetic_with[0]  # the sweep rests on this one, too
        for product, verdict in comparison.verdicts.items():
            if product == ALL or (verdict == "hurts" and len(result.products) > 1):
                text = f"{sentence(result, comparison, product)}."
                speaks = SPEAKS[verdict]
                if speaks == "neither" and not any(result.condition(comparison.against).errors(product)):
                    speaks = "needless"
                found.append(Finding(synthetic, text, speaks, decides=first and product == ALL))
                if product == ALL:
                    found += _at_best(result, comparison, first)
                    found.append(Finding(synthetic, f"{alarm_sentence(result, comparison)}."))
    found += [
        Finding(synthetic, f"{control_sentence(result, one)}.")
        for one in result.over_control
        if one.synthetic == synthetic and not result.is_swept(one.condition)
    ]
    leak = result.leaks.get(synthetic)
    found += [Finding(synthetic, line) for line in _from_scratch(result)]
    return found + ([Finding(synthetic, leak, "condition")] if leak else [])


def _at_best(result: StudyResult, comparison: Comparison, first: bool) -> list[Finding]:
    """Whether the images help, or hurt, wherever the classifier's line is drawn."""
    text = best_line_sentence(result, comparison)
    if text is None:
        return []
    speaks = SPEAKS[comparison.at_best[ALL].verdict]
    return [Finding(comparison.synthetic, f"{text}.", speaks, any_line=first)]


def _from_scratch(result: StudyResult) -> list[str]:
    if result.weights["sha256"] is not None:
        return []
    name, origin = result.settings.classifier, result.weights["origin"]
    return [f"The study's classifier ({name}) was trained {origin}, unlike most users' and the paper's."]


def _warnings(result: StudyResult) -> list[str]:
    found = [*result.warnings, *result.notes, *_from_scratch(result)]
    known = any("generators" in one.spans for c in result.comparisons for one in c.differences.values())
    if result.comparisons and not known:
        found.append(
            "How far another training of the generator would change the result is in no interval; the sets of three "
            "models of one recipe, evaluated together, tell."
        )
    if result.over_control:
        found.append(
            "How far another draw of cut and paste, or of a set, would change the comparison of the two is in no "
            "interval; on the demonstration set two draws of cut and paste differ by a point."
        )
    for name, reasons in result.left_out.items():
        found += [
            f"{name}: {count:,} synthetic image{'s' * (count != 1)} left out, {why}" for why, count in reasons.items()
        ]
    for one in result.conditions:
        if one.synthetic is not None and one.amount is None and not one.synthetic_images:
            found.append(
                f"{one.name}: no synthetic image was used, since every category is as full as the fullest one already; "
                "--sweep 1,2,4 tries so many per real defective one"
            )
        if result.falls_short(one):
            found.append(
                f"{one.name}: only {one.synthetic_images:,} synthetic images were there, {result.per_real(one):.2g} "
                "per real defective one"
            )
    return found


def _method(result: StudyResult) -> list[tuple[str, str]]:
    chosen = result.settings
    side, seeds, ways = chosen.image_size, len(chosen.seeds), len(result.conditions)
    hashed = f", sha256 {result.weights['sha256']}" if result.weights["sha256"] else ""
    images = {use: f"{len(result.split[use]):,}" for use in ("train", "val", "test")}
    source = "held out of the real ones for this study"
    if result.test_folder:
        source = f"from {result.test_folder}" + ", held out of training" * (result.test_folder == result.folder)
    return [
        ("classifier of the study", f"{chosen.classifier} ({result.weights['origin']}{hashed})"),
        ("trainings", f"{ways * seeds}: {ways} ways, {seeds} seeds each; {chosen.steps} steps "
         f"of {chosen.batch_size} images, squeezed to {side} x {side}, antialiased"),
        ("real images of the study", f"{images['train']} to train on, {images['val']} to choose the best state by, "
         f"{images['test']} to test on ({source})"),
        ("machine of the study", f"{result.machine}; {result.seconds / 60:.0f} minutes of training"),
    ]  # fmt: skip


def error_table(result: StudyResult) -> Table:
    """Error rates in per cent, as in the paper's Table 2."""
    names = (*result.products, ALL)
    rows: list[list[Value]] = [[one.name, *(per_cent(one, name) for name in names)] for one in result.conditions]
    runs = len(result.settings.seeds)
    classifier = f"{result.settings.classifier} ({result.weights['origin']})"
    kinds = dict.fromkeys(one.augmentation for one in result.conditions)
    explained = "; ".join(f"{kind}: {KINDS[kind]}" for kind in kinds)
    swept = "; N per real: so many synthetic images per real defective one" if result.settings.sweep else ""
    note = f"{explained}; + set: with its synthetic images{swept}. {ERROR_RATE} "
    note += f"Mean ± standard deviation over {runs} seeds; {classifier}, {result.machine}."
    return Table("Error rate (%)", ["training", *names], rows, note)


def difference_table(result: StudyResult) -> Table:
    """Differences in percentage points, and the verdicts."""
    names = (*result.products, ALL)
    rows: list[list[Value]] = [
        [comparison.condition, *(points(comparison.differences[name]) for name in names), comparison.verdicts[ALL]]
        for comparison in result.comparisons
    ]
    rows += [
        [f"{one.condition}, less {one.against}", *(points(one.differences[name]) for name in names), one.verdicts[ALL]]
        for one in result.over_control
    ]
    title = "What the synthetic images change: error rate with them less without (percentage points)"
    return Table(title, ["training", *names, f"verdict on {ALL}"], rows, f"In brackets 95 % intervals. {RULE}")


def alarm_table(result: StudyResult) -> Table:
    """What the error rates are made of, over all products: false alarms, and defects named wrong; and how well the two
    kinds are told apart wherever the line is drawn."""
    rows: list[list[Value]] = [
        [one.name, *alarms(result, one), per_cent(one, ALL, best=True) if one.errors(best=True) else None]
        for one in result.conditions
    ]
    header = ["training", "normal images named a defect", "defective ones named wrong", "AUROC", "best line"]
    note = (
        "Of the test images, every product and defect weighing the same; mean ± standard deviation over the seeds. "
        "AUROC: of defective against normal images of a product, by how likely the classifier holds a defect of any "
        "kind; more is better, and it does not depend on where the line between the two is drawn. Best line: the "
        "error rate over all products where that line is moved, of each product and training, to where the fewest test "
        "images are named wrong, which flatters all rows alike."
    )
    return Table("False alarms, and defects named wrong (%)", header, rows, note)


def image_table(result: StudyResult) -> Table:
    """Training images of each category: real, and synthetic by condition; of the sweep's conditions the sums."""
    shown = [one for one in result.conditions if one.synthetic is not None and not result.is_swept(one.name)]
    categories = sorted({category for one in result.conditions for category in one.images})
    real = {name: max(one.images.get(name, (0, 0))[0] for one in result.conditions) for name in categories}
    rows: list[list[Value]] = [
        [name, real[name], *(one.images.get(name, (0, 0))[1] for one in shown)] for name in categories
    ]
    swept = "".join(f" {one.name}: {one.synthetic_images:,}." for one in result.conditions if result.is_swept(one.name))
    note = f"Tested on {len(result.split['test']):,} images, best state chosen on {len(result.split['val']):,}."
    note += f" Synthetic images of the sweep:{swept}" if swept else ""
    return Table("Training images", ["category", "real", *(f"synthetic, {one.name}" for one in shown)], rows, note)


def points(difference: Difference) -> Value:
    """A difference of error rates in percentage points, with its 95 % interval where there is one."""
    if difference.ends is None:
        return 100 * difference.mean
    low, high = difference.ends
    return Interval(100 * difference.mean, 100 * low, 100 * high)


def _rates(result: StudyResult) -> Figure:
    names = [*result.products, ALL]
    shown = [one for one in result.conditions if not result.is_swept(one.name)]
    rates = {one.name: [per_cent(one, name) for name in names] for one in shown}
    svg = partial(
        bars,
        names,
        {name: [rate.mean for rate in row] for name, row in rates.items()},
        errors={name: [rate.deviation for rate in row] for name, row in rates.items()},
        y_label="error rate (%)",
    )
    seeds = len(result.settings.seeds)
    note = f"Bars: mean over {seeds} seeds; lines: ± one standard deviation. Lower is better."
    return Figure("Error rates", svg, note)


def _sweep(result: StudyResult, synthetic: str) -> Figure | None:
    sweep = result.sweep(synthetic)
    if len(sweep) < 2:
        return None
    without = result.without(result.settings.synthetic_with[0])
    # What a set is too small for is drawn where it came to lie
    shown = list({result.per_real(one): one for one in reversed([without, *sweep])}.values())[::-1]
    # More lines than these cannot be told apart; the table has them all
    names = [ALL, *(result.products if 1 < len(result.products) <= LINES else ())]
    rates = {name: [per_cent(one, name) for one in shown] for name in names}
    svg = partial(
        line,
        [result.per_real(one) for one in shown],
        {name: [rate.mean for rate in row] for name, row in rates.items()},
        bands={ALL: [(max(rate.mean - rate.deviation, 0), rate.mean + rate.deviation) for rate in rates[ALL]]},
        x_label="synthetic images per real defective one",
        y_label="error rate (%)",
    )
    note = f"At 0: {without.name} alone, without synthetic images. Band: ± one standard deviation over the seeds."
    return Figure(
        f"Error rate by the number of synthetic images of {synthetic}", svg,
        f"{note} {_hurts_from(result, synthetic) or ''}.",
    )  # fmt: skip
