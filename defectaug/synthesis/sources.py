"""Which images are painted on, and which are taken for references. No torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from defectaug.data.class_map import MAP_NAME, ClassMap, check_folder_name, read_class_map
from defectaug.data.holdout import Holdout
from defectaug.data.index import DataIndex, index_folder
from defectaug.data.layouts import Hints, find_layout
from defectaug.data.sample import Category, Sample
from defectaug.errors import ConfigError, DataError, nearest
from defectaug.io.files import expanded, has_own_images, images_with_masks, nfc, real
from defectaug.io.images import probe
from defectaug.io.progress import Log, unheard
from defectaug.io.skipped import log_skipped
from defectaug.synthesis.settings import SynthesisSettings

if TYPE_CHECKING:
    from defectaug.methods.base import BundleInfo

Samples = tuple[Sample, ...]
SHIPPED_SOURCES = "sources"  # folder of a bundle that brings a few normal images of its own


def find_samples(info: BundleInfo, asked: SynthesisSettings, log: Log) -> tuple[Path, Samples]:
    """The images that a run starts from, their normal class named as the model names it.

    Args:
        info: the model.
        asked: whose `source` is a folder in any layout, one with normal images alone, or one that holds just images
            of `product`; None for the data the model was trained on.
        log: takes lines for the user.

    Returns:
        The folder and its samples; those that the data set keeps for validation and test are left out.

    Raises:
        DataError: no folder, or none that can be understood.
    """
    class_map, normal = asked.class_map, asked.normal
    if asked.source is not None:
        source = Path(asked.source)
    else:
        source, trained_on = default_source(info)
        if trained_on:
            class_map, normal = class_map or info.classes or info.class_map, normal or info.normal_name
    if not source.is_dir():
        raise DataError(f"--source {source}: no such folder")
    if has_own_images(source):
        return source, _flat_source(source, info, asked.product)
    index = _index_as_trained(source, info, class_map, normal, log)
    log(index.describe())
    if info.holdout and info.data_root and real(source) == real(Path(info.data_root)):
        before, index = len(index), Holdout(info.holdout).keep_away(index)
        log(f"{before - len(index):,} images that were held out of training, for tests, are not used")
    name = _product_of_root(index, info, asked.product)
    return source, tuple(
        replace(
            sample,
            product=name or sample.product,
            defect=info.normal if sample.defect == index.normal else sample.defect,
        )
        for sample in index.training().samples
    )


def _index_as_trained(
    root: Path, info: BundleInfo, class_map: str | Path | ClassMap | None, normal: str | None, log: Log
) -> DataIndex:
    """A folder read by the class map that the model remembers, where none is given, the folder brings none, and it has
    the layout that training read."""
    if class_map is None and info.classes and not (root / MAP_NAME).is_file():
        try:
            wanted = normal or info.normal_name
            index = index_folder(root, class_map=info.classes, normal=wanted, require_defects=False)
        except (DataError, ConfigError):
            pass  # other folders than those of the training data; without the map they may be understood
        else:
            if index.layout == info.layout:
                log(f"{root}: read with the class map of model {info.name}; --map names another")
                return index
    return index_folder(root, class_map=class_map, normal=normal, require_defects=False)


def _product_of_root(index: DataIndex, info: BundleInfo, product: str | None) -> str | None:
    """What a folder shows that names its one product by its own name alone, which may have changed since."""
    wanted = product or (info.products[0] if len(info.products) == 1 else None)
    named_by_root = index.products == (nfc(real(index.root).name),)
    return nfc(wanted) if named_by_root and wanted and nfc(wanted) in info.products else None


def default_source(info: BundleInfo) -> tuple[Path, bool]:
    """The folder that a model paints on where none is named, and whether it is the one it was trained on.

    Raises:
        DataError: the training data are gone and the bundle brings none.
    """
    if info.data_root:
        for root in (Path(info.data_root), info.path / info.data_root):
            if root.is_dir():
                return root, True
    shipped = info.path / SHIPPED_SOURCES
    if shipped.is_dir():
        return shipped, False
    gone = f"model {info.name} does not tell what data it was trained on"
    if info.data_root:
        gone = f"the data of model {info.name} ({info.data_root}) are not there any more"
    raise DataError(f"{gone}: name a folder of normal images with --source")


def find_references(
    root: Path,
    info: BundleInfo,
    defect: str | None,
    class_map: str | Path | ClassMap | None = None,
    log: Log = unheard,
) -> dict[str, Samples]:
    """Real defective images by defect, from a folder in any layout or a flat one.

    Args:
        root: the folder. A flat one holds images of `defect`, or of the defect it is named after.
        info: the model.
        defect: the only defect that is wanted; None for all that are there.
        class_map: renames the classes of the folder; names that it lacks are no error. None for the model's own map.
        log: takes lines for the user.

    Raises:
        DataError: no folder, or no image of the wanted defect.
        ConfigError: a defect that the model does not know, or a method without references.
    """
    info.check_references(f"--reference {root}")
    if not root.is_dir():
        raise DataError(f"--reference {root}: no such folder")
    samples = _reference_samples(root, info, defect, class_map, log)
    wanted = [sample for sample in samples if defect in (None, sample.defect)]
    known = set(info.defects) - {info.normal}
    for sample in wanted:
        if sample.defect not in known:
            raise ConfigError(
                f"--reference {root}: model {info.name} does not know the defect '{sample.defect}'; "
                f"{nearest(sample.defect, sorted(known))}"
            )
    if not wanted:
        there = ", ".join(sorted({sample.defect for sample in samples})) or "none"
        raise DataError(f"--reference {root}: no image of '{defect or 'a defect'}' (defects there: {there})")
    wanted.sort(key=lambda sample: sample.defect)  # stable: the order of the files stays
    return {name: tuple(group) for name, group in groupby(wanted, key=lambda sample: sample.defect)}


def _reference_samples(
    root: Path, info: BundleInfo, defect: str | None, class_map: str | Path | ClassMap | None, log: Log
) -> list[Sample]:
    if has_own_images(root):
        name = defect or nfc(real(root).name)
        return [Sample(path, "", name, mask) for path, mask in images_with_masks(root)]
    if class_map is not None:
        given = class_map if isinstance(class_map, ClassMap) else read_class_map(expanded(class_map))
        class_map = replace(given, lenient=True)
    try:
        index = _index_as_trained(root, info, class_map, None, log)
        samples = [sample for sample in index.samples if sample.defect != index.normal]
    except DataError:  # defective images alone make no data set to train on, but good references
        samples = list(_defective(root, info, class_map))
    return [sample for sample in samples if sample.defect != info.normal]


def _defective(root: Path, info: BundleInfo, class_map: ClassMap | None) -> Iterator[Sample]:
    """The images of a folder that has no normal class, by the given map or the one that the model remembers."""
    hints = Hints()
    layout = find_layout(root, hints)
    classes = class_map or (info.classes if layout.name == info.layout else ClassMap())
    for sample in layout.read(root, hints):
        name = classes.defect(nfc(sample.defect))
        if name is not None and not hints.is_normal(sample.defect):
            yield replace(sample, defect=name)


def usable(samples: Iterable[Sample], log: Log, info: BundleInfo | None = None) -> Samples:
    """The samples whose files have a readable header, and which are not much smaller than the model's image.

    Args:
        samples: what to look at.
        log: takes lines about what is left out.
        info: of the model; an image that it sees whole, with an edge below half of the model's square, holds too
            little, as it would in training. None: any size.

    Raises:
        DataError: nothing is left.
    """
    samples = tuple(samples)
    with ThreadPoolExecutor(4) as pool:
        reasons = tuple(pool.map(lambda sample: unfit(sample.path, info, sample.product), samples))
    bad = [reason for reason in reasons if reason]
    if samples and len(bad) == len(samples):
        more = f" (the same for all {len(bad)} images)" if len(bad) > 1 else ""
        raise DataError(f"{bad[0]}{more}")
    log_skipped(bad, "images", log)
    return tuple(sample for sample, reason in zip(samples, reasons, strict=True) if not reason)


def unfit(path: Path, info: BundleInfo | None, product: str) -> str | None:
    """Why an image of a product cannot be painted on, or None if it can."""
    try:
        width, height = probe(path).size
    except DataError as error:
        return str(error)
    if info is None or info.window(product, (height, width)) is not None or 2 * min(width, height) >= info.image_size:
        return None
    return (
        f"{path}: {width}x{height} pixels are less than half of the model's {info.image_size}x{info.image_size}; "
        f"use larger images or a model trained with a smaller --image-size"
    )


def product_of(sample: Sample, info: BundleInfo) -> str:
    """An image's product; where that is not known, the one that the nearest folder above it is named after; "" where
    none is."""
    if sample.product:
        return sample.product
    names = (nfc(parent.name) for parent in real(sample.path).parents)
    return next((name for name in names if name in info.products), "")


def class_of_folder(path: Path, info: BundleInfo) -> str | None:
    """The class of the model that an image's folder is named after, by itself or in the class map that the model
    remembers; None where it is none."""
    folder = nfc(real(path).parent.name)
    return next((name for name in (folder, info.classes.defect(folder)) if name in info.defects), None)


def by_category(samples: Iterable[Sample]) -> dict[Category, Samples]:
    """Samples of each category, in the order of the files."""
    found: dict[Category, list[Sample]] = {}
    for sample in samples:
        found.setdefault(sample.category, []).append(sample)
    return {category: tuple(found[category]) for category in sorted(found)}


def known_name(option: str, name: str, known: Iterable[str], where: str) -> str:
    """`name` as it is written in `known`.

    Raises:
        ConfigError: it is not there; the message lists what is, the nearest first.
    """
    known = list(known)
    if nfc(name) in known:
        return nfc(name)
    advice = nearest(name, known)
    listed = f"; known: {', '.join(known) or 'none'}" if not advice.startswith("known") else ""
    raise ConfigError(f"{option} {name}: not in {where}; {advice}{listed}")


def _flat_source(source: Path, info: BundleInfo, product: str | None) -> Samples:
    product = product or (info.products[0] if len(info.products) == 1 else None)
    if product is None:
        raise ConfigError(f"--source {source}: holds images, no folders; name with --product what they show")
    reason = check_folder_name(product)
    if reason:
        raise ConfigError(f"--product '{product}' {reason}; it becomes the name of a folder")
    return tuple(Sample(path, nfc(product), info.normal, mask) for path, mask in images_with_masks(source))
