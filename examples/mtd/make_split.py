"""Split Magnetic Tile Defects into training and test images that share no tile.

    python examples/mtd/make_split.py MTD OUT [--seed 0]

The same tile is there under about six exposures, and now and then under two labels: a blowhole that one
exposure does not show counts as free. Exposures of a tile, found by the numbers in the file names and by the
similarity of the images, go to one side together, whatever their labels.

Written are OUT/train/tile/{normal,scratch,spot}/*.jpg, copies of the originals, and the masks of the
defective ones in OUT/train.masks/tile/{scratch,spot}/*.png (255 = defect); the same of OUT/test.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from defectaug.data.index import DataIndex, index_folder
from defectaug.data.near_duplicates import near_duplicate_groups
from defectaug.data.splits import split
from defectaug.errors import DataError, DefectaugError, OutputError
from defectaug.io.atomic import write_atomic
from defectaug.io.masks import read_mask, write_mask

CLASS_MAP = Path(__file__).with_name("mtd.yaml")
FRACTIONS = {"train": 0.7, "test": 0.3}


def tiles(index: DataIndex) -> list[int]:
    """Number of its tile for every sample, in the order of `index.samples`; labels are not looked at."""
    relabelled = tuple(replace(sample, defect=index.normal) for sample in index.samples)
    return near_duplicate_groups(replace(index, samples=relabelled))


def split_tiles(index: DataIndex, groups: Sequence[int], seed: int = 0) -> DataIndex:
    """The index with split "train" or "test" of every sample; tiles stay whole.

    A tile of several labels is dealt with those of its rarest one, so that every class gets its share.

    Raises:
        DataError: a class has a single tile, so that it cannot be on both sides.
    """
    images = Counter(sample.defect for sample in index.samples)
    tile_of = dict(zip(index.samples, groups, strict=True))
    labels: dict[int, set[str]] = defaultdict(set)
    for sample, tile in tile_of.items():
        labels[tile].add(sample.defect)
    rarest = {tile: min(found, key=lambda label: (images[label], label)) for tile, found in labels.items()}
    dealt = index.where(lambda sample: sample.defect == rarest[tile_of[sample]])
    halves = split(dealt, FRACTIONS, seed, groups=[tile_of[sample] for sample in dealt.samples])
    side = {tile_of[replace(sample, split=None)]: sample.split for sample in halves.samples}
    samples = tuple(replace(sample, split=side[tile_of[sample]]) for sample in index.samples)
    for defect in index.defects:
        if {sample.split for sample in samples if sample.defect == defect} != set(FRACTIONS):
            raise DataError(f"{index.root}: {defect} has too few tiles for both sides of a split")
    return replace(index, samples=samples)


def write(index: DataIndex, out: Path) -> None:
    """Copies images and masks to OUT/<split>/<product>/<class> and OUT/<split>.masks/<product>/<class>.

    Raises:
        DataError: a file cannot be read, or a defective image has no mask.
        OutputError: `out` is not empty, or cannot be written.
    """
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise OutputError(f"{out}: is there already and not an empty folder; name another one")
    for sample in index.samples:
        category = Path(sample.product, sample.defect)
        _copy(sample.path, out / f"{sample.split}" / category / sample.path.name)
        if sample.defect == index.normal:
            continue
        if sample.mask is None:
            raise DataError(f"{sample.path}: no mask; MTD has it as PNG beside the image")
        # MTD's masks are blurred by compression: written anew, they are what every reader takes them for
        write_mask(out / f"{sample.split}.masks" / category / f"{sample.path.stem}.png", read_mask(sample.mask))


def _copy(source: Path, target: Path) -> None:
    try:
        content = source.read_bytes()
    except OSError as error:
        raise DataError(f"{source}: cannot be read ({error.strerror})") from error
    write_atomic(target, lambda file: file.write(content))


def describe(index: DataIndex, groups: Sequence[int]) -> str:
    """A table: images and tiles of every class on either side."""
    lines = [f"{'class':10}" + "".join(f"{side:>8} images{side:>8} tiles" for side in FRACTIONS)]
    for defect in index.defects:
        line = f"{defect:10}"
        for side in FRACTIONS:
            found = [
                group
                for sample, group in zip(index.samples, groups, strict=True)
                if (sample.defect, sample.split) == (defect, side)
            ]
            line += f"{len(found):>15}{len(set(found)):>14}"
        lines.append(line)
    return "\n".join(lines)


def main() -> None:
    """Parse, group, split, write, print; exit code 2 and a line that says why where it cannot be done."""
    parser = argparse.ArgumentParser(description="Split MTD so that no tile is on both sides.")
    parser.add_argument("mtd", type=Path, help="folder with MT_Free/Imgs, MT_Crack/Imgs, ...")
    parser.add_argument("out", type=Path, help="folder to write, not there yet or empty")
    parser.add_argument("--seed", type=int, default=0, help="which tiles go where (default: 0)")
    options = parser.parse_args()
    if options.seed < 0:
        parser.error(f"--seed {options.seed}: must be 0 or more")
    try:
        index = index_folder(options.mtd, class_map=CLASS_MAP)
        groups = tiles(index)
        index = split_tiles(index, groups, options.seed)
        write(index, options.out)
    except DefectaugError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from error
    print(describe(index, groups))


if __name__ == "__main__":
    main()
