"""Do `--strength`, `--size`, `--max-defects` and `--region auto` do what they say? Measured in the files on disk.

    python examples/wishes.py MODEL SOURCE --out OUT
    python examples/wishes.py MODEL SOURCE --out OUT --products PRODUCTS --n 500

Without PRODUCTS, images of every product and defect of the model are made as they are, at half and twice the contrast,
at half and twice the sides, and with up to three defects, of the same seeds, and compared with those made as they are:

    contrast     mean change of a source's pixels, in the greatest channel, within the mask of the image made as it is
    with room    the same, of those pixels alone that could change twice as much before they are black or white
    area         of the mask
    parts        connected parts of the mask, as it is and of several defects; a defect may have several
    overlapping  share of images on which a further defect changes what the first one has changed

The factors are medians, with quartiles, over the images that show a defect in both.

With PRODUCTS, which holds true masks of the products (PRODUCTS/<path below SOURCE>.png, 255 = product; by
examples/product_masks.py, say), images are made with `--region auto` and `none`, and those are counted whose mask
reaches further beyond the product than a hundredth of the image's longer side. Products without masks fill theirs,
and are left out. Every image is made with `--keep all`.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

import defectaug
from defectaug.io.images import read_image
from defectaug.io.manifest import NAME, read_lines
from defectaug.io.masks import magnitude, mask_folder, read_mask
from defectaug.io.regions import regions

Bools = NDArray[np.bool_]
WISHES: Mapping[str, Mapping[str, Any]] = {
    "plain": {},
    "fainter": {"strength": "0.5:0.5"},
    "stronger": {"strength": "2:2"},
    "smaller": {"size": "0.5:0.5"},
    "larger": {"size": "2:2"},
    "several": {"max_defects": 3},
}
REGIONS: Mapping[str, Mapping[str, Any]] = {"auto": {"region": "auto"}, "none": {"region": "none"}}
WISHED = ("category", "images", "contrast at 0.5", "at 2", "with room", "area at 0.5", "at 2", "parts", "overlapping")
SLACK = 0.01  # of the image's longer side, by which a mask may reach beyond the product
Row = Sequence[str]


class Made:
    """One image on disk.

    Args:
        out: the folder that it is in.
        line: of the manifest.
    """

    def __init__(self, out: Path, line: Mapping[str, Any]) -> None:
        self.category, self.source = f"{line['product']}/{line['defect']}", Path(line["source"])
        self.mask = read_mask(mask_folder(out) / Path(line["file"]).with_suffix(".png"))
        source, image = read_image(self.source), read_image(out / line["file"])
        before, white = source.pixels.astype(np.float32), source.white
        added = image.pixels.astype(np.float32) - before
        self.change = magnitude(added)
        twice = before + 2 * added
        self.room = ((twice > 0) & (twice < white)).reshape(*self.mask.shape, -1).all(axis=2)


Pair = tuple[Made, Made]


def contrast(plain: Made, other: Made, where: Bools | None = None) -> float:
    """Change within the mask of the plain image, as a factor; nan where there is none."""
    there = plain.mask if where is None else plain.mask & where
    return float(other.change[there].sum() / plain.change[there].sum()) if plain.change[there].any() else np.nan


def area(plain: Made, other: Made) -> float:
    """Area of the mask, as a factor."""
    return float(other.mask.sum() / plain.mask.sum())


def overlaps(plain: Made, other: Made) -> bool:
    """Whether what the first defect has changed was changed again."""
    return bool((plain.change != other.change)[plain.change > 0].any())


def quartiles(measure: Callable[[Made, Made], float], pairs: Sequence[Pair]) -> str:
    """Median, and quartiles behind it; a dash where there is nothing."""
    values = [measure(*pair) for pair in pairs if all(one.mask.any() for one in pair)]
    there = [value for value in values if np.isfinite(value)]
    return "-" if not there else "{1:.2f} ({0:.2f} to {2:.2f})".format(*np.quantile(there, [0.25, 0.5, 0.75]))


def wished(category: str, runs: Mapping[str, Sequence[Made]]) -> Row:
    """What wishes have come to, in one category."""
    pairs = {name: list(zip(runs["plain"], images, strict=True)) for name, images in runs.items()}
    factors = [
        quartiles(contrast, pairs["fainter"]),
        quartiles(contrast, pairs["stronger"]),
        quartiles(lambda plain, other: contrast(plain, other, plain.room), pairs["stronger"]),
        quartiles(area, pairs["smaller"]),
        quartiles(area, pairs["larger"]),
    ]
    parts = [np.mean([len(regions(one.mask)) for one in runs[name]]) for name in ("plain", "several")]
    overlapping = np.mean([overlaps(*pair) for pair in pairs["several"]])
    return category, str(len(runs["plain"])), *factors, f"{parts[0]:.1f}, {parts[1]:.1f}", f"{overlapping:.2f}"


def outside(category: str, runs: Mapping[str, Sequence[Made]], product: Callable[[Made], Path]) -> Row:
    """How many images have defects beyond the product, by region."""
    counts = [sum(reaches_out(one, product(one)) for one in images) for images in runs.values()]
    return category, *(f"{count} of {len(images)}" for count, images in zip(counts, runs.values(), strict=True))


def reaches_out(one: Made, product: Path) -> bool:
    """Whether a mask reaches beyond the product."""
    there = read_mask(product)
    slack = max(1, round(SLACK * max(there.shape)))
    return bool((ndimage.distance_transform_edt(~there)[one.mask] > slack).any())


def by_category(images: Sequence[Made]) -> Mapping[str, list[Made]]:
    """Images by product and defect."""
    found = defaultdict(list)
    for one in images:
        found[one.category].append(one)
    return dict(sorted(found.items()))


def table(head: Row, rows: Iterable[Row]) -> str:
    """In Markdown."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("source", type=Path, help="the normal images of this folder are painted on")
    parser.add_argument("--out", type=Path, required=True, help="a new folder")
    parser.add_argument("--n", type=int, default=40, help="images of each product and defect")
    parser.add_argument("--products", type=Path, help="true masks of the products")
    args = parser.parse_args(arguments)
    model, source = defectaug.load_model(args.model), args.source.resolve()
    products = model.info.products
    if args.products is not None:
        products = tuple(name for name in products if any(args.products.glob(f"**/{name}/**/*.png")))

    def synthesized(name: str, wish: Mapping[str, Any]) -> Mapping[str, list[Made]]:
        found = []
        for product in products:
            out = args.out / f"{product}-{name}"
            common = {"model": model, "source": source, "product": product, "n": args.n, "keep": "all", "masks": True}
            defectaug.synthesize(**common, out=out, **wish)
            found += [Made(out, line) for line in read_lines(out / NAME)]
        return by_category(found)

    runs = {name: synthesized(name, wish) for name, wish in (REGIONS if args.products else WISHES).items()}
    by = {category: {name: found[category] for name, found in runs.items()} for category in next(iter(runs.values()))}
    if args.products is None:
        print(table(WISHED, (wished(category, found) for category, found in by.items())))
        return
    where = lambda one: args.products / one.source.resolve().relative_to(source).with_suffix(".png")  # noqa: E731
    print(table(("category", *REGIONS), (outside(category, found, where) for category, found in by.items())))


if __name__ == "__main__":
    main()
