"""Which synthetic images may be trained on: none that shows, or was made from, a held-out real image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from defectaug.benchmark.splits import Partition
from defectaug.bundle import read_config
from defectaug.data.index import DataIndex, index_folder
from defectaug.data.layouts import Hints
from defectaug.errors import ConfigError, DataError
from defectaug.metrics.folders import ImageRecord, read_synthetic, records_of
from defectaug.metrics.images import Decoded, Form, Log, decode


@dataclass(frozen=True)
class SyntheticSet:
    """Synthetic images that may be trained on.

    Args:
        name: of the set.
        images: the images.
        left_out: how many were left out, by reason.
        warnings: what the results cannot tell, or would flatter.
    """

    name: str
    images: Decoded
    left_out: dict[str, int]
    warnings: tuple[str, ...]

    def lines(self) -> list[str]:
        """What the user is told of it."""
        return [f"{self.name}: {n} images left out, {why}" for why, n in self.left_out.items()] + [*self.warnings]


def filter_leaks(
    name: str,
    roots: Sequence[Path],
    real: Partition,
    index: DataIndex,
    form: Form,
    log: Log,
    models: Sequence[Path] = (),
) -> SyntheticSet:
    """Reads synthetic folders as one set and leaves out what would leak held-out images.

    Args:
        name: of the set.
        roots: its folders; real images that their manifests list are not taken.
        real: the real images by use.
        index: the real folder.
        form, log: as of `decode`.
        models: the bundles that made the images, where they are known.

    Raises:
        DataError: an unreadable folder, or no image that may be trained on.
    """
    records = [_renamed(record, index) for root in roots for record in read_synthetic(root, log) if record.synthetic]
    known = {category for part in (real.train, real.test, real.validation) for category in part.categories}
    fitting = [record for record in records if record.category in known]
    images = decode(fitting, form, log)
    holdout = _Holdout(real, form)
    copies = [digest in holdout.digests for digest in images.digests]
    leaks = [not copy and holdout.made(record) for copy, record in zip(copies, images.records, strict=True)]
    images = images.where(not (copy or leak) for copy, leak in zip(copies, leaks, strict=True))
    reasons = {
        "of a product and defect that the real images lack": len(records) - len(fitting),
        "pixel for pixel a held-out real image": sum(copies),
        "made from a held-out real image": sum(leaks),
    }
    left_out = {reason: count for reason, count in reasons.items() if count}
    if not len(images):
        why = "; ".join(f"{count} {reason}" for reason, count in left_out.items()) or "it holds no synthetic image"
        raise DataError(f"{roots[0]}: no image that may be trained on ({why})")
    return SyntheticSet(name, images, left_out, tuple(_origin_warnings(name, images, real, index, form, models)))


class _Holdout:
    """The real images that training must not see, by path, by content, and by the last parts of their paths."""

    def __init__(self, real: Partition, form: Form) -> None:
        parts = (real.validation, real.test, real.excluded)
        paths = [record.path for part in parts for record in part.records]
        self.digests = {digest for part in parts for digest in part.digests}
        self._form = form
        self._endings = {path.parts[-3:] for path in paths}
        self._known = {record.path.resolve(): False for record in real.train.records}
        self._known |= {path.resolve(): True for path in paths}

    def made(self, record: ImageRecord) -> bool:
        """Whether the image was made from one of them, by the paths in its manifest, or by what lies there."""
        return any(self._holds(path.resolve()) for path in (record.source, record.reference) if path)

    def _holds(self, place: Path) -> bool:
        if place not in self._known:
            self._known[place] = self._equals(place)
        return self._known[place]

    def _equals(self, place: Path) -> bool:
        if not place.is_file():  # moved since: its name is all there is
            return place.parts[-3:] in self._endings
        try:
            image = decode([ImageRecord(place, "", "", False)], self._form, lambda line: None)
        except DataError:
            return False
        return image.digests[0] in self.digests


def _renamed(record: ImageRecord, index: DataIndex) -> ImageRecord:
    """The record with the real folder's name of the normal class."""
    normal = record.defect not in index.defects and Hints().is_normal(record.defect)
    return replace(record, defect=index.normal) if normal else record


def _origin_warnings(
    name: str, images: Decoded, real: Partition, index: DataIndex, form: Form, models: Sequence[Path]
) -> list[str]:
    """Whether what made the images may have been trained on the test images."""
    if models:
        return [line for model in models if (line := _trained_on_test(name, model, real, form))]
    if not real.own_test:
        return []
    if all(record.source is None for record in images.records):
        return [
            f"{name}: what these images were made from is not known; if it has seen the test images, which were held "
            f"out of {index.root} here, the result flatters it; a test folder that it has not seen would settle it"
        ]
    return [
        f"{name}: the model that made these images may have been trained on the test images, which were held out of "
        f"{index.root} only here; if so the result flatters it; hold them out before training and give a test folder"
    ]


def _trained_on_test(name: str, model: Path, real: Partition, form: Form) -> str | None:
    """Looks for the test images, by content, among those that the bundle says it was trained on."""
    trained = read_config(model)[1]
    root = model / trained.root if trained.root else None  # a relative root starts at the bundle's folder
    if root is None or not root.is_dir():
        return f"{name}: the data {model} was trained on are not here, so whether it has seen test images is not known"
    class_map = model / trained.class_map if trained.class_map else None
    class_map = class_map if class_map is not None and class_map.is_file() else None
    try:
        seen = index_folder(root, class_map=class_map, normal=trained.normal).training()
        known = set(decode(records_of(seen), form, lambda line: None).digests)
    except (DataError, ConfigError) as error:
        return f"{name}: whether {model} was trained on test images is not known ({error})"
    count = sum(digest in known for digest in real.test.digests)
    if not count:
        return None
    whole = sum(trained.counts.values()) >= len(seen)
    return (
        f"LEAK: {name} was made by {model}, which {'was' if whole else 'may have been'} trained on {count} of the "
        f"{len(real.test)} test images ({root}): the result flatters it; train on other images, or give a test "
        "folder that it has not seen"
    )
