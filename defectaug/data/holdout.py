"""Images that training keeps away, for tests: a share of each category, or what another folder shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from defectaug.data.index import DataIndex
from defectaug.data.near_duplicates import part_groups, thumbnail
from defectaug.data.sample import Sample
from defectaug.data.splits import split
from defectaug.errors import ConfigError, DataError
from defectaug.io.files import expanded, real
from defectaug.io.images import pixel_hash, read_image
from defectaug.io.progress import Stages, silent

SEED = 0  # of the draw: models of different seeds keep the same images away, and can be compared
Read = Callable[[Path], DataIndex]


@dataclass(frozen=True)
class Holdout:
    """What a training has not seen.

    Args:
        files: images of the data folder, relative to it.
        folder: another folder of test images; None where the files were drawn.
    """

    files: tuple[str, ...] = ()
    folder: Path | None = None

    def keep_away(self, index: DataIndex) -> DataIndex:
        """The index without the images held out."""
        held = frozenset(self.files)
        return index.where(lambda sample: relative(sample.path, index.root) not in held)

    def only(self, index: DataIndex) -> DataIndex:
        """The images of the index that are held out."""
        held = frozenset(self.files)
        return index.where(lambda sample: relative(sample.path, index.root) in held)


def hold_out(index: DataIndex, asked: str, read: Read, stages: Stages = silent) -> Holdout:
    """Chooses the images to keep away. Near-duplicates of one of them are kept away with it.

    Args:
        index: the data folder; every file of it can be read.
        asked: a share, such as "0.2", of the images of each category; or a folder of test images, whose copies and
            near-duplicates in the data folder are kept away.
        read: lists a folder of test images.
        stages: gives for a stage's name what shows its progress.

    Raises:
        ConfigError: neither a share nor a folder.
        DataError: nothing is held out, or nothing is left to train on.
    """
    asked_for = check_asked(asked, index.root)
    if isinstance(asked_for, Path):
        held = _near_folder(index, asked_for, read, stages)
    else:
        held = _drawn(index, asked, asked_for, stages)
    if not held.keep_away(index).samples:
        raise DataError(f"--holdout {asked}: leaves no image of {index.root} to train on; hold out fewer")
    return held


def check_asked(asked: str, root: Path) -> float | Path:
    """The share, or the folder; can be told before anything is read.

    Raises:
        ConfigError: neither of them, or the folder to train on itself.
    """
    try:
        share = float(asked.removesuffix("%")) / (100 if asked.endswith("%") else 1)
    except ValueError:
        folder = expanded(asked)
        if not folder.is_dir():
            raise ConfigError(f"--holdout {folder}: neither a share, such as 0.2, nor a folder") from None
        if real(folder) == real(root):
            raise ConfigError(f"--holdout {folder}: is the folder to train on; name another one, or a share") from None
        return folder
    if not 0 < share < 1:
        raise ConfigError(f"--holdout {asked}: must lie between 0 and 1, such as 0.2, or be a folder")
    return share


def _drawn(index: DataIndex, asked: str, share: float, stages: Stages) -> Holdout:
    groups = joint_groups(index, stages)
    drawn = split(index, {"train": 1 - share, "test": share}, SEED, groups=groups).samples
    held = {group for sample, group in zip(drawn, groups, strict=True) if sample.split == "test"}
    if not held:
        raise DataError(
            f"--holdout {asked}: holds no image out; every category of {index.root} is of one image, or of "
            "near-duplicates; give a folder of test images"
        )
    return Holdout(_files_of(index, groups, held))


def _near_folder(index: DataIndex, folder: Path, read: Read, stages: Stages) -> Holdout:
    tests = [replace(one, split="test") for one in read(folder).samples if one.split in (None, "test")]
    if not tests:
        raise DataError(f"--holdout {folder}: no test image in it")
    groups, inside = joint_groups(index, stages, tests), real(folder)
    held = set(groups[len(index.samples) :])
    held |= {g for one, g in zip(index.samples, groups, strict=False) if real(one.path).is_relative_to(inside)}
    return Holdout(_files_of(index, groups, held), folder)


def _files_of(index: DataIndex, groups: Sequence[int], held: set[int]) -> tuple[str, ...]:
    pairs = zip(index.samples, groups, strict=False)
    return tuple(relative(sample.path, index.root) for sample, group in pairs if group in held)


def joint_groups(index: DataIndex, stages: Stages, others: Sequence[Sample] = ()) -> list[int]:
    """Near-duplicate group of each image of an index and of further ones; equal pixels make one, whatever the label."""
    everything = (*index.samples, *others)
    show, images = stages("looking for near-duplicates"), []
    for done, sample in enumerate(everything, 1):
        image = read_image(sample.path)
        images.append((thumbnail(image), pixel_hash(image)))
        show(done, len(everything))
    thumbnails, hashes = zip(*images, strict=True)
    return part_groups(index, others, thumbnails, hashes, stages("comparing images"))


def relative(path: Path, root: Path) -> str:
    """A path below a data folder as split files and model folders name it."""
    return path.relative_to(root).as_posix()
