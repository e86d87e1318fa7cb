"""What the files of a data folder hold: counts, sizes, colour modes, damage, duplicates, problems."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from defectaug.data.header_cache import Headers, edges_digest
from defectaug.data.index import DataIndex
from defectaug.data.layouts import Hints
from defectaug.data.sample import Category, Sample
from defectaug.errors import DataError
from defectaug.io.images import Header, NativeImage, pixel_hash, read_image
from defectaug.io.progress import Progress

ADVISED_IMAGES = 8
WHITE_OF = 64  # images that tell the white level
WHITE_LEVELS = (1023, 4095, 16383, 65535)  # cameras of 10, 12, 14 and 16 bits


@dataclass(frozen=True)
class Survey:
    """What was found in the files of an index.

    Args:
        counts: readable images per category, zero for empty ones.
        unreadable: files that cannot be read, with the reason.
        smallest: least width and least height of all images.
        usual: width and height that most images have.
        channels: 1 where all images are grey, else 3.
        duplicates: groups of files that hold exactly the same.
        problems: what a person should know before training, one line each.
    """

    counts: dict[Category, int]
    unreadable: tuple[tuple[Path, str], ...]
    smallest: tuple[int, int]
    usual: tuple[int, int]
    channels: int
    duplicates: tuple[tuple[Path, ...], ...]
    problems: tuple[str, ...]


def survey(
    index: DataIndex, *, decode: bool = False, image_size: int = 0, progress: Progress | None = None
) -> Survey:
    """Reads the header of every file of an index; in large folders, of those that have changed since the last time.

    Args:
        index: the images.
        decode: decode every image too, which finds files that are damaged further down, and compare pixels
            instead of files in the search for duplicates.
        image_size: edge of the model's square; smaller images are a problem then.
        progress: called with the files done and their number.

    Raises:
        DataError: none of the images of a category can be read.
    """
    kept = Headers(index.root, len(index))
    headers: dict[Sample, Header] = {}
    digests: dict[Sample, str] = {}
    unreadable: list[tuple[Path, str]] = []
    for done, sample in enumerate(index.samples):
        try:
            headers[sample] = kept[sample.path]
            digests[sample] = pixel_hash(read_image(sample.path)) if decode else _size_digest(sample.path)
        except DataError as error:
            headers.pop(sample, None)
            unreadable.append((sample.path, str(error).removeprefix(f"{sample.path}: ")))
        if progress:
            progress(done + 1, len(index.samples))
    kept.keep()
    counts = dict.fromkeys(index.counts(), 0) | Counter(sample.category for sample in headers)
    _refuse_lost_categories(index, counts, dict(unreadable))
    duplicates = _duplicates(digests if decode else _byte_digests(digests))
    widths, heights = zip(*(header.size for header in headers.values()), strict=True)
    return Survey(
        counts=counts,
        unreadable=tuple(unreadable),
        smallest=(min(widths), min(heights)),
        usual=Counter(header.size for header in headers.values()).most_common(1)[0][0],
        channels=max(header.channels for header in headers.values()),
        duplicates=tuple(tuple(sample.path for sample in group) for group in duplicates),
        problems=(
            *_unreadable_problems(unreadable),
            *_count_problems(index, counts),
            *_normal_problems(index),
            *_name_problems(index.defects),
            *_name_problems(index.products),
            *_pixel_problems(list(headers.values()), image_size),
            *_duplicate_problems(duplicates),
        ),
    )


def drop_unreadable(index: DataIndex, found: Survey, *, strict: bool = False) -> DataIndex:
    """The index without the files that cannot be read.

    Raises:
        DataError: with `strict`, where there is such a file.
    """
    if strict and found.unreadable:
        path, reason = found.unreadable[0]
        others = f", and {len(found.unreadable) - 1} more" if len(found.unreadable) > 1 else ""
        raise DataError(f"{path}: {reason}{others}; mend or remove it, or go without --strict")
    lost = {path for path, _ in found.unreadable}
    return index.where(lambda sample: sample.path not in lost)


def white_level(samples: Sequence[Sample], read: Callable[[Path], NativeImage] = read_image) -> int:
    """The value that stands for white: 255, or for 16-bit files the least white of a camera that fits.

    Args:
        samples: images, of which up to WHITE_OF are read, evenly spread; those that cannot be read are left out.
        read: decodes them.
    """
    chosen = np.linspace(0, len(samples) - 1, min(len(samples), WHITE_OF)).round().astype(int)
    decoded = (image for number in chosen if (image := _decoded(samples[number].path, read)) is not None)
    brightest = max((int(image.pixels.max()) for image in decoded if image.white > 255), default=None)
    return 255 if brightest is None else next(level for level in WHITE_LEVELS if brightest <= level)


def _decoded(path: Path, read: Callable[[Path], NativeImage]) -> NativeImage | None:
    try:
        return read(path)
    except DataError:
        return None


def _size_digest(path: Path) -> str:
    try:
        return str(path.stat().st_size)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error


def _byte_digests(sizes: dict[Sample, str]) -> dict[Sample, str]:
    """Digests of the files whose length, beginning and end are not the only ones of their kind. Files that went away
    have none."""
    return _digests_of_equal(_digests_of_equal(sizes, edges_digest), _file_digest)


def _digests_of_equal(known: dict[Sample, str], digest: Callable[[Path], str]) -> dict[Sample, str]:
    """Digests of the files whose known digest is not the only one of its kind, the known one included."""
    common = Counter(known.values())
    digests: dict[Sample, str] = {}
    for sample, before in known.items():
        if common[before] > 1:
            with suppress(OSError):
                digests[sample] = f"{before}-{digest(sample.path)}"
    return digests


def _file_digest(path: Path) -> str:
    digest = hashlib.blake2b()
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()


def _duplicates(digests: dict[Sample, str]) -> list[list[Sample]]:
    groups: dict[str, list[Sample]] = defaultdict(list)
    for sample, digest in digests.items():
        groups[digest].append(sample)
    return [group for group in groups.values() if len(group) > 1]


def _refuse_lost_categories(index: DataIndex, counts: dict[Category, int], unreadable: dict[Path, str]) -> None:
    for category in index.counts():
        samples = index.category(*category)
        if samples and not counts[category]:
            path = samples[0].path
            which = "its only image" if len(samples) == 1 else f"none of its {len(samples)} images"
            can = "cannot be read" if len(samples) == 1 else "can be read"
            raise DataError(f"{path}: {category}: {which} {can} ({unreadable[path]})")


def _unreadable_problems(unreadable: list[tuple[Path, str]]) -> Iterable[str]:
    if unreadable:
        path, reason = unreadable[0]
        files = "1 file is" if len(unreadable) == 1 else f"{len(unreadable)} files are"
        yield f"{files} skipped, first {path}: {reason}"


def _count_problems(index: DataIndex, counts: dict[Category, int]) -> Iterable[str]:
    for category, count in counts.items():
        if count == 0 and category.defect == index.normal:
            yield f"{category.product} has no normal images to paint on"
        elif count == 0:
            yield f"{category} has no images; the defect is learnt from the other products"
        elif count < ADVISED_IMAGES:
            images = "1 image" if count == 1 else f"{count} images"
            yield f"{category} has {images} (at least {ADVISED_IMAGES} advised)"


def _normal_problems(index: DataIndex) -> Iterable[str]:
    for name in index.defects[1:]:
        if Hints().is_normal(name):
            advice = f"the normal class is '{index.normal}'; a class map can merge them"
            yield f"'{name}' counts as a defect, {advice}"


def _name_problems(names: Iterable[str]) -> Iterable[str]:
    by_letters: dict[str, list[str]] = defaultdict(list)
    for name in names:
        by_letters[name.casefold()].append(name)
    for group in by_letters.values():
        if len(group) > 1:
            yield f"{' and '.join(group)} differ in upper and lower case only; a class map can merge them"


def _pixel_problems(headers: list[Header], image_size: int) -> Iterable[str]:
    small = sum(min(header.size) < image_size for header in headers)
    if small:
        edge = min(min(header.size) for header in headers)
        images = "1 image is" if small == 1 else f"{small} images are"
        yield f"{images} smaller than the model's {image_size} x {image_size} (down to {edge} pixels)"
    sizes = Counter(header.size for header in headers)
    if len(sizes) > 1:
        (width, height), count = sizes.most_common(1)[0]
        yield f"{len(sizes)} sizes, most often {width} x {height} ({count} of {len(headers)} images)"
    if len({header.channels for header in headers}) > 1:
        grey = sum(header.channels == 1 for header in headers)
        yield f"{grey} grey and {len(headers) - grey} colour images; the model works in colour"
    deep = sum(header.bits > 8 for header in headers)
    if 0 < deep < len(headers):
        yield f"{deep} images of 16 bits among {len(headers) - deep} of 8 bits"


def _duplicate_problems(duplicates: list[list[Sample]]) -> Iterable[str]:
    twice = sum(len(group) - 1 for group in duplicates)
    if twice:
        first, second = duplicates[0][:2]
        noun = "image is an exact duplicate" if twice == 1 else "images are exact duplicates"
        yield f"{twice} {noun}, first {second.path} of {first.path}"
    for group in duplicates:
        other = next((sample for sample in group if sample.category != group[0].category), None)
        if other:
            yield f"{group[0].path} and {other.path} are the same image under different labels"
            break
