"""``defectaug.train``: from a folder of images to a model folder."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from defectaug import device as devices
from defectaug.bundle import CONFIG, STORE, WEIGHTS, framings_of, held_out, read_config, write_config
from defectaug.config.resolve import resolve, resolve_again
from defectaug.config.schema import Config
from defectaug.errors import BundleError, ConfigError, DataError, OutputError
from defectaug.io.files import expanded, real
from defectaug.io.lock import Lock
from defectaug.io.progress import Log, Progress, Stages, silent, unheard
from defectaug.methods.base import trainer
from defectaug.nn.distributed import from_first, joined, processes, rank
from defectaug.training.fixed_batches import example_batch, validation_batch
from defectaug.training.loop import STATE, Loop
from defectaug.training.plan import describe_data, describe_plan
from defectaug.training.prepare import DataOptions, Prepared, prepare
from defectaug.training.unlike import hardly_unusual

logger = logging.getLogger("defectaug")


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
    holdout: str | float | Path | None = None,
    log: Log | None = None,
    progress: Progress | None = None,
    stages: Stages = silent,
) -> Path | None:
    """Trains one model over all products and defects of a data folder.

    Under a launcher such as `torchrun` all of its processes train the one model together, each on its part of
    ``run.batch_size``; data and model folder must be visible to all. The first process alone writes, prints and calls
    ``log``, ``progress`` and ``stages``.

    Args:
        data: the folder, in any layout that the README lists.
        out: model folder; None for ``models/NAME``, named after ``data``.
        preset: recipe: ``auto`` (small), ``tiny``, ``small``, ``paper``, ``ablation_a`` to ``_e``, or a method to
            compare with: ``cutpaste``, ``mokady``, ``defectgan``, ``stargan2``, ``stylegan2``, ``biggan``.
        image_size: side of the model's square in pixels.
        steps: length; or give ``minutes``.
        minutes: training time.
        config: YAML file of settings; a flag beats the file, the file beats the preset.
        resume: go on with the interrupted run in ``out``, with its settings, and as long, where nothing else is given.
        dry_run: only print what there is and what would be done.
        seed: of all random choices.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        precision: ``auto``, ``fp32`` or ``bf16``.
        class_map: renames, merges and drops classes; None for ``data/defectaug.yaml`` where there is one.
        normal: name of the normal folder.
        product: product name of a folder that holds one product.
        strict: an unreadable file is an error.
        holdout: share of each category's images to keep away from training, so that it can be tested on them, or a
            folder of test images whose copies and near-duplicates are kept away. ``evaluate`` finds them in the model
            folder. A resumed run keeps what it held out.
        log: takes lines for the user; None sends them to the logger "defectaug".
        progress: called with (steps done, steps in all); None for the stage "training" of ``stages``.
        stages: gives for the name of what takes a while (reading the images, comparing them, training) what is called
            with how much of it is done, and how much there is.

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
    options = DataOptions(
        expanded(data), None if class_map is None else Path(class_map), normal, product, strict,
        None if holdout is None else str(holdout),
    )  # fmt: skip
    flags = {"network": {"image_size": image_size}, "run": {"steps": steps, "seed": seed}}
    folder = expanded(out) if out is not None else STORE / (real(options.root).name or "model")
    settings = _settings(preset, None if config is None else expanded(config), flags, folder if resume else None)
    trainer(settings.method)  # before the data are read
    compute = devices.choose(device, precision)
    if resume:
        options = replace(options, resumed=held_out(folder))
    with joined(compute.device):
        first = rank() == 0
        log, progress = (log or logger.info, progress) if first else (unheard, None)
        stages = stages if first else silent
        if not dry_run:
            from_first(lambda: _check_out(folder, options.root, resume))
        ready = prepare(options, folder, settings, compute, dry_run, log, stages)
        if dry_run:
            for line in [*describe_data(ready.index, ready.found), *describe_plan(ready, minutes)]:
                if first:
                    print(line)
            return None
        from_first(lambda: _check(folder, ready, resume, log))
        with _locked(folder) if first else nullcontext():
            loop = _loop(folder, ready, minutes, log, progress or stages("training"))
            if resume:
                loop.resume()
            loop.go()
            if first:
                for line in hardly_unusual(loop.method, ready.index, ready.store.photograph, stages):
                    log(f"note: {line}")
        return folder if first else None


def _settings(preset: str, file: Path | None, flags: Mapping[str, Any], resumed: Path | None) -> Config:
    """Recipe < file < flags; a resumed run has its own settings where no other recipe and no file are given."""
    if resumed is not None:
        if not (resumed / CONFIG).is_file():
            raise BundleError(f"{resumed}: nothing to resume there; run without --resume.")
        before, _ = read_config(resumed)
        if file is None and preset in ("auto", before.recipe):
            return resolve_again(before, flags, str(resumed / CONFIG))
    return resolve("small" if preset == "auto" else preset, file, flags)


def _loop(folder: Path, ready: Prepared, minutes: float | None, log: Log, progress: Progress) -> Loop:
    """The run, its settings written beside the model to be."""
    if rank() == 0:
        write_config(folder, ready.config, ready.trained_on)
    together = f" in {processes()} processes" if processes() > 1 else ""
    log(f"recipe {ready.config.recipe}, {ready.compute.describe()}{together}; writing to {folder}")
    return Loop(
        ready.method(),
        ready.batches(),
        example_batch(ready.index, ready.store),
        validation_batch(ready.index, ready.store),
        folder,
        ready.config.run,
        minutes,
        log,
        progress,
    )


def _check(folder: Path, ready: Prepared, resume: bool, log: Log) -> None:
    """What has to be so before anything is written."""
    _check_counts(ready)
    for problem in ready.found.problems:
        log(f"note: {problem}")
    if resume:
        _check_same_run(folder, ready)


def _check_counts(ready: Prepared) -> None:
    """A category of one image is more often a mistake than a wish."""
    least = ready.config.data.min_images
    for category, count in ready.found.counts.items():
        if 0 < count < least and category.defect != ready.index.normal:
            beside = " beside those held out" if ready.trained_on.holdout else ""
            raise DataError(
                f"{category}: {count} image{beside}, at least {least} are needed; add images, drop the class "
                f"in a class map, or allow it with 'data: {{min_images: {count}}}' in --config."
            )


def _check_out(folder: Path, data: Path, resume: bool) -> None:
    """What can be told of the model folder before the data are read."""
    if real(folder).is_relative_to(real(data)):
        raise OutputError(f"{folder}: lies in the data folder {data}; use --out for a folder outside.")
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder}: is a file; name another folder with --out.")
    if not resume and ((folder / WEIGHTS).exists() or (folder / STATE).exists()):
        raise OutputError(f"{folder}: holds a model already; use --resume to go on, or --out for another folder.")


def _check_same_run(folder: Path, ready: Prepared) -> None:
    """A resumed run keeps classes, networks and losses; images may be added, and the run may be made longer."""
    config, trained_on = read_config(folder)
    if trained_on.products != ready.index.products or trained_on.defects != ready.index.defects:
        raise BundleError(f"{folder}: was trained on other classes; resume with the same data and class map.")
    before, now = (
        {product: framing.window for product, framing in framings.items()}
        for framings in (framings_of(config, trained_on), ready.trained_on.framings)
    )
    if before != now:  # images that were added may have changed what `auto` finds
        raise BundleError(f"{folder}: images were framed otherwise; resume with the same data and data.framing.")
    changeable = {name: getattr(config, name) for name in ("recipe", "data", "run")}
    if replace(ready.config, **changeable) != config:
        raise BundleError(f"{folder}: was trained with other settings; resume with the same ones.")


def _locked(folder: Path) -> Lock:
    """A lock on the model folder, which is made: a second run into it is refused."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return Lock(folder / ".lock", f"{folder}: another run is writing there; wait for it, or use --out.")
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({error.strerror}); use --out for another folder.") from error
