"""What a training's outcome says of the test images: where the classifier draws the line between normal and defective
ones, and where it would err least."""

from __future__ import annotations

from collections import Counter
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from defectaug.benchmark.result import ALL, Run
from defectaug.benchmark.runs import Outcome, Trial
from defectaug.nn.ranking import auroc

Named = dict[str, dict[str, NDArray[np.bool_]]]


def run_of(trial: Trial, outcome: Outcome) -> Run:
    """How often its test images are named wrong, and how well the kinds are told apart."""
    own, best = (named_wrong(trial, outcome, best=best) for best in (False, True))
    chosen = min(outcome.checks, key=lambda check: (check.error, check.loss), default=None)
    return Run(
        seed=trial.seed,
        errors=_rates(own),
        wrong={f"{p}/{d}": (int(row.sum()), len(row)) for p, of in own.items() for d, row in of.items()},
        chosen_step=chosen.step if chosen else None,
        validation_error=chosen.error if chosen else None,
        seconds=outcome.seconds,
        missed=_digits(own),
        best_errors=_rates(best),
        best_missed=_digits(best),
        auroc=told_apart(trial, outcome),
    )


def _rates(wrong: Named) -> dict[str, float]:
    rates = {product: fmean(float(row.mean()) for row in of.values()) for product, of in wrong.items()}
    return {**rates, ALL: fmean(rates.values())} if rates else {}


def _digits(wrong: Named) -> dict[str, str]:
    return {f"{p}/{d}": "".join(map(str, row.astype(int))) for p, of in wrong.items() for d, row in of.items()}


def named_wrong(trial: Trial, outcome: Outcome, *, best: bool) -> Named:
    """Whether each test image is named wrong, by product and defect; `best`: with the line between normal and
    defective images of a product where the fewest are, of products that have both."""
    found: Named = {}
    categories, margins, kinds = trial.real.test.categories, np.array(outcome.margins), np.array(outcome.kinds)
    classes = np.array([trial.classes.index(defect) for _, defect in categories])
    for product in dict.fromkeys(product for product, _ in categories):
        of = np.array([one == product for one, _ in categories])
        truth, likelier = classes[of], margins[of]
        normal, confused = truth == 0, kinds[of] != truth
        if best and (normal.all() or not normal.any()):
            continue
        counts = Counter(truth.tolist())
        weights = np.array([1 / (counts[one] * len(counts)) for one in truth.tolist()])
        line = best_line(likelier, normal, confused, weights) if best else 0.0
        wrong = np.where(likelier > line, normal | confused, ~normal)
        found[product] = {trial.classes[one]: wrong[truth == one] for one in dict.fromkeys(truth.tolist())}
    return found


def told_apart(trial: Trial, outcome: Outcome) -> dict[str, float]:
    """AUROC of defective against normal test images of each product that has both, by how likely a defect is, and
    their mean."""
    likely: dict[str, tuple[list[float], list[float]]] = {}
    for (product, defect), value in zip(trial.real.test.categories, outcome.defective, strict=True):
        likely.setdefault(product, ([], []))[defect == trial.classes[0]].append(value)
    found = {product: auroc(*some) for product, some in likely.items() if all(some)}
    return {**found, ALL: fmean(found.values())} if found else {}


def best_line(
    margins: NDArray[np.float64], normal: NDArray[np.bool_], confused: NDArray[np.bool_], weights: NDArray[np.float64]
) -> float:
    """The margin above which images had best be named a defect; 0, the classifier's own, where none is better.

    Args:
        margins: how much likelier a defect is than the normal class, as a logarithm, of each image (N,).
        normal: whether it is normal.
        confused: whether its likeliest defect is another than it shows.
        weights: what an image named wrong counts.

    Raises:
        ValueError: there is no image.
    """
    if not len(margins):
        raise ValueError("no images to draw a line between")
    order = np.argsort(margins, kind="stable")
    values, counts = margins[order], weights[order]
    below = np.concatenate([[0.0], np.cumsum(counts * ~normal[order])])  # of the first k, which are named normal
    above = np.concatenate([[0.0], np.cumsum((counts * (normal | confused)[order])[::-1])])[::-1]
    possible = np.append(np.insert(values[1:] > values[:-1], 0, True), True)  # no line parts equal margins
    errors = (below + above)[possible]
    low, high = np.insert(values, 0, values[0] - 2)[possible], np.append(values, values[-1] + 2)[possible]
    outer = np.insert(values, 0, -np.inf)[possible], np.append(values, np.inf)[possible]
    # In the middle of a gap, or at the classifier's own line where that lies in it
    lines = np.where((outer[0] <= 0) & (outer[1] > 0), 0.0, (low + high) / 2)
    least = np.isclose(errors, errors.min(), rtol=0, atol=1e-12)
    return float(min(lines[least], key=abs))
