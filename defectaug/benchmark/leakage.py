"""Which synthetic images may be trained on, and whether what made them has seen the test images.

An image that shows, or was made from, a held-out real image is left out. What the model has seen cannot be left out: it
makes every result conditional.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from defectaug.benchmark.splits import Partition
from defectaug.bundle import bundle_of, held_out, read_config
from defectaug.data.index import DataIndex, index_folder
from defectaug.data.layouts import Hints
from defectaug.errors import BundleError, ConfigError, DataError
from defectaug.io.progress import Log, unheard
from defectaug.metrics.folders import ImageRecord, read_synthetic, records_of, under_product
from defectaug.metrics.images import Decoded, Form, decode


@dataclass(frozen=True)
class SyntheticSet:
    """Synthetic images that may be trained on.

    Args:
        name: of the set.
        images: the images.
        left_out: how many were left out, by reason.
        leak: what may flatter every result, and how to avoid it; None where nothing speaks for that.
        recipe: that of the model that made them, and its data; None where that is not known.
        model: sha256 of its weights; None where that is not known, or where there are several.
    """

    name: str
    images: Decoded
    left_out: dict[str, int]
    leak: str | None
    recipe: str | None = None
    model: str | None = None

    def lines(self) -> list[str]:
        """What the user is told of it."""
        left = [f"{self.name}: {n:,} image{'s' * (n != 1)} left out, {why}" for why, n in self.left_out.items()]
        return [*left, *([f"{self.name}: {self.leak}"] if self.leak else [])]


def bundles_of(records: Iterable[ImageRecord], named: Sequence[Path] = ()) -> tuple[Path, ...]:
    """The bundles that made images: those named, and those that a manifest tells of and that are at hand."""
    made = {(record.model, record.bundle) for record in records if record.model}
    found = {bundle_of(sha, [bundle] if bundle else []) for sha, bundle in sorted(made, key=str)}
    return tuple(dict.fromkeys([*named, *sorted(path for path in found if path)]))


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
        models: bundles that made the images, beside those that the manifest names.

    Raises:
        DataError: an unreadable folder, or no image that may be trained on.
    """
    read = (under_product(read_synthetic(root, log), root, index.products, log) for root in roots)
    records = [_renamed(record, index) for some in read for record in some if record.synthetic]
    known = {category for part in (real.train, real.test, real.validation) for category in part.categories}
    fitting = [record for record in records if record.category in known]
    images = decode(fitting, form, log)
    holdout = _Holdout((real.validation, real.test, real.excluded), real, form)
    tests = _Holdout((real.test,), real, form)
    copies = [digest in holdout.digests for digest in images.digests]
    leaks = [not copy and holdout.made(record) for copy, record in zip(copies, images.records, strict=True)]
    pairs = zip(images.digests, images.records, strict=True)
    tainted = sum(digest in tests.digests or tests.made(record) for digest, record in pairs)
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
    bundles = bundles_of(records, models)
    leak = _leak(images, tainted, real, index, form, bundles)
    weights = {record.model for record in records}
    model = weights.pop() if len(weights) == 1 else None
    return SyntheticSet(name, images, left_out, leak, _recipe(bundles_of(records)), model)


def _recipe(bundles: Sequence[Path]) -> str | None:
    if len(bundles) != 1:
        return None
    try:
        config, data = read_config(bundles[0])
    except BundleError:
        return None
    root = (bundles[0] / data.root).resolve() if data.root else None
    return f"{config.method}, recipe {config.recipe}, {config.run.steps} steps, {root}"


class _Holdout:
    """The real images that training must not see, by path, by content, and by the last parts of their paths."""

    def __init__(self, parts: Sequence[Decoded], real: Partition, form: Form) -> None:
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
            image = decode([ImageRecord(place, "", "", False)], self._form, unheard)
        except DataError:
            return False
        return image.digests[0] in self.digests


def _renamed(record: ImageRecord, index: DataIndex) -> ImageRecord:
    """The record with the real folder's name of the normal class."""
    normal = record.defect not in index.defects and Hints().is_normal(record.defect)
    return replace(record, defect=index.normal) if normal else record


def _leak(
    images: Decoded, tainted: int, real: Partition, index: DataIndex, form: Form, models: Sequence[Path]
) -> str | None:
    """Whether what made the images may have seen the test images, and what to do about it."""
    again = f"`defectaug train {index.root} --holdout 0.2 --out models/NEW`, then synthesize with it and evaluate again"
    ours, other = f"to avoid it: {again}", "to avoid it keep test images away from what makes them, and name --test DIR"
    if seen := [line for model in models if (line := _has_seen(model, real, form))]:
        return f"{'; '.join(seen)}; {ours}"
    if tainted:
        return (
            f"{tainted} of the images show or were made from test images; these were left out, but what made the "
            f"others may have seen them, too; {ours}"
        )
    if models or not real.own_test:
        return None
    own = any(record.source is not None for record in images.records)
    return (
        "whether what made these images has seen the test images, which were held out only for this study, is not "
        f"known; {ours if own else other}"
    )


def _has_seen(model: Path, real: Partition, form: Form) -> str | None:
    """Looks for the test images, by content, among those that the bundle says it was trained on."""
    try:
        trained, held = read_config(model)[1], held_out(model)
        root = model / trained.root if trained.root else None  # a relative root starts at the bundle's folder
        if root is None or not root.is_dir():
            return f"whether {model} has seen the test images is not known, as its training data are not here"
        class_map = model / trained.class_map if trained.class_map else None
        class_map = class_map if class_map is not None and class_map.is_file() else None
        seen = held.keep_away(index_folder(root, class_map=class_map, normal=trained.normal).training())
        known = set(decode(records_of(seen), form, unheard).digests)
    except (BundleError, DataError, ConfigError) as error:
        return f"whether {model} has seen the test images is not known ({error})"
    count = sum(digest in known for digest in real.test.digests)
    if not count:
        return None
    whole = sum(trained.counts.values()) >= len(seen)
    return (
        f"{model}, which made these images, {'was' if whole else 'may have been'} trained on {count} of the "
        f"{len(real.test)} test images, which flatters them"
    )
