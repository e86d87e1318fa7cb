"""`python tests/benchmarks`: measures this machine, prints a table and writes JSON."""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

# The setting that training runs with has to be there before PyTorch is (see defectaug.training.api).
import defectaug.training.api  # noqa: F401  # isort: skip
import torch

from defectaug.device import Compute, choose

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a folder, this is no package yet
from benchmarks import reference, system, training

PARTS = ("startup", "training", "synthesis", "index", "reference")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python tests/benchmarks", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="parts to run (default: all)")
    parser.add_argument("--recipes", nargs="+", default=["tiny", "small"], help="recipes to train")
    parser.add_argument("--image-size", type=int, help="other than the recipes'")
    parser.add_argument("--batch-size", type=int, help="other than the recipes'")
    parser.add_argument("--repeats", type=int, default=5, help="timings of each (the median counts)")
    parser.add_argument("--synthesise", type=int, nargs="+", default=[400, 4000], help="numbers of images to make")
    parser.add_argument("--index", type=int, default=100_000, help="images of the large folder")
    parser.add_argument("--reference", type=Path, metavar="DIR", help="a clone of clovaai/stargan-v2 to time as well")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--json", type=Path, default=Path("benchmarks.json"), metavar="FILE", help="file to write")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to try the suite; the numbers say nothing")
    return parser.parse_args(arguments)


def measure(options: argparse.Namespace, compute: Compute) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Name, line and numbers of each result, as they come."""
    quick, repeats = options.quick, 1 if options.quick else options.repeats
    if "startup" in options.only:
        taken = system.startup(repeats)
        yield "startup", f"defectaug --help: {training.spread(taken)}", asdict(taken)
    if "training" in options.only:
        for recipe in options.recipes:
            size, batch = (32, 4) if quick else (options.image_size, options.batch_size)
            made = training.benchmark(recipe, compute, repeats, size, batch, small=quick)
            yield f"training {recipe}", training_line(made), asdict(made) | {
                "images_per_second": made.images_per_second,
                "speedup": made.speedup,
                "utilisation": made.utilisation,
            }
    if "reference" in options.only and options.reference is not None:
        size, batch = (64, 2) if quick else (options.image_size or 128, options.batch_size or 8)
        against = reference.benchmark(options.reference, compute, repeats, size, batch)
        yield "reference", (
            f"stargan-v2 at {against.image_size}, batch {against.batch_size}: {against.theirs:.2f} s a step, "
            f"ablation_a {against.ours:.2f} s, {against.speedup:.1f} times as fast"
        ), asdict(against) | {"speedup": against.speedup}
    with tempfile.TemporaryDirectory() as folder:
        if "synthesis" in options.only:
            for count in [8] if quick else options.synthesise:
                painted = system.synthesis(count, Path(folder), *system.demonstration())
                yield f"synthesis {count}", (
                    f"synthesize {painted.images:,}: {painted.seconds:.1f} s, "
                    f"{painted.images_per_second:.1f} images/s, first image after {painted.first:.1f} s, "
                    f"{painted.memory / 1e6:,.0f} MB, "
                    f"network {painted.network:.0%} of the time"
                ), asdict(painted)
        if "index" in options.only:
            for turn, found in enumerate(system.indexing(200 if quick else options.index, Path(folder)), start=1):
                yield f"index {turn}", (
                    f"index {found.images:,} (time {turn}): list {found.index:.1f} s, "
                    f"{found.index_memory / found.images:,.0f} B an image; headers {found.survey:.1f} s, "
                    f"{found.survey_memory / found.images:,.0f} B"
                ), asdict(found)


def training_line(made: training.TrainingResult) -> str:
    return (
        f"train {made.recipe} at {made.image_size}, batch {made.batch_size}: {made.seconds:.3f} s a step, "
        f"{made.images_per_second:.1f} images/s, {made.speedup:.1f} times the plain step ({made.plain:.3f} s), "
        f"{made.utilisation:.0%} of {made.ceiling / 1e9:,.0f} GFLOP/s, {made.memory / 1e6:,.0f} MB"
    )


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Runs what was asked for; returns what was written."""
    options = parse(arguments)
    compute = choose(options.device, options.precision)
    machine = {
        "device": compute.describe(),
        "processor": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "quick": options.quick,
    }
    note = " (quick: the numbers say nothing)" if options.quick else ""
    print(f"{machine['device']}, torch {machine['torch']}{note}")
    results: dict[str, Any] = {"machine": machine}
    for name, line, numbers in measure(options, compute):
        print(line, flush=True)
        results[name] = numbers
        options.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    print(f"written to {options.json}", file=sys.stderr)
    return results


if __name__ == "__main__":
    main()
