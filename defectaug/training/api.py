"""``defectaug.train``: from a folder of images to a model folder."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from defectaug import device as devices
from defectaug.bundle import CONFIG, STORE, WEIGHTS, TrainedOn, read_config, write_config
from defectaug.config.resolve import resolve
from defectaug.config.schema import Config
from defectaug.data.batches import BalancedBatches
from defectaug.data.index import DataIndex, index_folder
from defectaug.data.stores import CropStore, ImageStore, Store
from defectaug.data.survey import Survey, drop_unreadable, survey, white_level
from defectaug.errors import BundleError, ConfigError, DataError, OutputError
from defectaug.io.files import real
from defectaug.io.lock import Lock
from defectaug.methods.base import Method, check_method, method_spec
from defectaug.nn.distributed import ALONE, Team, team_of
from defectaug.training.fixed_batches import example_batch, validation_batch
from defectaug.training.loop import STATE, Loop
from defectaug.training.plan import describe_data, describe_plan

log = logging.getLogger("defectaug")
Say = Callable[[str], None]


@dataclass(frozen=True)
class Prepared:
    """Everything that is known before the first step."""

    config: Config
    index: DataIndex
    found: Survey
    store: Store
    trained_on: TrainedOn
    compute: devices.Compute
    team: Team = ALONE

    def batches(self) -> BalancedBatches:
        """Training batches of this run; of a team's, what this process holds.

        Raises:
            ConfigError: fewer images in a batch than the team's processes need.
        """
        c = self.config
        guided, referred = self.team.parts(c.run.batch_size, c.run.latent_share)
        return BalancedBatches(
            self.index,
            self.store,
            c.run.batch_size,
            c.run.seed,
            flips=c.data.flips,
            normal_target=c.data.normal_target,
            local=(guided + referred).mine.tolist(),
        )

    def method(self) -> Method:
        """Fresh networks."""
        index, c = self.index, self.config
        spec = method_spec(c.method)
        return spec.train(c, len(index.defects), len(index.products), self.compute, c.run.seed)


def train(
    data: str | Path,
    *,
    out: str | Path | None = None,
    preset: str = "auto",
    image_size: int | None = None,
    steps: int | None = None,
    minutes: float | None = None,
    config: str | Path | None = None,
    resume: bool = False,
    dry_run: bool = False,
    seed: int | None = None,
    device: str = "auto",
    precision: str = "auto",
    class_map: str | Path | None = None,
    normal: str | None = None,
    product: str | None = None,
    strict: bool = False,
    say: Say | None = None,
    show: Callable[[int, int], None] | None = None,
) -> Path | None:
    """Trains one model over all products and defects of a data folder.

    Under a launcher such as `torchrun` all of its processes train the one model together, each on its part of
    ``run.batch_size``; data and model folder must be visible to all. The first process alone writes, prints and calls
    ``say`` and ``show``.

    Args:
        data: the folder, in any layout that the README lists.
        out: model folder; None for ``models/NAME``, named after ``data``.
        preset: recipe: ``auto`` (small), ``tiny``, ``small``, ``paper``, ``ablation_a`` to ``ablation_e``.
        image_size: side of the model's square in pixels.
        steps: length; or give ``minutes``.
        minutes: training time.
        config: YAML file of settings; a flag beats the file, the file beats the preset.
        resume: go on with the interrupted run in ``out``.
        dry_run: only tell what there is and what would be done.
        seed: of all random choices.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        precision: ``auto``, ``fp32`` or ``bf16``.
        class_map: renames, merges and drops classes; None for ``data/defectaug.yaml`` where there is one.
        normal: name of the normal folder.
        product: product name of a folder that holds one product.
        strict: an unreadable file is an error.
        say: takes lines for the user; None sends them to the logger "defectaug".
        show: called with (steps done, steps in all).

    Returns:
        The model folder, or None after a dry run and in processes beside the first.

    Raises:
        DataError, ConfigError, BundleError, OutputError: what the user can mend.
        TrainingError: the run stopped by itself; the last good state is kept.
        PeerError: another process of the run has stopped.
        KeyboardInterrupt: interrupted; the state is saved.
    """
    if minutes is not None and not 0 < minutes < float("inf"):
        raise ConfigError(f"--minutes {minutes:g}: must be more than 0, and a number")
    flags: dict[str, Any] = {
        "network": {"image_size": image_size},
        "run": {"steps": steps, "seed": seed},
    }
    recipe = "small" if preset == "auto" else preset
    settings = resolve(recipe, None if config is None else Path(config), flags)
    check_method(settings.method)
    compute = devices.choose(device, precision)
    folder = Path(out) if out is not None else STORE / (real(Path(data)).name or "model")
    with team_of(compute.device) as team:
        say, show = (say or log.info, show) if team.first else (_silent, None)
        read = partial(_read, Path(data), settings, class_map, normal, product, strict, dry_run, say)
        ready = _prepare(Path(data), folder, settings, compute, class_map, normal, read, say, team)
        if dry_run:
            for line in [*describe_data(ready.index, ready.found), *describe_plan(ready, minutes)]:
                if team.first:
                    print(line)
            return None
        team.from_first(lambda: _check(folder, Path(data), ready, resume, say))
        with _only_run(folder) if team.first else nullcontext():
            _run(folder, ready, minutes, resume, say, show)
        return folder if team.first else None


def _silent(line: str) -> None:
    pass


def _check(folder: Path, data: Path, ready: Prepared, resume: bool, say: Say) -> None:
    """What has to be so before anything is written."""
    _check_counts(ready)
    for problem in ready.found.problems:
        say(f"note: {problem}")
    _check_out(folder, data, ready, resume)


def _run(
    folder: Path,
    ready: Prepared,
    minutes: float | None,
    resume: bool,
    say: Say,
    show: Callable[[int, int], None] | None,
) -> None:
    if ready.team.first:
        write_config(folder, ready.config, ready.trained_on)
    processes = f" in {ready.team.size} processes" if ready.team.size > 1 else ""
    say(f"recipe {ready.config.recipe}, {ready.compute.describe()}{processes}; writing to {folder}")
    loop = Loop(
        ready.method(),
        ready.batches(),
        example_batch(ready.index, ready.store),
        validation_batch(ready.index, ready.store),
        folder,
        ready.config.run,
        minutes,
        say,
        show,
        team=ready.team,
    )
    if resume:
        loop.resume()
    loop.go()


def _prepare(
    data: Path,
    folder: Path,
    settings: Config,
    compute: devices.Compute,
    class_map: str | Path | None,
    normal: str | None,
    read: Callable[[], tuple[DataIndex, Survey, int]],
    say: Say,
    team: Team,
) -> Prepared:
    index, found, white = team.from_first(read)  # a million headers need not be read by every process
    config = replace(settings, network=replace(settings.network, channels=found.channels))
    trained_on = TrainedOn(
        products=index.products,
        defects=index.defects,
        counts={f"{p}/{d}": n for (p, d), n in index.counts().items()},
        layout=index.layout,
        white=white,
        root=_portable(data, folder),
        class_map=None if class_map is None else _portable(Path(class_map), folder),
        normal=normal,
    )
    return Prepared(config, index, found, _store(index, config, white, say), trained_on, compute, team)


def _read(
    data: Path,
    settings: Config,
    class_map: str | Path | None,
    normal: str | None,
    product: str | None,
    strict: bool,
    dry_run: bool,
    say: Say,
) -> tuple[DataIndex, Survey, int]:
    """The images that can be used, what was found in them, and their white level."""
    index = index_folder(data, class_map=class_map, normal=normal, product=product).training()
    say(index.describe())
    size = settings.network.image_size
    found = survey(index, decode=strict or dry_run, image_size=size)  # else the store skips what is damaged inside
    index = drop_unreadable(index, found, strict=strict)
    if min(found.smallest) * 2 < size and settings.data.framing == "whole":
        width, height = found.smallest
        raise DataError(
            f"{data}: the smallest image is {width} x {height} pixels, less than half of the model's "
            f"{size} x {size}; use --image-size {max(32, min(found.smallest) // 32 * 32)}, "
            "or take small images out."
        )
    return index, found, white_level(index.samples)


def _portable(path: Path, folder: Path) -> str:
    """A path as the model folder keeps it: relative to it where both lie in one project, so that they
    move together."""
    path, folder, here = real(path), real(folder), Path.cwd()
    if path.is_relative_to(here) and folder.is_relative_to(here):
        return Path(os.path.relpath(path, folder)).as_posix()
    return str(path)


def _store(index: DataIndex, config: Config, white: int, say: Say) -> Store:
    net, bound = config.network, config.data.cache_mb << 20
    if config.data.framing == "crop":
        return CropStore(
            index.samples, net.image_size, net.channels, white, normal=index.normal, max_bytes=bound, log=say
        )
    return ImageStore(index.samples, net.image_size, net.channels, white, bound, log=say)


def _check_counts(ready: Prepared) -> None:
    """A cell of one image is more often a mistake than a wish."""
    least = ready.config.data.min_images
    for (product, defect), count in ready.found.counts.items():
        if 0 < count < least and defect != ready.index.normal:
            raise DataError(
                f"{product}/{defect}: {count} image, at least {least} are needed; add images, drop the class "
                f"in a class map, or allow it with 'data: {{min_images: {count}}}' in --config."
            )


def _check_out(folder: Path, data: Path, ready: Prepared, resume: bool) -> None:
    """Neither the data nor an earlier model is written over; a resumed run must be the same run."""
    if real(folder).is_relative_to(real(data)):
        raise OutputError(f"{folder}: lies in the data folder {data}; use --out for a folder outside.")
    if resume:
        if not (folder / CONFIG).is_file():
            raise BundleError(f"{folder}: nothing to resume there; run without --resume.")
        config, trained_on = read_config(folder)
        if trained_on.products != ready.index.products or trained_on.defects != ready.index.defects:
            raise BundleError(
                f"{folder}: was trained on other classes; resume with the same data and class map."
            )
        same = ("method", "network", "loss", "optimizer")
        if any(getattr(config, part) != getattr(ready.config, part) for part in same):
            raise BundleError(f"{folder}: was trained with other settings; resume with the same ones.")
        return
    if (folder / WEIGHTS).exists() or (folder / STATE).exists():
        raise OutputError(
            f"{folder}: holds a model already; use --resume to go on, or --out for another folder."
        )
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder}: is a file; name another folder with --out.")


@contextmanager
def _only_run(folder: Path) -> Iterator[None]:
    """Holds a lock on the folder: a second run into it is refused. The lock ends with the process."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = Lock(folder / ".lock", f"{folder}: another run is writing there; wait for it, or use --out.")
    except OSError as error:
        raise OutputError(
            f"{folder}: cannot be written ({error.strerror}); use --out for another folder."
        ) from error
    with lock:
        yield
