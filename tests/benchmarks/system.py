"""What a user waits for beside the training: start-up, synthesis from end to end, the index of a large folder."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from .timing import HERE, Result, Seconds, run

LINKS = 50_000  # hard links of one file: a common file system's limit is 65,000
CHILDREN = str(Path(__file__).with_name("children.py"))
MODEL, DATA = str(HERE / "models" / "demo"), str(HERE / "examples" / "demo" / "data")


@dataclass(frozen=True)
class StartupResult(Result):
    """`defectaug --help`."""

    seconds: Seconds

    def __str__(self) -> str:
        return f"defectaug --help: {self.seconds}"


def startup(repeats: int) -> StartupResult:
    return StartupResult(Seconds.of([run(["-m", "defectaug", "--help"]).seconds for _ in range(repeats)]))


@dataclass(frozen=True)
class SynthesisResult(Result):
    """`defectaug synthesize`, start and files included.

    Args:
        images, seconds: how many in what time, from the command to its end.
        first: seconds from the command to the first image.
        memory: bytes at the peak.
        network: share of the time, without start-up, that the network takes.
    """

    images: int
    seconds: float
    first: float
    memory: int
    network: float

    @property
    def images_per_second(self) -> float:
        return self.images / self.seconds

    def __str__(self) -> str:
        return (
            f"synthesize {self.images:,}: {self.seconds:.1f} s, {self.images_per_second:.1f} images/s, first image "
            f"after {self.first:.1f} s, {self.memory / 1e6:,.0f} MB, network {self.network:.0%} of the time"
        )


def synthesis(count: int, folder: Path, model: str = MODEL, data: str = DATA) -> SynthesisResult:
    """Paints ``count`` images of one category; once as a command, and once with the network timed apart."""
    out = folder / f"images-{count}"
    flags = ["--model", model, "--source", data, "--product", "A", "--defect", "scratch", "--out", str(out)]
    whole = run(
        ["-m", "defectaug", "synthesize", *flags, "--n", str(count)],
        seen=lambda: out.is_dir() and any(out.glob("*/*/*.png")),
    )
    timed = run([CHILDREN, "network", model, data, str(max(1, count // 4)), str(folder / f"timed-{count}")])
    parts = json.loads(timed.out)
    share = parts["network"] / parts["seconds"]
    return SynthesisResult(count, whole.seconds, whole.first or whole.seconds, whole.memory, share)


@dataclass(frozen=True)
class IndexResult(Result):
    """A folder of many images: seconds for the list of files and for reading every header, and bytes of memory for
    each; ``turn`` counts how often the folder was indexed: later ones may find a cache."""

    turn: int
    images: int
    index: float
    index_memory: int
    survey: float
    survey_memory: int

    def __str__(self) -> str:
        return (
            f"index {self.images:,} (time {self.turn}): list {self.index:.1f} s, "
            f"{self.index_memory / self.images:,.0f} B an image; headers {self.survey:.1f} s, "
            f"{self.survey_memory / self.images:,.0f} B"
        )


def grow_tree(root: Path, count: int) -> None:
    """A native data folder of ``count`` small images, nearly all of them links: what is timed is the bookkeeping."""
    rng = np.random.default_rng(0)
    for number in range(count):
        product, defect = f"product_{number // 2 % 5}", ("good", "scratch")[number % 2]
        folder = root / product / defect
        if number < 10:
            folder.mkdir(parents=True)
        file = folder / f"image_{number:08d}.png"
        if number % LINKS == 0:
            first = file
            Image.fromarray(rng.integers(0, 256, (32, 32), dtype=np.uint8)).save(first)
        else:
            os.link(first, file)


def indexing(count: int, folder: Path, turns: int = 2) -> list[IndexResult]:
    """Indexes a folder of ``count`` images, several times."""
    root = folder / "tree"
    grow_tree(root, count)
    return [IndexResult(turn, **json.loads(run([CHILDREN, "index", str(root)]).out)) for turn in range(1, turns + 1)]
