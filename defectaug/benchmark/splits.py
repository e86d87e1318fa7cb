"""Which real images are trained on, which choose the model and which test it; near-duplicates are never parted."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from defectaug.benchmark.settings import StudySettings
from defectaug.data.index import DataIndex
from defectaug.data.near_duplicates import part_groups, thumbnail
from defectaug.data.sample import Category, Sample
from defectaug.data.splits import split
from defectaug.errors import DataError
from defectaug.metrics.images import Decoded, ImageStore

RANK = {"train": 0, "val": 1, "test": 2, "out": -1}
FEW = 10  # test images of a category below which its error rate moves in steps of more than 10 %


@dataclass(frozen=True)
class Partition:
    """The real images by use.

    Args:
        train, validation, test: the images.
        excluded: real images that are used for nothing, being near-duplicates of held-out ones.
        own_test: whether the test images come from the real folder itself.
        dropped: how many of `excluded` were to be trained on or to choose by.
    """

    train: Decoded
    validation: Decoded
    test: Decoded
    excluded: Decoded
    own_test: bool
    dropped: int

    def files(self, root: Path) -> dict[str, list[str]]:
        """Files of each split, those of the data folder relative to it."""
        parts = {"train": self.train, "val": self.validation, "test": self.test}
        return {name: sorted(_shown(one.path, root) for one in part.records) for name, part in parts.items()}

    def notes(self, index: DataIndex) -> Iterator[str]:
        """What the user should know of it."""
        if self.dropped:
            yield f"{self.dropped} real images are near-duplicates of held-out ones and are not trained on"
        trained, tested = Counter(self.train.categories), Counter(self.test.categories)
        if lacking := [str(category) for category in sorted(tested) if not trained[category]]:
            yield f"no training image of {', '.join(lacking)}, which is tested all the same"
        counted = index.counts().items()
        if untested := ["/".join(name) for name, count in counted if count and not tested[Category(*name)]]:
            yield f"no test image of {', '.join(untested)}: its error rate is not in the numbers"
        if few := [f"{category} ({count})" for category, count in sorted(tested.items()) if count < FEW]:
            yield (
                f"fewer than {FEW} test images of {', '.join(few)}: the interval over seeds does not tell how far "
                "other test images would change the result"
            )
        if not len(self.validation):
            yield "too few images for validation: the last state of each training is tested, not the best"


def partition(
    index: DataIndex, real: Decoded, test: Decoded | None, settings: StudySettings, store: ImageStore
) -> Partition:
    """Splits the real images, unless the data set has done so.

    With a test folder, real images that are near-duplicates of a test image are left out, and so are the images that
    the data set itself keeps for its tests.

    Args:
        index: the data folder.
        real: its images.
        test: those of the test folder.
        settings: shares of the images held out, of each category, and the seed of the draw.
        store: decodes the images.

    Raises:
        DataError: nothing to train on or to test with is left.
    """
    known = {sample.path: sample for sample in index.samples}
    samples = [known.get(r.path, Sample(r.path, r.product, r.defect, split="out")) for r in real.records]
    tests = [Sample(r.path, r.product, r.defect, split="test") for r in test.records] if test else []
    thumbnails = [thumbnail(store.read(sample.path)) for sample in (*samples, *tests)]
    digests = [*real.digests, *(test.digests if test else ())]
    groups = part_groups(replace(index, samples=tuple(samples)), tests, thumbnails, digests)
    shares = {"train": 1 - settings.validation, "val": settings.validation}
    if test:
        samples = [replace(sample, split="out") if sample.split == "test" else sample for sample in samples]
    else:
        shares |= {"train": shares["train"] - settings.test, "test": settings.test}
    names = _drawn(replace(index, samples=tuple(samples)), groups, shares, settings.split_seed)
    # A group goes as a whole to the use with the highest rank that one of its images has
    highest: dict[int, int] = defaultdict(lambda: -1)
    for name, group in zip([*names, *("test" for _ in tests)], groups, strict=True):
        highest[group] = max(highest[group], RANK[name])
    kept = [name if RANK[name] == highest[group] else "out" for name, group in zip(names, groups, strict=False)]
    part = {name: real.where(one == name for one in kept) for name in RANK}
    dropped = sum(before != "out" == after for before, after in zip(names, kept, strict=True))
    _check(part["train"], test or part["test"], index, dropped)
    return Partition(part["train"], part["val"], test or part["test"], part["out"], test is None, dropped)


def _drawn(index: DataIndex, groups: Sequence[int], shares: Mapping[str, float], seed: int) -> list[str]:
    """The split of every image: the data set's own where it has one, else drawn."""
    names = [sample.split or "" for sample in index.samples]

    def draw(name: str, shares: Mapping[str, float]) -> None:
        """Gives every image whose split is `name` a drawn one."""
        numbers = [number for number, one in enumerate(names) if one == name]
        open_ = replace(index, samples=tuple(index.samples[number] for number in numbers))
        found = split(open_, shares, seed, groups=[groups[number] for number in numbers])
        for number, sample in zip(numbers, found.samples, strict=True):
            names[number] = str(sample.split)

    draw("", shares)
    if "val" not in names:
        draw("train", {name: shares[name] for name in ("train", "val")})
    return names


def _check(train: Decoded, test: Decoded, index: DataIndex, dropped: int) -> None:
    if len({record.defect for record in train.records}) < 2:
        why = f"; {dropped} images that show what a test image shows are left out" if dropped else ""
        raise DataError(f"{index.root}: images of at least two classes are needed to train a classifier on{why}")
    if not len(test):
        raise DataError(f"{index.root}: too few images to hold any out for a test; give a test folder")


def _shown(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
