"""Which real images are trained on, which choose the model and which test it; near-duplicates are never parted."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from defectaug.data.index import DataIndex
from defectaug.data.near_duplicates import near_duplicate_groups, thumbnail
from defectaug.data.sample import Sample
from defectaug.data.splits import read_split, split
from defectaug.errors import DataError
from defectaug.metrics.images import Decoded, ImageStore

RANK = {"train": 0, "val": 1, "test": 2, "out": -1}
FEW = 10  # test images of a category below which its error rate moves in steps of more than 10 %


@dataclass(frozen=True)
class Division:
    """The real images by use.

    Args:
        train, validation, test: the images.
        out: real images that are used for nothing, being near-duplicates of held-out ones.
        own_test: whether the test images come from the real folder itself.
        notes: what the user should know.
    """

    train: Decoded
    validation: Decoded
    test: Decoded
    out: Decoded
    own_test: bool
    notes: tuple[str, ...]

    def files(self, root: Path) -> dict[str, list[str]]:
        """Files of each split, those of the data folder relative to it; what `read_split` reads."""
        parts = {"train": self.train, "val": self.validation, "test": self.test}
        return {name: sorted(_shown(p.path, root) for p in part.records) for name, part in parts.items()}


def divide(
    index: DataIndex,
    real: Decoded,
    test: Decoded | None,
    *,
    validation: float,
    test_share: float,
    seed: int,
    file: Path | None = None,
    store: ImageStore | None = None,
) -> Division:
    """Splits the real images, unless the data set, or a split file, has done so.

    With a test folder, real images that are near-duplicates of a test image are left out, and so are the images that
    the data set itself keeps for its tests.

    Args:
        index: the data folder.
        real: its images.
        test: those of the test folder.
        validation, test_share: shares of the images held out, of each category.
        seed: fixes the draw.
        file: a split file, as `Division.files` gives.
        store: decodes the images.

    Raises:
        DataError: nothing to train on or to test with is left, or an unusable split file.
    """
    known = {sample.path: sample for sample in (read_split(index, file) if file else index).samples}
    samples = [known.get(p.path, Sample(p.path, p.product, p.defect, split="out")) for p in real.records]
    others = [Sample(p.path, p.product, p.defect, split="test") for p in test.records] if test else []
    everything = (*samples, *others)
    joint = replace(
        index,
        samples=everything,
        products=tuple(sorted({sample.product for sample in everything})),
        defects=tuple(sorted({sample.defect for sample in everything})),
    )
    store = store or ImageStore(0)
    thumbnails = [thumbnail(store.read(sample.path)) for sample in everything]
    groups = _joined(near_duplicate_groups(joint, thumbnails), [*real.digests, *(test.digests if test else ())])
    if test:
        samples = [replace(sample, split="out") if sample.split == "test" else sample for sample in samples]
    shares = {"train": 1 - validation - (0 if test else test_share), "val": validation}
    shares |= {} if test else {"test": test_share}
    names = _deal(joint, samples, groups, shares, seed)
    highest = _highest([*names, *("test" for _ in others)], groups)
    kept = [name if RANK[name] == highest[group] else "out" for name, group in zip(names, groups, strict=False)]
    part = {name: real.where(one == name for one in kept) for name in RANK}
    division = Division(part["train"], part["val"], test or part["test"], part["out"], test is None, ())
    dropped = sum(before != "out" == after for before, after in zip(names, kept, strict=True))
    _check(division, index, dropped)
    return replace(division, notes=tuple(_notes(division, index, dropped)))


def _deal(
    joint: DataIndex, samples: Sequence[Sample], groups: Sequence[int], shares: Mapping[str, float], seed: int
) -> list[str]:
    """The split of every real image: the data set's own where it has one, else drawn."""
    names = [sample.split or "" for sample in samples]
    _draw(names, "", joint, samples, groups, shares, seed)
    if "val" not in names:
        _draw(names, "train", joint, samples, groups, {name: shares[name] for name in ("train", "val")}, seed)
    return names


def _draw(
    names: list[str],
    name: str,
    joint: DataIndex,
    samples: Sequence[Sample],
    groups: Sequence[int],
    shares: Mapping[str, float],
    seed: int,
) -> None:
    """Gives every image whose split is `name` a drawn one."""
    open_ = [number for number, one in enumerate(names) if one == name]
    drawn = replace(joint, samples=tuple(samples[number] for number in open_))
    for number, sample in zip(
        open_, split(drawn, shares, seed, groups=[groups[number] for number in open_]).samples, strict=True
    ):
        names[number] = str(sample.split)


def _joined(groups: Sequence[int], digests: Sequence[str]) -> list[int]:
    """Groups made one where they share an image pixel for pixel, under whatever label."""
    parent = list(range(max(groups, default=-1) + 1))

    def root(group: int) -> int:
        while parent[group] != group:
            group = parent[group]
        return group

    first: dict[str, int] = {}
    for group, digest in zip(groups, digests, strict=True):
        parent[root(group)] = root(first.setdefault(digest, group))
    return [root(group) for group in groups]


def _highest(names: Sequence[str], groups: Sequence[int]) -> dict[int, int]:
    found: dict[int, int] = defaultdict(lambda: -1)
    for name, group in zip(names, groups, strict=True):
        found[group] = max(found[group], RANK[name])
    return found


def _check(division: Division, index: DataIndex, dropped: int) -> None:
    defects = {record.defect for record in division.train.records}
    if len(defects) < 2:
        why = f"; {dropped} images that show what a test image shows are left out" if dropped else ""
        raise DataError(f"{index.root}: images of at least two classes are needed to train a classifier on{why}")
    if not len(division.test):
        raise DataError(f"{index.root}: too few images to hold any out for a test; give a test folder")


def _notes(division: Division, index: DataIndex, dropped: int) -> list[str]:
    notes = []
    if dropped:
        notes.append(f"{dropped} real images are near-duplicates of held-out ones and are not trained on")
    trained, tested = Counter(division.train.categories), Counter(division.test.categories)
    lacking = [_name(category) for category in sorted(tested) if not trained[category]]
    if lacking:
        notes.append(f"no training image of {', '.join(lacking)}, which is tested all the same")
    untested = [_name(category) for category, count in index.counts().items() if count and not tested[category]]
    if untested:
        notes.append(f"no test image of {', '.join(untested)}: its error rate is not in the numbers")
    few = [f"{_name(category)} ({count})" for category, count in sorted(tested.items()) if count < FEW]
    if few:
        notes.append(
            f"fewer than {FEW} test images of {', '.join(few)}: the interval over seeds does not tell how far other "
            "test images would change the result"
        )
    if not len(division.validation):
        notes.append("too few images for validation: the last state of each training is tested, not the best")
    return notes


def _name(category: tuple[str, str]) -> str:
    return "/".join(category)


def _shown(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
