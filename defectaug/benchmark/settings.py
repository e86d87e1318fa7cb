"""Settings of the downstream study."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from defectaug.errors import ConfigError
from defectaug.metrics.augmentation import AUGMENTATIONS, Augmentation
from defectaug.nn.backbones import LITE


@dataclass(frozen=True, kw_only=True)
class StudySettings:
    """What is trained, on what, how often. The defaults are the slim study, for two CPU cores; `full` is the paper's.

    Args:
        classifier: `efficientnet-lite1` (frozen, with a linear layer), or any of torchvision's or timm's classifiers,
            such as `resnet50`, trained as a whole.
        weights: where it starts: `auto` (ImageNet, from scratch where they cannot be had), `imagenet` (an error where
            they cannot be had), `none` (from scratch), or a file or folder of weights.
        image_size: side of the square that whole images are squeezed to, pixels.
        steps, batch_size: length of a training, the same for every condition, in steps of so many images.
        rate: learning rate; None for the classifier's usual one. `weight_decay` is AdamW's.
        checks: how often a training is evaluated on the validation images; the best of these states is tested.
        augmentations: the methods compared. CutMix, CutOut and MixUp come on top of the traditional ones.
        synthetic_with: those of them that are also tried with each synthetic set.
        flips: directions in which mirroring makes no other part.
        amount: synthetic images per real defective training image; None: as many as bring every category up to the
            fullest one.
        sweep: further amounts, tried with the first of `synthetic_with`.
        real_share: least share of real images among those drawn from a category that holds both; 0 draws all images
            of a category alike.
        reversal: weight of the real-or-synthetic head behind a gradient reversal layer; 0 leaves it out, and so does a
            frozen backbone.
        seeds: one training each, of every condition.
        validation, test: shares of the real images held out; `test` is not used where a test folder is given.
        split_seed: fixes the split, which is the same for all seeds.
        control_draws: how often cut and paste is drawn anew, each a set by itself.
        device, precision: as of `train`.

    Raises:
        ConfigError: a value that cannot be used.
    """

    classifier: str = LITE
    weights: str = "auto"
    image_size: int = 128
    steps: int = 600
    batch_size: int = 48
    rate: float | None = None
    weight_decay: float = 0.01
    checks: int = 10
    augmentations: tuple[Augmentation, ...] = ("none", "traditional")
    synthetic_with: tuple[Augmentation, ...] = ("traditional",)
    flips: Literal["none", "h", "v", "hv"] = "h"
    amount: float | None = None
    sweep: tuple[float, ...] = ()
    real_share: float = 0.5
    reversal: float = 0.1
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    validation: float = 0.15
    test: float = 0.3
    split_seed: int = 0
    control_draws: int = 1
    device: str = "auto"
    precision: str = "auto"

    def __post_init__(self) -> None:
        for name in ("image_size", "steps", "batch_size", "checks", "control_draws"):
            _require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        _require(self.batch_size >= 2, "batch_size", self.batch_size, "2 or more")
        _require(self.image_size >= 32, "image_size", self.image_size, "32 or more")
        _require(len(self.seeds) > 0, "seeds", self.seeds, "at least one number")
        _require(len(set(self.seeds)) == len(self.seeds), "seeds", self.seeds, "numbers that differ")
        _require(min(self.seeds) >= 0 and self.split_seed >= 0, "seeds", self.seeds, "0 or more")
        for name in ("augmentations", "synthetic_with"):
            chosen = getattr(self, name)
            known = ", ".join(AUGMENTATIONS)
            _require(bool(chosen) and set(chosen) <= set(AUGMENTATIONS), name, chosen, f"some of {known}")
        _require(self.flips in ("none", "h", "v", "hv"), "flips", self.flips, "none, h, v or hv")
        amounts = (*self.sweep, *(() if self.amount is None else (self.amount,)))
        _require(all(0 < amount < math.inf for amount in amounts), "amount and sweep", amounts, "numbers above 0")
        _require(0 <= self.real_share < 1, "real_share", self.real_share, "at least 0 and below 1")
        _require(self.reversal >= 0, "reversal", self.reversal, "0 or more")
        _require(self.rate is None or self.rate > 0, "rate", self.rate, "above 0")
        for name in ("validation", "test"):
            _require(0 < getattr(self, name) < 1, name, getattr(self, name), "between 0 and 1")
        holdout = self.validation + self.test
        _require(holdout < 1, "validation and test", holdout, "below 1 together")

    @classmethod
    def slim(cls) -> StudySettings:
        """Ends within half an hour on two CPU cores: five seeds, no / traditional augmentation, synthetic data."""
        return cls()

    @classmethod
    def full(cls) -> StudySettings:
        """The study of the paper's Table 2, for a GPU."""
        # CHOICE: the paper names ResNet-50, ImageNet weights and five runs; length, batch and rate are ours.
        return cls(
            classifier="resnet50",
            steps=3000,
            batch_size=64,
            augmentations=("none", "traditional", "cutmix", "cutout", "mixup"),
            synthetic_with=("traditional", "cutmix", "cutout", "mixup"),
        )


def _require(fits: bool, name: str, value: object, what: str) -> None:
    if not fits:
        raise ConfigError(f"study setting '{name}' is {value}; it must be {what}")
