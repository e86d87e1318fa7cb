"""What is known before the first step of a run: images, settings, networks, device."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

from defectaug.bundle import TrainedOn
from defectaug.config.schema import Config
from defectaug.data.batches import BalancedBatches
from defectaug.data.framing import Framing
from defectaug.data.holdout import Holdout, check_asked, hold_out
from defectaug.data.index import DataIndex, alike, index_folder
from defectaug.data.stores import CropStore, FramedStore, ImageStore, Store
from defectaug.data.survey import Survey, drop_unreadable, survey, white_level
from defectaug.device import Compute
from defectaug.errors import DataError
from defectaug.io.files import real
from defectaug.io.progress import Log, Stages, silent
from defectaug.methods.base import Method, trainer
from defectaug.nn.distributed import from_first, local_rows
from defectaug.training.framing import Framed, choose_framing

LEAST_SIDE = 16  # pixels of an image; a model of the smallest size, 32, takes no smaller ones


@dataclass(frozen=True)
class DataOptions:
    """How a data folder is read; arguments as of :func:`defectaug.train`."""

    root: Path
    class_map: Path | None = None
    normal: str | None = None
    product: str | None = None
    strict: bool = False
    holdout: str | None = None
    resumed: Holdout | None = None

    def read(
        self, config: Config, decode: bool, log: Log, stages: Stages = silent
    ) -> tuple[DataIndex, Survey, int, Holdout]:
        """The images that can be used, what was found in them, their white level, and what was held out.

        Args:
            decode: every image is decoded, not its header alone, as it is with test images to hold out; else the store
                skips what is damaged inside.
            log, stages: lines and progress for the user.

        Raises:
            DataError: nothing there to train on, or images that are too small.
        """
        index = index_folder(self.root, class_map=self.class_map, normal=self.normal, product=self.product).training()
        log(index.describe())
        size = config.network.image_size
        holds_out = self.resumed is None and self.holdout is not None  # which compares all images by their pixels
        if self.resumed is None and self.holdout is not None:
            check_asked(self.holdout, self.root)
        decode = self.strict or decode or holds_out
        found = survey(index, decode=decode, image_size=size, progress=stages("reading images"))
        index = drop_unreadable(index, found, strict=self.strict)
        held = self._held_out(index, log, stages)
        index = self._left_of(index, held, log)
        found = replace(found, counts=index.counts())
        if min(found.smallest) * 2 < size and config.data.framing != "crop":
            width, height = found.smallest
            other = f"use --image-size {max(32, min(found.smallest) // 32 * 32)}, or take small images out."
            raise DataError(
                f"{self.root}: the smallest image is {width} x {height} pixels, less than half of the model's "
                f"{size} x {size}; {other if min(width, height) >= LEAST_SIDE else 'take such images out.'}"
            )
        return index, found, white_level(index.samples), held

    def _held_out(self, index: DataIndex, log: Log, stages: Stages) -> Holdout:
        if self.resumed is not None or self.holdout is None:
            return self.resumed or Holdout()
        read_tests = cache(partial(self._read_tests, index=index, log=log, stages=stages))
        held = hold_out(index, self.holdout, read_tests, stages)
        tests = held.only(index).counts() if held.folder is None else read_tests(held.folder).counts()
        where = "" if held.folder is None else f" as copies of images in {held.folder}"
        log(f"{len(held.files):,} of {len(index):,} images are held out of training{where}")
        if bare := [str(category) for category, count in index.counts().items() if count and not tests.get(category)]:
            log(f"note: no test image of {', '.join(bare)}: how well these are done cannot be tested")
        return held

    def _left_of(self, index: DataIndex, held: Holdout, log: Log) -> DataIndex:
        """What there is to train on: products and defects of which all images are for tests are not learnt."""
        left = held.keep_away(index).without_empty()
        if not any(sample.defect == left.normal for sample in left.samples) or not left.defects[1:]:
            what = "defective" if not left.defects[1:] else f"normal ('{left.normal}')"
            raise DataError(f"{self.root}: no {what} image is left to train on, all are test images; hold out fewer")
        lost = [*(set(index.products) - set(left.products)), *(set(index.defects) - set(left.defects))]
        if lost:
            log(f"note: all images of {', '.join(sorted(lost))} are held out: the model does not learn it")
        return left

    def _read_tests(self, folder: Path, index: DataIndex, log: Log, stages: Stages) -> DataIndex:
        tests = index_folder(
            folder, class_map=self.class_map, normal=self.normal, product=self.product, require_defects=False
        )
        found = survey(tests, decode=True, progress=stages("reading test images"))
        for path, reason in found.unreadable:
            log(f"skipped: {path}: {reason}")
        return alike(drop_unreadable(tests, found, strict=self.strict), index, log)


@dataclass(frozen=True)
class Prepared:
    """Everything that is known before the first step."""

    config: Config
    index: DataIndex
    found: Survey
    store: Store
    trained_on: TrainedOn
    compute: Compute

    def batches(self) -> BalancedBatches:
        """Training batches of this run; of several processes' the part that this one computes.

        Raises:
            ConfigError: the processes need a larger batch, or another multiple.
        """
        c = self.config
        return BalancedBatches(
            self.index,
            self.store,
            c.run.batch_size,
            c.run.seed,
            flips=c.data.flips,
            normal_target=c.data.normal_target,
            local=local_rows(c.run.batch_size, c.run.latent_share),
        )

    def method(self) -> Method:
        """Fresh networks."""
        index, c = self.index, self.config
        return trainer(c.method)(c, len(index.defects), len(index.products), self.compute, c.run.seed)


def prepare(
    options: DataOptions, folder: Path, settings: Config, compute: Compute, decode: bool, log: Log, stages: Stages
) -> Prepared:
    """Reads the data folder, once for all processes: a million headers need not be read by every one.

    Raises:
        DataError: as :meth:`DataOptions.read`.
    """
    index, found, white, held = from_first(lambda: options.read(settings, decode, log, stages))
    config = replace(settings, network=replace(settings.network, channels=found.channels))
    framed = from_first(lambda: _framed(index, config, white, compute, log, stages))
    trained_on = TrainedOn(
        products=index.products,
        defects=index.defects,
        counts={f"{p}/{d}": n for (p, d), n in index.counts().items()},
        layout=index.layout,
        white=white,
        root=_portable(options.root, folder),
        class_map=None if options.class_map is None else _portable(options.class_map, folder),
        normal=options.normal,
        holdout=held.files,
        classes=index.classes,
        test=None if held.folder is None else _portable(held.folder, folder),
        size=found.usual,
        framings=framed.framings,
    )
    return Prepared(config, index, found, _store(index, config, white, framed, log), trained_on, compute)


def _portable(path: Path, folder: Path) -> str:
    """A path as the model folder keeps it: relative to it where both lie in one project, so that they
    move together."""
    path, folder, here = real(path), real(folder), Path.cwd()
    if path.is_relative_to(here) and folder.is_relative_to(here):
        return Path(os.path.relpath(path, folder)).as_posix()
    return str(path)


def _framed(index: DataIndex, config: Config, white: int, compute: Compute, log: Log, stages: Stages) -> Framed:
    side = config.network.image_size
    if config.data.framing == "auto":
        return choose_framing(index, side, white, compute, log, stages)
    return Framed(dict.fromkeys(index.products, Framing(side if config.data.framing == "crop" else None)))


def _store(index: DataIndex, config: Config, white: int, framed: Framed, log: Log) -> Store:
    net, bound, windows = config.network, config.data.cache_mb << 20, framed.windows()
    of_images = partial(ImageStore, index.samples, net.image_size, net.channels, white, log=log)
    if not windows:
        return of_images(bound)
    crops = sum(sample.product in windows for sample in index.samples) / len(index)
    windowed = CropStore(
        index.samples, net.image_size, net.channels, white, int(crops * bound),
        normal=index.normal, windows=windows, points=framed.points, log=log,
    )  # fmt: skip
    return windowed if crops == 1 else FramedStore(of_images(int((1 - crops) * bound)), windowed, windows)
