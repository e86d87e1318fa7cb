"""What to make: an ordered list of items, from names and file lists alone. Pure, deterministic, no torch.

The image of a given index depends on seed, index, bundle and list of sources alone. So each item draws from
hashes of (seed, product, defect, number within the category); no generator is shared between items.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from defectaug.data.sample import Category, Sample
from defectaug.errors import ConfigError

MOST = 5_000_000  # items of a plan, a GB of memory
LONGEST = 150  # bytes of a class's name in file names, of which file systems allow 255

Samples = Sequence[Sample]


@dataclass(frozen=True, slots=True)
class Item:
    """One image to make, or one real image to copy.

    Args:
        index: place in the whole plan.
        product, defect: the category it belongs to.
        source: the normal image that is painted on, None for a whole new image; for a copy the real image.
        file: path below the output folder, with forward slashes.
        seed: what the codes are drawn from; None for a copy.
        reference: real defective image that gives shape and style; None for latent codes.
    """

    index: int
    product: str
    defect: str
    source: Sample | None
    file: str
    seed: int | None = None
    reference: Sample | None = None

    @property
    def synthetic(self) -> bool:
        return self.seed is not None

    @property
    def given(self) -> Sample:
        """The source of an item that has one.

        Raises:
            ValueError: it has none.
        """
        if self.source is None:
            raise ValueError(f"{self.file}: made without a source")
        return self.source


@dataclass(frozen=True)
class Plan:
    """Items in order, and what they were drawn from.

    Args:
        items: `items[i].index == i`, but for images made in place of others.
        normals: product to the images that can be painted on; empty for whole new images.
        references: defect to real images of it; empty for latent codes.
        notes: what the user should know about the plan, a line each.
        real: the real images that are at hand, by category.
    """

    items: tuple[Item, ...]
    normals: Mapping[str, Samples]
    references: Mapping[str, Samples]
    notes: tuple[str, ...] = ()
    real: Mapping[Category, Samples] = field(default_factory=dict)

    def shard(self, number: int, count: int) -> tuple[Item, ...]:
        """Items of part `number` (from 1) of `count`: those whose index is `number - 1` modulo `count`."""
        return self.items[number - 1 :: count]


def derive_seed(*parts: object) -> int:
    """A 63-bit number that depends on every part and on nothing else."""
    text = "\x1f".join(map(str, parts))
    return int.from_bytes(hashlib.sha256(text.encode(errors="surrogatepass")).digest()[:8], "big") >> 1


def drawn(choices: Sequence[Sample], number: int, *key: object) -> Sample:
    """The `number`-th of an endless seeded sequence in which none recurs before all others were drawn."""
    round_, place = divmod(number, len(choices))
    return choices[_shuffled(len(choices), derive_seed("order", *key, round_))[place]]


@lru_cache(maxsize=256)
def _shuffled(length: int, seed: int) -> tuple[int, ...]:
    order = list(range(length))
    random.Random(seed).shuffle(order)
    return tuple(order)


def plan_categories(
    categories: Sequence[Category],
    n: int,
    seed: int,
    normals: Mapping[str, Samples],
    references: Mapping[str, Samples] | None = None,
) -> Plan:
    """`n` new images of every category, in turn.

    Args:
        categories: products and defects.
        n: images a category.
        seed: the user's seed.
        normals: product to the images that are painted on, some for any product of `categories`; empty for whole new
            images.
        references: defect to real images of it; None or empty for latent codes.
    """
    draws = _Draws(seed, normals, references or {})
    items = _new_items(dict.fromkeys(categories, n), draws, first=0, taken=set())
    return Plan(tuple(items), normals, draws.references)


def plan_balance(
    real: Mapping[Category, Samples],
    normal: str,
    n: int | None,
    seed: int,
    normals: Mapping[str, Samples],
    defects: Iterable[str],
    references: Mapping[str, Samples] | None = None,
    whole: Container[Category] | None = None,
) -> Plan:
    """All real images, and as many new ones as bring each category to `n` or to the fullest one.

    Args:
        real: the images of each category; they are copied.
        normal: name of the normal class, which is never made: such images cost nothing to take.
        n: images a category should hold, real ones included; None for the count of the fullest one.
        seed: the user's seed.
        normals: product to the images that are painted on.
        defects: the classes that the model can paint.
        references: defect to real images of it; None or empty for latent codes.
        whole: the categories of which a model makes whole images, which needs no normal ones; None for one that paints.
    """
    copies = list(_copies(real))
    paintable = set(defects) - {normal}
    goal = n if n is not None else max(map(len, real.values()))
    wanted: dict[Category, int] = {}
    notes = []
    for product in sorted({product for product, _ in real}):
        if len(real.get(Category(product, normal), ())) < goal:
            notes.append(f"{product}/{normal} stays below {goal} images: normal images are not synthesised")
        known = {defect for owner, defect in real if owner == product}
        for defect in sorted((paintable | known) - {normal}):
            category = Category(product, defect)
            missing = goal - len(real.get(category, ()))
            if missing <= 0:
                continue
            if defect not in paintable:
                notes.append(f"{category} stays as it is: the model has not learnt '{defect}'")
            elif whole is not None and category not in whole:
                notes.append(f"{category} stays as it is: the model has seen no image of it")
            elif whole is None and not normals.get(product):
                notes.append(f"{category} stays as it is: {product} has no normal image to paint on")
            else:
                wanted[category] = missing
    if not wanted:
        notes.append(
            f"nothing is made: no product and defect that can be painted has fewer than {goal} images; --n counts real "
            "ones, too, and with --product or --defect it counts new ones alone"
        )
    taken = {_stem_key(item.file) for item in copies}
    draws = _Draws(seed, normals, references or {})
    new = _new_items(wanted, draws, first=len(copies), taken=taken)
    return Plan((*copies, *new), normals, draws.references, tuple(notes))


def _copies(real: Mapping[Category, Samples]) -> Iterator[Item]:
    index = 0
    for (product, defect), samples in sorted(real.items()):
        for sample, name in zip(samples, _distinct_names(samples), strict=True):
            yield Item(index, product, defect, sample, f"{product}/{defect}/{name}")
            index += 1


def _distinct_names(samples: Sequence[Sample]) -> Iterator[str]:
    """File names that differ in their stems: the folders that a class is gathered from may share names."""
    taken: set[str] = set()
    for sample in samples:
        path = sample.path
        stem, tries = path.stem, 0
        while stem.casefold() in taken:
            longer = f"{path.parent.name}-{path.stem}"
            stem = longer if tries == 0 and len(longer) <= LONGEST // 2 else f"{path.stem}-{tries}"
            tries += 1
        taken.add(stem.casefold())
        yield f"{stem}{path.suffix}"


def _new_items(wanted: Mapping[Category, int], draws: _Draws, *, first: int, taken: set[str]) -> Iterator[Item]:
    if (count := sum(wanted.values())) > MOST:
        raise ConfigError(f"--n: {count:,} images are more than one run can plan, {MOST:,}; ask for fewer")
    for index, (category, number) in enumerate(_in_turn(wanted), start=first):
        yield draws.item(index, category, number, taken)


@dataclass(frozen=True)
class _Draws:
    """What new images are drawn from; the fields are those arguments of `plan_categories`."""

    seed: int
    normals: Mapping[str, Samples]
    references: Mapping[str, Samples]

    def item(self, index: int, category: Category, number: int, taken: set[str]) -> Item:
        """The `number`-th image of a category; `taken` are the names of others."""
        seed, normals, choices = self.seed, self.normals, self.references.get(category.defect)
        return Item(
            index,
            *category,
            source=drawn(normals[category.product], number, "source", seed, *category) if normals else None,
            file=_new_file(category, seed, number, taken),
            seed=derive_seed("item", seed, *category, number),
            reference=drawn(choices, number, "reference", seed, *category) if choices else None,
        )


def more_items(
    categories: Iterable[Category],
    numbers: Mapping[Category, int],
    seed: int,
    normals: Mapping[str, Samples],
    references: Mapping[str, Samples],
    *,
    first: int,
    real: Iterable[str],
) -> Iterator[Item]:
    """One more image of each of `categories`, in which a category may recur, after those that a run has made.

    Args:
        categories: what to make.
        numbers: category to the number of its next image.
        seed, normals, references: those of the run.
        first: index of the first image.
        real: files that hold real images.
    """
    following, draws = dict(numbers), _Draws(seed, normals, references)
    taken = set(map(_stem_key, real))
    for index, category in enumerate(categories, start=first):
        number = following.get(category, 0)
        following[category] = number + 1
        yield draws.item(index, category, number, taken)


def _in_turn(wanted: Mapping[Category, int]) -> Iterator[tuple[Category, int]]:
    """Category after category, again and again: a run cut short is then short everywhere by the same, and an index
    means the same image whatever the number of images."""
    for number in range(max(wanted.values(), default=0)):
        yield from ((category, number) for category, count in wanted.items() if number < count)


def _new_file(category: Category, seed: int, number: int, taken: set[str]) -> str:
    stem = category.defect.encode(errors="surrogatepass")[:LONGEST].decode(errors="ignore")
    file = f"{category}/{stem}-s{seed}-{number:05d}.png"
    while _stem_key(file) in taken:  # the real images may be the output of an earlier run
        file = f"{file.removesuffix('.png')}b.png"
    return file


def _stem_key(file: str) -> str:
    return file.rpartition(".")[0].casefold()
