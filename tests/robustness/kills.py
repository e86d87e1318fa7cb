"""Stops the commands at random moments and looks at what is left: `python kills.py COUNT SEED [COMMAND ...]`.

A quarter of the runs are not killed, but find a disk that takes no file above a random size ("FULL"). Before all that,
a second run is started into a folder, at the same time as the first one and in the middle of it.

The programs run in forked children, so that the imports are paid for once. A child is killed when its processor time
has reached a random share of what a whole run takes: so a busy machine does not shift the moments. A signal that comes
too late, and a disk that was large enough, do not count. After one to three kills the run is brought to its end, and
must have left exactly what a run that was never stopped leaves. Prints one JSON line.

The default settings of the classifiers that `evaluate` trains are made small here, for which it has no options; all its
parts are done, with the filters that it takes where there is no network.
"""

from __future__ import annotations

import json
import os
import random
import re
import resource
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1] / "helpers"))

import torch.utils.tensorboard  # noqa: F401  (what the children would import)
import torch_fidelity.feature_extractor_inceptionv3  # noqa: F401
import yaml
from fake_model import contents, data, defective, save, surface
from left_over import (
    Fault,
    check_evaluation,
    check_model,
    check_synthesis,
    check_transfer,
    same_evaluation,
    same_model,
    same_tree,
)
from quick_lite import build_it_now
from small_networks import SMALL

import defectaug.nn.weights
import defectaug.reporting.api
import defectaug.synthesis.api
import defectaug.synthesis.transfer
import defectaug.training.api
from defectaug.benchmark.settings import StudySettings
from defectaug.cli.main import main
from defectaug.metrics.naming import NamingSettings

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
NEEDS = {"train": (), "synthesize": ("train",), "transfer": ("train",), "evaluate": ("train", "synthesize")}
COUNTS = {"A/normal": 4, "A/scratch": 3, "B/normal": 3, "B/spot": 2}
REFUSED = re.compile(r"another run is writing there|holds a finished run|holds a model already")
MANY = 20  # kills from which on every command is also started twice at the same moment
RHYTHM = {"steps": 6, "batch_size": 4, "save_every": 1, "sample_every": 2, "validate_every": 3, "log_every": 1}


@dataclass(frozen=True)
class Ended:
    """How a child ended: exit code or minus the signal, processor seconds, and what it said."""

    code: int
    seconds: float
    said: str


def run(
    arguments: Sequence[str], said: Path, stop_after: float | None = None, number: int = 0, largest: int | None = None
) -> Ended:
    """Runs `defectaug ARGUMENTS` in a child, which gets a signal after so much processor time, or may write no file
    above so many bytes."""
    child = start(arguments, said, largest)
    if stop_after is not None:
        signal_after(child, stop_after, number)
    return wait(child, said)


def signal_after(child: int, seconds: float, number: int) -> None:
    """Sends a child a signal when it has had so much processor time, unless it ends before."""
    while os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        if processor_seconds(child) >= seconds:
            os.kill(child, number)
            return
        time.sleep(0.001)


def start(arguments: Sequence[str], said: Path, largest: int | None = None) -> int:
    """The process number of a child that runs the program."""
    child = os.fork()
    if child == 0:
        if largest is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
        _become(arguments, said, quiet=largest is not None)
    return child


def wait(child: int, said: Path) -> Ended:
    """Waits for a child's end."""
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    used = processor_seconds(child)  # until it is waited for
    _, status = os.waitpid(child, 0)
    return Ended(os.waitstatus_to_exitcode(status), used, said.read_text(errors="replace"))


def _become(arguments: Sequence[str], said: Path, quiet: bool) -> None:
    """The child: the program with its output in a file. Where that must stay small, it has its messages alone."""
    code = 99
    try:
        out = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(os.open(os.devnull, os.O_WRONLY) if quiet else out, 1)
        os.dup2(out, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w", buffering=1)
        main(arguments)
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else 0
    except BaseException as error:  # what comes in the last moment, as it would end the interpreter
        code = -signal.SIGINT if isinstance(error, KeyboardInterrupt) else 98
    finally:
        sys.stderr.flush()
        os._exit(code & 0xFF)


def processor_seconds(process: int) -> float:
    """Time that the main thread of a process has run."""
    try:
        return int(Path(f"/proc/{process}/schedstat").read_text().split()[0]) / 1e9
    except (OSError, IndexError):
        return float("inf")


@dataclass(frozen=True)
class Command:
    """One command of the program, with a folder that is its output."""

    name: str
    place: Path

    def arguments(self, out: Path) -> list[str]:
        """As a user would type it, after what is in `out`."""
        root, model = str(self.place / "data"), str(self.place / "reference" / "train")
        if self.name == "train":
            settings = str(self.place / "small.yaml")
            start = ["train", root, "--out", str(out), "--preset", "paper", "--config", settings]
            saved = any((out / name).exists() for name in ("state", "state.old"))
            return [*start, "--device", "cpu", "--precision", "fp32", *(["--resume"] if saved else [])]
        if self.name == "synthesize":
            wanted = ["--balance", "--n", "8", "--masks", "--batch-size", "2"]
            return ["synthesize", "--model", model, "--source", root, "--out", str(out), *wanted, "--device", "cpu"]
        if self.name == "evaluate":
            made = str(self.place / "reference" / "synthesize")
            files = {"--json": "numbers.json", "--report": "report.html", "--cache": "cache"}
            wanted = [word for option, file in files.items() for word in (option, str(out / file))]
            return ["evaluate", root, made, *wanted, "--seeds", "2", "--device", "cpu"]
        sources, references = str(self.place / "sources"), str(self.place / "scratch")
        return ["transfer", sources, references, "--model", model, "--out", str(out), "--device", "cpu"]

    def check(self, out: Path, complete: bool) -> None:
        """Raises Fault where something that is there is not whole, or something is missing at the end."""
        if self.name == "train":
            check_model(out, complete)
        elif self.name == "synthesize":
            check_synthesis(out, complete)
        elif self.name == "evaluate":
            check_evaluation(out, complete)
        else:
            check_transfer(out, complete)

    def compare(self, out: Path) -> None:
        reference = self.place / "reference" / self.name
        if self.name == "train":
            same_model(out, reference)
        elif self.name == "evaluate":
            same_evaluation(out, reference)
        else:
            same_tree(out, reference)


def prepare(place: Path) -> None:
    """Small data and small settings."""
    StudySettings.slim = classmethod(  # type: ignore[method-assign, assignment]
        lambda cls: cls(image_size=32, steps=6, batch_size=8, checks=2)
    )
    build_it_now()  # for all children
    quick = NamingSettings(2, 6, 8, 32)
    defectaug.reporting.api.NamingSettings = lambda: quick  # type: ignore[assignment, misc]
    defectaug.nn.weights._fetch = lambda kind, target: False
    data(place / "data", COUNTS)
    settings = SMALL | {"run": RHYTHM | {"warmup": 1}}
    (place / "small.yaml").write_text(yaml.safe_dump(settings))
    for number in range(8):
        save(place / "sources" / f"{number}.png", surface(number))
        save(place / "scratch" / f"{number}.png", defective(number))


def inputs(place: Path) -> dict[str, bytes]:
    """What the commands read, which none may change."""
    roots = [place / "data", place / "sources", place / "scratch", place / "reference"]
    return {f"{root.name}/{name}": content for root in roots for name, content in contents(root).items()}


def check_end(ended: Ended, number: int) -> None:
    """A kill leaves no time for words; the other signals are answered by one line and 130."""
    if "Traceback" in ended.said:
        raise Fault(f"a traceback: {ended.said[-600:]}")
    if number == signal.SIGKILL and ended.code in (-signal.SIGKILL, 0):
        return
    if ended.code == -number and not ended.said:  # before the program has begun
        return
    if ended.code == 0 or ended.code == 256 - signal.SIGINT:  # done already, or on its way out of the interpreter
        return
    if ended.code != 130 or not ended.said.splitlines()[-1].startswith("error: interrupted"):
        raise Fault(f"signal {number}: exit code {ended.code}: {ended.said[-600:]}")


def check_full(ended: Ended) -> None:
    """A disk that is full is the user's to mend."""
    if ended.code == 0:
        return
    if ended.code != 2 or "Traceback" in ended.said or not ended.said.splitlines()[-1].startswith("error: "):
        raise Fault(f"a full disk: exit code {ended.code}: {ended.said[-600:]}")


def race(command: Command, whole: float, moments: Sequence[bool]) -> None:
    """Of two runs into one folder the second is refused; the first is as if it had been alone. They begin together, or
    (False) the second one in the middle of the first."""
    logs = [command.place / f"said{number}.txt" for number in range(2)]
    for together in moments:
        out = command.place / f"race-{command.name}-{together}"
        children = [start(command.arguments(out), logs[0])]
        if not together:
            signal_after(children[0], whole / 2, signal.SIGSTOP)
        children.append(start(command.arguments(out), logs[1]))
        ended = [wait(children[1], logs[1])]
        if not together:
            os.kill(children[0], signal.SIGCONT)
        ended.append(wait(children[0], logs[0]))
        said = [end.said for end in ended if end.code]
        if 0 in {end.code for end in ended} and all("holds a finished run" in one for one in said):
            continue  # one of them had done all when the other one began
        (refused, done) = ended if ended[0].code or not together else reversed(ended)
        if (refused.code, done.code) != (2, 0) or not REFUSED.search(refused.said):
            raise Fault(f"two runs at once ended with {[(end.code, end.said[-300:]) for end in ended]}")
        command.check(out, complete=True)
        command.compare(out)


def disturb(command: Command, out: Path, whole: float, rng: random.Random) -> list[str]:
    """Stops a run one to three times, then lets it end; returns what was done."""
    said = command.place / "said.txt"
    done = []
    for _ in range(rng.randint(1, 3)):
        number, moment = rng.choice(SIGNALS), rng.uniform(0, 1.05)
        if rng.random() < 0.25:
            how = "FULL"
            ended = run(command.arguments(out), said, largest=int(4096 * 200**moment))
            check_full(ended)
        else:
            how = signal.Signals(number).name
            ended = run(command.arguments(out), said, moment * whole, number)
            check_end(ended, number)
        command.check(out, complete=False)
        if ended.code == 0:
            break
        done.append(f"{command.name} {how}")
    else:
        ended = run(command.arguments(out), said)
        refused = ended.code == 2 and ("finished run" in ended.said or "is there already" in ended.said)
        if ended.code != 0 and not refused:  # a kill after the last file leaves a run that is complete
            raise Fault(f"the last run: exit code {ended.code}: {ended.said[-600:]}")
    command.check(out, complete=True)
    command.compare(out)
    return done


def disturb_many(count: int, seed: int, names: Sequence[str]) -> dict[str, Any]:
    """Kills until `count` are reached."""
    rng = random.Random(seed)
    kills: Counter[str] = Counter()
    faults: list[str] = []
    started = time.time()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        prepare(place)
        commands = [Command(name, place) for name in names]
        whole = {}
        for name in [name for name in NEEDS if name in names or any(name in NEEDS[other] for other in names)]:
            ended = run(Command(name, place).arguments(place / "reference" / name), place / "said.txt")
            if ended.code:
                raise Fault(ended.said)
            whole[name] = ended.seconds
        before_all = inputs(place)
        for command in commands:
            if command.name != "transfer":  # which has no folder of its own
                few = count < MANY and command.name != "synthesize"
                race(command, whole[command.name], (False,) if few else (True, False))
        trial = 0
        while sum(kills.values()) < count:
            command, out = commands[trial % len(commands)], place / f"trial{trial}"
            before = rng.getstate()
            try:
                for done in disturb(command, out, whole[command.name], rng):
                    kills[done] += 1
                if inputs(place) != before_all:
                    raise Fault("an input has changed")
            except Fault as fault:
                faults.append(f"trial {trial} of seed {seed}, {command.name}: {fault}")
                rng.setstate(before)
                rng.random()
                kills["faults"] += 1
            trial += 1
    return {"kills": sum(kills.values()), **kills, "seconds": round(time.time() - started), "faults": faults}


def report(count: int, seed: int, *names: str) -> None:
    """Prints what came of the kills, as JSON; without names of all commands."""
    print(json.dumps(disturb_many(count, seed, names or list(NEEDS))))


if __name__ == "__main__":
    report(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
