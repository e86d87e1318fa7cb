"""What a user waits for beside the training: start-up, synthesis from end to end, the index of a large folder."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from .timing import HERE, Seconds, run

LINKS = 50_000  # hard links of one file: a common file system's limit is 65,000

INDEX = """
import json, resource, sys, time
from defectaug.data.index import index_folder
from defectaug.data.survey import survey
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
before, start = peak(), time.perf_counter()
index = index_folder(sys.argv[1])
indexed, held = time.perf_counter() - start, peak() - before
survey(index)
print(json.dumps([len(index), indexed, held, time.perf_counter() - start - indexed, peak() - before]))
"""

SHARE = """
import json, sys, time
import defectaug
from defectaug.bundle import load_model
model, spent = load_model(sys.argv[1], "auto"), 0.0
class Watched:
    def __getattr__(self, name):
        found = getattr(model, name)
        if name not in ("paint", "latent_codes", "reference_codes"):
            return found
        def call(*arguments):
            global spent
            start = time.perf_counter()
            made = found(*arguments)
            made = made if name != "paint" else type(made)(*(part.cpu() for part in vars(made).values()))
            spent += time.perf_counter() - start
            return made
        return call
made = defectaug.synthesize(model=Watched(), source=sys.argv[2], n=int(sys.argv[3]), product="A", out=sys.argv[4])
print(json.dumps([made.synthetic, made.seconds, spent]))
"""


@dataclass(frozen=True)
class SynthesisResult:
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


def startup(repeats: int) -> Seconds:
    """`defectaug --help`."""
    return Seconds.of([run(["-m", "defectaug", "--help"]).seconds for _ in range(repeats)])


def synthesis(count: int, folder: Path, model: Path, data: Path) -> SynthesisResult:
    """Paints ``count`` images of one category; once as a command, and once with the network timed apart."""
    out = folder / f"images-{count}"
    flags = ["--model", str(model), "--source", str(data), "--product", "A", "--defect", "scratch", "--out", str(out)]
    ran = run(
        ["-m", "defectaug", "synthesize", *flags, "--n", str(count)],
        seen=lambda: out.is_dir() and any(out.glob("*/*/*.png")),
    )
    watched = run(["-c", SHARE, str(model), str(data), str(max(1, count // 4)), str(folder / f"watched-{count}")])
    _, seconds, spent = json.loads(watched.out)
    return SynthesisResult(count, ran.seconds, ran.first or ran.seconds, ran.memory, spent / seconds)


def demonstration() -> tuple[Path, Path]:
    """The model and data that ship."""
    return HERE / "models" / "demo", HERE / "examples" / "demo" / "data"


@dataclass(frozen=True)
class IndexResult:
    """A folder of many images: seconds for the list of files and for reading every header, and bytes of memory for
    each."""

    images: int
    index: float
    index_memory: int
    survey: float
    survey_memory: int


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


def indexing(count: int, folder: Path, times: int = 2) -> list[IndexResult]:
    """Indexes a folder of ``count`` images, several times: later ones may find a cache."""
    grow_tree(folder / "tree", count)
    results = []
    for _ in range(times):
        images, index, held, survey, most = json.loads(run(["-c", INDEX, str(folder / "tree")]).out)
        results.append(IndexResult(images, index, held, survey, most))
    return results
