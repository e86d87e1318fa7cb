"""Does it pay to make twice as many images as are needed, and to keep the better half?

    defectaug synthesize --balance --n 160 --keep all --out OUT
    python examples/halves.py OUT
    defectaug evaluate DATA OUT-better OUT-random OUT-worse --test TEST --only study

For every product and defect of OUT, the half of the synthetic images with the highest score of the acceptance test goes
to OUT-better, the other one to OUT-worse, and a random half (--seed) to OUT-random, each with its manifest; real images
are left out. The folders must not be there. Images are linked where the file system can, else copied.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
from collections import defaultdict
from pathlib import Path
from typing import Any

from defectaug.io.manifest import NAME, read_lines, write_lines

Lines = list[dict[str, Any]]


def halves(lines: Lines, seed: int = 0) -> dict[str, Lines]:
    """The synthetic lines of a manifest by half: each of ``better``, ``random`` and ``worse`` has as many of a
    category."""
    found: dict[str, Lines] = {"better": [], "random": [], "worse": []}
    categories: dict[tuple[str, str], Lines] = defaultdict(list)
    for line in lines:
        if line["synthetic"]:
            categories[line["product"], line["defect"]].append(line)
    rng = random.Random(seed)
    for some in categories.values():
        count = len(some) // 2
        by_score = sorted(some, key=lambda line: line["score"], reverse=True)
        found["better"] += by_score[:count]
        found["random"] += rng.sample(some, count)
        found["worse"] += by_score[len(some) - count :]
    return found


def write(folder: Path, target: Path, lines: Lines) -> None:
    """The images of some lines of a folder's manifest, in a folder of their own."""
    target.mkdir()
    for line in lines:
        file = target / line["file"]
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(folder / line["file"], file)
        except OSError:
            shutil.copy2(folder / line["file"], file)
    write_lines(target / NAME, lines)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="what synthesize has left")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(arguments)
    lines = read_lines(args.folder / NAME)
    if not any(line["synthetic"] for line in lines):
        parser.error(f"{args.folder}: holds no synthetic images with a {NAME}")
    for name, some in halves(lines, args.seed).items():
        target = args.folder.with_name(f"{args.folder.name}-{name}")
        write(args.folder, target, some)
        mean = sum(line["score"] for line in some) / len(some)
        print(f"{target}: {len(some)} images, mean score {mean:.2f}")


if __name__ == "__main__":
    main()
