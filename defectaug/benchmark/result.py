"""What a study has found. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from defectaug.benchmark.intervals import (
    GENERATORS,
    RULE,
    Difference,
    Verdict,
    enough_images,
    mean_and_deviation,
    over_test_images,
    paired_difference,
)
from defectaug.benchmark.settings import StudySettings

CONTROL = "cut and paste"  # name of the set of the control
ALL = "all"  # the mean over the products, beside their names
ERROR_RATE = (
    "Share of a product's test images named wrong, every defect (the normal class among them) weighing the same; over "
    "all products the mean of theirs. One classifier is trained on all products."
)


@dataclass(frozen=True)
class Run:
    """One training, tested.

    Args:
        seed: its seed.
        errors: error rate of each product in [0, 1], every defect of it weighing the same, and of `all`.
        wrong: test images named wrong, and test images, of each "product/defect".
        chosen_step: of the state that was tested; None where no validation chose it.
        validation_error: of that state, every category weighing the same.
        seconds: time the training took.
        missed: the same image by image: "1" for one named wrong, else "0", in the same order in every run.
        best_errors, best_missed: error rates, and images, as above where the line between normal and defective images
            is moved, of each product that has both, to where the fewest test images are named wrong.
        auroc: of each product with normal and defective test images, and of `all`, the area under the curve of how
            likely the classifier holds a defect of any kind: it does not depend on where the line is drawn.
    """

    seed: int
    errors: Mapping[str, float]
    wrong: Mapping[str, tuple[int, int]]
    chosen_step: int | None
    validation_error: float | None
    seconds: float
    missed: Mapping[str, str]
    best_errors: Mapping[str, float]
    best_missed: Mapping[str, str]
    auroc: Mapping[str, float]


@dataclass(frozen=True)
class ConditionResult:
    """All runs of a condition.

    Args:
        name: of the condition.
        augmentation, synthetic, amount: as of `Condition`.
        images: real and synthetic training images of each "product/defect".
        runs: one a seed, in the order of the settings.
    """

    name: str
    augmentation: str
    synthetic: str | None
    amount: float | None
    images: Mapping[str, tuple[int, int]]
    runs: tuple[Run, ...]

    @property
    def synthetic_images(self) -> int:
        """Synthetic training images."""
        return sum(count for _, count in self.images.values())

    def errors(self, product: str = ALL, *, best: bool = False) -> list[float]:
        """Error rates of a product, one a seed; `best`: at the best line, empty where there is none."""
        if not best:
            return [run.errors[product] for run in self.runs]
        return [run.best_errors[product] for run in self.runs if product in run.best_errors]

    def named_wrong(self, normal: str, *, defective: bool) -> list[float]:
        """Share of the normal test images that are named a defect (false alarms), or of the defective ones that are
        named wrong, one a seed; every category weighs the same. Empty where there are none.

        Args:
            normal: name of the normal class.
            defective: whether the defective ones are meant.
        """
        kept = [one for one in self.runs[0].wrong if (one.rsplit("/", 1)[1] != normal) == defective]
        return [fmean(run.wrong[one][0] / run.wrong[one][1] for one in kept) for run in self.runs] if kept else []

    def told_apart(self) -> list[float]:
        """AUROC of defective against normal test images over all products, one a seed; empty where no product has
        both."""
        return [run.auroc[ALL] for run in self.runs if ALL in run.auroc]

    def missed(self, category: str, *, best: bool = False) -> NDArray[np.float64]:
        """How often each test image (N,) of a "product/defect" is named wrong, as a share of the seeds."""
        found = [(run.best_missed if best else run.missed)[category] for run in self.runs]
        return np.mean([[int(one) for one in row] for row in found], 0)

    def error_rate(self, product: str = ALL) -> tuple[float, float]:
        """Mean and standard deviation over the seeds."""
        return mean_and_deviation(self.errors(product))


@dataclass(frozen=True)
class Comparison:
    """A condition with synthetic images against the same without.

    Args:
        condition, against: names of the conditions; `against` is the same without synthetic images, or the control.
        synthetic: name of the set.
        differences: error rate with minus without, paired by seed, of each product and of `all`.
        at_best: the same at the best line, of products that have one.
    """

    condition: str
    against: str
    synthetic: str
    differences: Mapping[str, Difference]
    at_best: Mapping[str, Difference] = field(default_factory=dict)

    @property
    def verdicts(self) -> dict[str, Verdict]:
        return {product: difference.verdict for product, difference in self.differences.items()}


@dataclass(frozen=True)
class StudyResult:
    """What :func:`defectaug.benchmark.api.run_study` has found.

    Args:
        folder, test_folder: the real images, and the test images, None where they were held out of `folder`.
        settings, classes, products: as given, and names; the normal class is the first.
        weights: what the classifiers started with.
        conditions: the results of each.
        split: files of the real images by use.
        left_out: synthetic images that the leakage filter has left out, by set and reason.
        notes: what the numbers cannot tell; `leaks`: what may flatter the results of a set, by its name.
        machine, versions: what it ran on, and of the libraries.
        recipes: recipe and data of the model that made a set, by the set's name, where they are known; `models`: the
            sha256 of its weights.
    """

    folder: str
    test_folder: str | None
    settings: StudySettings
    classes: tuple[str, ...]
    products: tuple[str, ...]
    weights: Mapping[str, str | None]
    conditions: tuple[ConditionResult, ...]
    split: Mapping[str, Sequence[str]]
    left_out: Mapping[str, Mapping[str, int]]
    notes: tuple[str, ...]
    leaks: Mapping[str, str]
    machine: str
    versions: Mapping[str, str]
    recipes: Mapping[str, str] = field(default_factory=dict)
    models: Mapping[str, str] = field(default_factory=dict)

    @property
    def warnings(self) -> tuple[str, ...]:
        return tuple(f"{name}: {leak}" for name, leak in self.leaks.items())

    @property
    def seconds(self) -> float:
        """Computing time of all trainings, of earlier runs too."""
        return sum(run.seconds for condition in self.conditions for run in condition.runs)

    @cached_property
    def comparisons(self) -> tuple[Comparison, ...]:
        """Every condition with synthetic images against its counterpart without."""
        found = [self._compared(one) for one in self.conditions if one.synthetic is not None]
        for recipe in set(self.recipes.values()):
            sets = [name for name, made_by in self.recipes.items() if made_by == recipe]
            if len({self.models.get(name) for name in sets}) >= GENERATORS:  # sets of one model tell nothing of others
                found = [self._among_generators(one, found, sets) if one.synthetic in sets else one for one in found]
        return tuple(found)

    @cached_property
    def over_control(self) -> tuple[Comparison, ...]:
        """Every condition with synthetic images against the control's of the same augmentation and amount."""
        control = {(one.augmentation, one.amount): one for one in self.conditions if one.synthetic == CONTROL}
        return tuple(
            self._compared(one, control[one.augmentation, one.amount])
            for one in self.conditions
            if control and one.synthetic not in (None, CONTROL)
        )

    def _compared(self, condition: ConditionResult, against: ConditionResult | None = None) -> Comparison:
        against = against or self.without(condition.augmentation)
        own, best = (_differences(condition, against, best=best) for best in (False, True))
        return Comparison(condition.name, against.name, str(condition.synthetic), own, best)

    def _among_generators(self, one: Comparison, others: Sequence[Comparison], sets: Sequence[str]) -> Comparison:
        """The comparison with the intervals over those of the other sets by models of its recipe, one of each model."""
        chosen = self.condition(one.condition)
        alike = [
            other
            for other in others
            if other.synthetic in sets
            and (found := self.condition(other.condition)).augmentation == chosen.augmentation
            and found.amount == chosen.amount
        ]
        models = [self.models.get(other.synthetic) for other in alike]
        own = _over_generators(one.differences, [other.differences for other in alike], models)
        return replace(one, differences=own, at_best=_over_generators(one.at_best, [o.at_best for o in alike], models))

    def condition(self, name: str) -> ConditionResult:
        """The condition of that name.

        Raises:
            KeyError: there is none.
        """
        return {condition.name: condition for condition in self.conditions}[name]

    def without(self, augmentation: str) -> ConditionResult:
        """The condition of that augmentation without synthetic images."""
        return next(one for one in self.conditions if one.synthetic is None and one.augmentation == augmentation)

    def sweep(self, synthetic: str) -> list[ConditionResult]:
        """The conditions that differ in the number of synthetic images alone, fewest first."""
        first = self.settings.synthetic_with[0]
        found = [one for one in self.conditions if one.synthetic == synthetic and one.augmentation == first]
        return sorted((one for one in found if one.amount is not None), key=lambda one: one.amount or 0)

    def is_swept(self, name: str) -> bool:
        """Whether that condition was tried for the sweep alone."""
        condition = self.condition(name)
        return condition.synthetic is not None and condition.amount != self.settings.amount

    def per_real(self, condition: ConditionResult) -> float:
        """Synthetic training images per real defective one, as many as there were."""
        return condition.synthetic_images / max(self._real_defective(condition), 1)

    def falls_short(self, condition: ConditionResult) -> bool:
        """Whether there were fewer synthetic images than the condition asks for."""
        wanted = round((condition.amount or 0) * self._real_defective(condition))
        return condition.synthetic_images < wanted

    def _real_defective(self, condition: ConditionResult) -> int:
        normal = self.classes[0]
        return sum(real for category, (real, _) in condition.images.items() if category.split("/")[-1] != normal)

    def as_json(self) -> dict[str, Any]:
        """Every number and setting, as JSON holds them."""
        found = asdict(self)
        found["splits"] = found.pop("split")
        found["arms"] = found.pop("conditions")
        for one, row in zip(self.conditions, found["arms"], strict=True):
            rates = {name: one.error_rate(name) for name in (*self.products, ALL)}
            row["error_rates"] = {name: {"mean": mean, "std": deviation} for name, (mean, deviation) in rates.items()}
        for kind, some in (("comparisons", self.comparisons), ("over_control", self.over_control)):
            found[kind] = [asdict(one) | {"verdicts": one.verdicts} for one in some]
            for compared, row in zip(some, found[kind], strict=True):
                row["arm"] = row.pop("condition")
                for line, differences in (("differences", compared.differences), ("at_best", compared.at_best)):
                    for name, difference in differences.items():
                        low, high = difference.ends or (None, None)
                        row[line][name] |= {"low": low, "high": high, "over": difference.over}
        return found | {"seconds": self.seconds, "rule": RULE, "error_rate": ERROR_RATE}


def _differences(condition: ConditionResult, against: ConditionResult, *, best: bool) -> dict[str, Difference]:
    """Error rates of a condition less those of another, of each product and of `all`."""
    first = condition.runs[0]
    rates, categories = (first.best_errors, first.best_missed) if best else (first.errors, first.missed)
    changes: dict[str, dict[str, NDArray]] = {}
    for category in categories:
        product, defect = category.rsplit("/", 1)
        changed = condition.missed(category, best=best) - against.missed(category, best=best)
        changes.setdefault(product, {})[defect] = changed
    found = {}
    for name in rates:
        of = changes if name == ALL else {name: changes[name]}
        seeds = paired_difference(condition.errors(name, best=best), against.errors(name, best=best))
        enough = enough_images([len(change) for some in of.values() for change in some.values()])
        found[name] = replace(seeds, spans={**seeds.spans, "test images": over_test_images(of)}, enough=enough)
    return found


def _over_generators(
    differences: Mapping[str, Difference], others: Sequence[Mapping[str, Difference]], models: Sequence[str | None]
) -> dict[str, Difference]:
    """The same with the intervals over those of the sets, `others`, by `models`, one of each model."""
    spread = {}
    for name, difference in differences.items():
        of: dict[str | None, list[float]] = {}
        for model, other in zip(models, others, strict=True):
            of.setdefault(model, []).append(other[name].mean)
        spread[name] = difference.with_generators([fmean(some) for some in of.values()])
    return spread
