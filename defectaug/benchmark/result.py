"""What a study has found. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from defectaug.benchmark.intervals import RULE, Difference, Verdict, spread
from defectaug.benchmark.settings import StudySettings
from defectaug.reporting.sections import Spread, interval_digits, plain, show

ALL = "all"  # the mean over the products, beside their names


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
    """

    seed: int
    errors: Mapping[str, float]
    wrong: Mapping[str, tuple[int, int]]
    chosen_step: int | None
    validation_error: float | None
    seconds: float


@dataclass(frozen=True)
class ArmResult:
    """All runs of an arm.

    Args:
        name: of the arm.
        augmentation, synthetic, amount: as of `Arm`.
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
    def made(self) -> int:
        """Synthetic training images."""
        return sum(count for _, count in self.images.values())

    def errors(self, product: str = ALL) -> list[float]:
        """Error rates of a product, one a seed."""
        return [run.errors[product] for run in self.runs]


@dataclass(frozen=True)
class Comparison:
    """An arm with synthetic images against the same without.

    Args:
        arm, against: names of the arms.
        synthetic: name of the set.
        differences: error rate with minus without, of each product and of `all`.
        verdicts: the same in words.
    """

    arm: str
    against: str
    synthetic: str
    differences: Mapping[str, Difference]
    verdicts: Mapping[str, Verdict]


@dataclass(frozen=True)
class StudyResult:
    """What :func:`defectaug.benchmark.api.run_study` has found.

    Args:
        folder: the real images; `test_folder` the test images, None where they were held out of `folder`.
        settings: as given.
        classes, products: names.
        weights: what the classifiers started with.
        arms, comparisons: the results.
        split: files of the real images by use.
        left_out: synthetic images that were not admitted, by set and reason.
        notes: what the numbers cannot tell.
        warnings: leaks.
        machine: what it ran on; `versions` of the libraries.
        seconds: computing time of all trainings, of earlier runs too.
    """

    folder: str
    test_folder: str | None
    settings: StudySettings
    classes: tuple[str, ...]
    products: tuple[str, ...]
    weights: Mapping[str, str | None]
    arms: tuple[ArmResult, ...]
    comparisons: tuple[Comparison, ...]
    split: Mapping[str, Sequence[str]]
    left_out: Mapping[str, Mapping[str, int]]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]
    machine: str
    versions: Mapping[str, str]
    seconds: float

    def arm(self, name: str) -> ArmResult:
        """The arm of that name.

        Raises:
            KeyError: there is none.
        """
        return {arm.name: arm for arm in self.arms}[name]

    def as_json(self) -> dict[str, Any]:
        """Every number and setting, as JSON holds them; `splits` is what `read_split` reads."""
        found = plain(self)
        found["splits"] = found.pop("split")
        for arm, row in zip(self.arms, found["arms"], strict=True):
            rates = {product: spread(arm.errors(product)) for product in (*self.products, ALL)}
            row["error_rates"] = {name: {"mean": mean, "std": std} for name, (mean, std) in rates.items()}
        return found | {"rule": RULE, "error_rate": ERROR_RATE}

    def sentences(self, *, swept: bool = True) -> list[str]:
        """The verdicts in plain words, that on all products first; `swept`: of the sweep's arms, too."""
        lines = [
            self.sentence(comparison, product)
            for comparison in self.comparisons
            if swept or not self.is_swept(comparison.arm)
            for product in (ALL, *(self.products if len(self.products) > 1 else ()))
        ]
        return lines + [line for name in self.left_out if (line := self.hurts_from(name))]

    def sentence(self, comparison: Comparison, product: str) -> str:
        """The verdict on one product, or `ALL`, in plain words."""
        where = "over all products" if product == ALL else f"on {product}"
        arms = self.arm(comparison.against), self.arm(comparison.arm)
        before, after = (show(per_cent(arm, product)) for arm in arms)
        return (
            f"{comparison.arm}: {comparison.verdicts[product]} {where}, error rate {before} % without, {after} % with, "
            f"{_interval(comparison.differences[product])}"
        )

    def is_swept(self, name: str) -> bool:
        """Whether that arm was tried for the sweep alone."""
        return self.arm(name).synthetic is not None and self.arm(name).amount != self.settings.amount

    def hurts_from(self, synthetic: str) -> str | None:
        """Where, in a sweep over the number of synthetic images, they start to hurt; None without a sweep."""
        sweep = self.sweep(synthetic)
        if len(sweep) < 2:
            return None
        verdict_of = {comparison.arm: comparison.verdicts[ALL] for comparison in self.comparisons}
        hurting = [arm for arm in sweep if verdict_of[arm.name] == "hurts"]
        at = self.per_real((hurting or sweep[-1:])[0])
        how = "starts to hurt at" if hurting else "not shown to hurt up to"
        return f"{synthetic}: {how} {at:.3g} synthetic images per real defective one"

    def per_real(self, arm: ArmResult) -> float:
        """Synthetic training images per real defective one, as many as there were."""
        real = sum(count for category, (count, _) in arm.images.items() if category.split("/")[-1] != self.classes[0])
        return arm.made / max(real, 1)

    def falls_short(self, arm: ArmResult) -> bool:
        """Whether there were fewer synthetic images than the arm asks for."""
        real = sum(count for category, (count, _) in arm.images.items() if category.split("/")[-1] != self.classes[0])
        return arm.amount is not None and arm.made < round(arm.amount * real)

    def sweep(self, synthetic: str) -> list[ArmResult]:
        """The arms that differ in the number of synthetic images alone, fewest first."""
        first = self.settings.synthetic_with[0]
        found = [arm for arm in self.arms if arm.synthetic == synthetic and arm.augmentation == first]
        return sorted((arm for arm in found if arm.amount is not None), key=lambda arm: arm.amount or 0)


ERROR_RATE = (
    "Share of a product's test images named wrong, every defect (the normal class among them) weighing the same; over "
    "all products the mean of theirs. One classifier is trained on all products."
)


def per_cent(arm: ArmResult, product: str) -> Spread:
    """Error rate of an arm in per cent over its seeds."""
    mean, deviation = spread(arm.errors(product))
    return Spread(100 * mean, 100 * deviation)


def _interval(difference: Difference) -> str:
    if difference.ends is None:
        why = "one seed" if difference.runs == 1 else f"the same with all {difference.runs} seeds"
        return f"difference {100 * difference.mean:.2f} percentage points ({why}: no interval)"
    mean, low, high = interval_digits(*(100 * value for value in (difference.mean, *difference.ends)))
    return f"difference {mean} percentage points, 95 % interval {low} to {high}, over {difference.runs} seeds"
