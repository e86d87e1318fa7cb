"""The training loop, read from top to bottom: batch, step, log, score, save."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from defectaug.bundle import write_weights
from defectaug.config.schema import RunConfig
from defectaug.data.batches import BalancedBatches, Batch
from defectaug.errors import DataError
from defectaug.io.atomic import write_atomic
from defectaug.io.files import real
from defectaug.io.progress import Log, Progress
from defectaug.methods.base import Method
from defectaug.nn.distributed import agree, copy_from_first, from_first, processes, rank
from defectaug.training.checkpoint import load_state, save_state
from defectaug.training.interrupts import termination_as_interrupt
from defectaug.training.log import MetricLog

STATE = "state"
LOOK_AGAIN = (0.35, 0.6)  # shares of a run at which the method is asked where defects are, for images seen in windows


@dataclass
class Position:
    """Where a run is; all of it is saved."""

    step: int = 0
    seconds: float = 0.0
    best: float = float("inf")
    best_step: int = 0
    looks: int = 0
    aims: dict[str, list[list[float]]] = field(default_factory=dict)  # places by path, of images seen in windows


@dataclass
class Loop:
    """One run; of several processes that train together the first alone logs, scores and saves.

    Args:
        method: what is trained.
        batches: training batches, a pure function of the step.
        examples: fixed images for sample grids.
        validation: fixed images for scores.
        folder: the model folder.
        run: length of the run, and how often it logs, samples, validates and saves.
        minutes: end after so many minutes instead of ``run.steps``.
        log, progress: lines for the user, and (step, steps) for a progress bar.
    """

    method: Method
    batches: BalancedBatches
    examples: Batch
    validation: Batch
    folder: Path
    run: RunConfig
    minutes: float | None = None
    log: Log = print
    progress: Progress | None = None
    at: Position = field(default_factory=Position)
    pace: float = 0.0  # seconds a step, of late

    def resume(self) -> None:
        """Takes up a saved run.

        Raises:
            BundleError: nothing saved, or a state of other settings.
        """
        numbers = load_state(self.folder / STATE, self.method.modules, self.method.optimizers)
        self.at = Position(**{k: numbers[k] for k in vars(self.at) if k in numbers})
        self._aim()
        for module in self.method.modules.values():
            copy_from_first(module.state_dict().values())
        self.log(f"resuming at step {self.at.step}")

    def fraction(self) -> float:
        """Share of the run that is over, 0 to 1; by time where minutes were given."""
        return min(1.0, self.at.seconds / (60 * self.minutes) if self.minutes else self.at.step / self.run.steps)

    def go(self) -> None:
        """Trains to the end. On Ctrl-C or SIGTERM saves and raises KeyboardInterrupt.

        Raises:
            TrainingError: not finite.
            OutputError: the folder cannot be written.
            DataError: images that were there cannot be read any more; the state is saved.
            KeyboardInterrupt: interrupted; the state is saved.
        """
        log = MetricLog(self.folder, self.at.step) if rank() == 0 else None
        try:
            with termination_as_interrupt(repeats=processes() > 1) as interrupted:
                while not (stopped := self._stopped(interrupted)) and self.fraction() < 1:
                    values = self._step()
                    if log is not None:
                        self._report(log, values)
                if rank() == 0 and self.at.step > self.run.warmup:
                    self.method.finish(self.batches.store.photograph)
                self._save()  # a signal that comes now waits for it
            if stopped:
                self.log(f"interrupted at step {self.at.step}; the state is saved, go on with --resume")
                raise KeyboardInterrupt
            if log is not None:
                self._finish(log)
        finally:
            if log is not None:
                log.close()

    def _stopped(self, interrupted: threading.Event) -> bool:
        """Whether to stop here: a signal may reach the processes of a run at different steps."""
        stop, self.at.seconds = agree(interrupted.is_set(), self.at.seconds)
        return stop

    def _step(self) -> dict[str, float]:
        self._look_again()  # here, where all processes know the same time
        at, start = self.at, time.monotonic()
        if at.step == self.run.warmup:
            self.method.begin_validation()
        values = self.method.step(self._batch(), at.step, self.fraction())
        at.step += 1
        took = time.monotonic() - start
        at.seconds += took
        self.pace = 0.9 * self.pace + 0.1 * took if self.pace else took
        return values

    def _look_again(self) -> None:
        """Windows are aimed at where the method finds the defects by now."""
        due = sum(share <= self.fraction() < 1 for share in LOOK_AGAIN)
        if due <= self.at.looks or self.at.step <= self.run.warmup:
            return
        start = time.monotonic()
        found = from_first(lambda: self.batches.look_again(self.method.places))
        self.at.looks = due
        self.at.aims |= {self._name(number): places.tolist() for number, places in found.items()}
        self._aim()
        self.at.seconds += time.monotonic() - start

    def _aim(self) -> None:
        """Aims windows as the position says."""
        some = {number: self.at.aims.get(self._name(number)) for number in self.batches.store.points}
        self.batches.store.aim({number: np.array(places) for number, places in some.items() if places})

    def _name(self, number: int) -> str:
        """Of a sample; its number may be another one in a resumed run, to which images were added."""
        return str(real(self.batches.store.samples[number].path))

    def _report(self, log: MetricLog, values: dict[str, float]) -> None:
        """What is due after a step."""
        at, run = self.at, self.run
        if at.step % run.log_every == 0 or at.step == 1:
            log.write(at.step, values | {"images_per_second": at.step * run.batch_size / at.seconds})
        if self.fraction() < 1:  # else it all comes in the end
            if at.step % run.sample_every == 0:
                self._sample()
            if at.step % run.validate_every == 0 and at.step > run.warmup:
                self._validate(log)
            if at.step % run.save_every == 0:
                self._save()
        if self.progress:
            self.progress(at.step, self._expected())

    def _batch(self) -> Batch:
        try:
            return self.batches.batch(self.at.step)
        except DataError as error:
            if rank():
                raise
            self._save()
            raise DataError(f"{error}; the state of step {self.at.step} is saved, go on with --resume") from error

    def _expected(self) -> int:
        """Steps in all; where minutes were given, as many as the present pace makes of what is left of them."""
        if not self.minutes:
            return max(self.run.steps, self.at.step)
        return self.at.step + int(max(0.0, 60 * self.minutes - self.at.seconds) / self.pace)

    def _sample(self) -> None:
        write_grid(self.folder / "samples" / f"step_{self.at.step:06d}.png", self.method.grid(self.examples))

    def _validate(self, log: MetricLog) -> None:
        scores = self.method.score(self.validation)
        log.write(self.at.step, scores)
        score = scores.get("score")  # none where no class has two images to compare: the last weights are kept then
        # Averages lag behind, and rates decay at the end: only the last third of a run competes.
        if score is not None and score < self.at.best and self.fraction() >= 2 / 3:
            self.at.best, self.at.best_step = score, self.at.step
            write_weights(self.folder, self.method.weights())

    def _save(self) -> None:
        if rank():
            return
        save_state(self.folder / STATE, self.method.modules, self.method.optimizers, vars(self.at))
        if not self.at.best_step:
            write_weights(self.folder, self.method.weights())

    def _finish(self, log: MetricLog) -> None:
        if self.at.step > self.run.warmup:
            self._validate(log)
        self._sample()
        self._save()
        kept = f"; the bundle holds step {self.at.best_step}, the best score" if self.at.best_step else ""
        minutes, seconds = f"{self.at.seconds / 60:.1f} min", f"{self.at.seconds:.0f} s"
        self.log(f"trained {self.at.step} steps in {seconds if self.at.seconds < 60 else minutes}{kept}")


def write_grid(path: Path, grid: Tensor) -> None:
    """Writes a sample grid (C, H, W) in [-1, 1] as PNG.

    Raises:
        OutputError: it cannot be written.
    """
    pixels = ((grid + 1) * 127.5).round().clamp(0, 255).byte().permute(1, 2, 0).numpy()
    image = Image.fromarray(np.ascontiguousarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels))
    write_atomic(path, lambda file: image.save(file, format="PNG"))
