"""`python tests/benchmarks`: measures this machine, prints a table and writes JSON."""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from defectaug.cli.process import prepare_training

if __name__ == "__main__":  # as `defectaug train` does, before PyTorch is imported
    prepare_training()
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a folder, this is no package yet

import torch

from benchmarks import reference, system, training
from benchmarks.timing import Result
from defectaug.device import Compute, choose

PARTS = ("startup", "training", "synthesis", "index", "reference")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python tests/benchmarks", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="parts to run (default: all)")
    parser.add_argument("--recipes", nargs="+", default=["ablation_a", "paper"], help="recipes to train")
    parser.add_argument("--image-size", type=int, help="other than the recipes'")
    parser.add_argument("--batch-size", type=int, help="other than the recipes'")
    parser.add_argument("--repeats", type=int, default=5, help="timings of each (the median counts)")
    parser.add_argument("--synthesise", type=int, nargs="+", default=[400, 4000], help="numbers of images to make")
    parser.add_argument("--index", type=int, default=100_000, help="images of the large folder")
    parser.add_argument("--reference", type=Path, metavar="DIR", help="a clone of clovaai/stargan-v2 to time as well")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--json", type=Path, default=Path("benchmarks.json"), metavar="FILE", help="file to write")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to try the suite; the numbers mean nothing")
    return parser.parse_args(arguments)


def measure(options: argparse.Namespace, compute: Compute) -> Iterator[tuple[str, Result]]:
    """Name and numbers of each result, as they come."""
    quick, repeats = options.quick, 1 if options.quick else options.repeats
    if "startup" in options.only:
        yield "startup", system.startup(repeats)
    if "training" in options.only:
        size, batch = (32, 4) if quick else (options.image_size, options.batch_size)
        for recipe in options.recipes:
            yield f"training {recipe}", training.benchmark(recipe, compute, repeats, size, batch, small=quick)
    if "reference" in options.only and options.reference is not None:
        size, batch = (64, 2) if quick else (options.image_size or 128, options.batch_size or 8)
        yield "reference", reference.benchmark(options.reference, compute, repeats, size, batch)
    with tempfile.TemporaryDirectory() as folder:
        if "synthesis" in options.only:
            for count in [8] if quick else options.synthesise:
                yield f"synthesis {count}", system.synthesis(count, Path(folder))
        if "index" in options.only:
            for turn, result in enumerate(system.indexing(200 if quick else options.index, Path(folder)), start=1):
                yield f"index {turn}", result


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
    note = " (quick: the numbers mean nothing)" if options.quick else ""
    print(f"{machine['device']}, torch {machine['torch']}{note}")
    results: dict[str, Any] = {"machine": machine}
    for name, result in measure(options, compute):
        print(result, flush=True)
        results[name] = result.numbers()
        options.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    print(f"written to {options.json}", file=sys.stderr)
    return results


if __name__ == "__main__":
    main()
