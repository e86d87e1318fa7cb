"""The index of a data folder: every image with its product and defect, after the class map."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from defectaug.data.class_map import MAP_NAME, ClassMap, read_class_map
from defectaug.data.layouts import Hints, find_layout, sounds_normal
from defectaug.data.sample import Category, Sample
from defectaug.errors import ConfigError, DataError, nearest
from defectaug.io.files import expanded, nfc
from defectaug.io.progress import Log


@dataclass(frozen=True)
class DataIndex:
    """The images of a data folder and the classes they belong to.

    Args:
        root: the data folder.
        layout: name of the layout it has.
        normal: name of the normal class.
        samples: all images, sorted by product, defect and path.
        products: all products, sorted.
        defects: all class names, the normal one first, the rest sorted.
        classes: the class map that was applied.
        guessed: name of a folder that was taken for the normal class though nobody named it so; None as a rule.
    """

    root: Path
    layout: str
    normal: str
    samples: tuple[Sample, ...]
    products: tuple[str, ...]
    defects: tuple[str, ...]
    classes: ClassMap = field(default_factory=ClassMap)
    guessed: str | None = None

    def __len__(self) -> int:
        return len(self.samples)

    @cached_property
    def _categories(self) -> dict[Category, tuple[Sample, ...]]:
        samples: dict[Category, list[Sample]] = {Category(p, d): [] for p in self.products for d in self.defects}
        for sample in self.samples:
            samples[sample.category].append(sample)
        return {category: tuple(found) for category, found in samples.items()}

    def category(self, product: str, defect: str) -> tuple[Sample, ...]:
        """The images of one product and defect, in the order of `samples`; empty where there are none."""
        return self._categories.get(Category(product, defect), ())

    def counts(self) -> dict[Category, int]:
        """Images per category, zero for empty ones."""
        return {category: len(samples) for category, samples in self._categories.items()}

    def describe(self) -> str:
        """One line, such as "MVTec AD layout: 3 products, 7 defects, 1,204 images"."""
        sizes = {"product": len(self.products), "defect": len(self.defects) - 1, "image": len(self.samples)}
        listed = (f"{count:,} {noun}{'s' * (count != 1)}" for noun, count in sizes.items())
        guessed = f"; '{self.guessed}' is taken for the normal class (--normal names another)" if self.guessed else ""
        return f"{self.layout} layout: {', '.join(listed)}{guessed}"

    def where(self, keep: Callable[[Sample], bool]) -> DataIndex:
        """The index of the samples to keep. Products and defects stay as they are, so that labels do too."""
        return replace(self, samples=tuple(sample for sample in self.samples if keep(sample)))

    def without_empty(self) -> DataIndex:
        """The index without the products and defects that have no image left."""
        products, defects = ({getattr(sample, name) for sample in self.samples} for name in ("product", "defect"))
        return replace(
            self,
            products=tuple(name for name in self.products if name in products),
            defects=(self.normal, *(name for name in self.defects[1:] if name in defects)),
        )

    def only(self, *splits: str) -> DataIndex:
        """The samples of these splits."""
        return self.where(lambda sample: sample.split in splits)

    def training(self) -> DataIndex:
        """The samples that training may see: those of split "train", and those of no split."""
        return self.where(lambda sample: sample.split in (None, "train"))


def index_folder(
    root: str | Path,
    *,
    class_map: str | Path | ClassMap | None = None,
    normal: str | None = None,
    product: str | None = None,
    require_defects: bool = True,
) -> DataIndex:
    """Finds out the layout of a data folder and lists its images. Opens no image of plain trees.

    Args:
        root: the data folder.
        class_map: a map or its file; without one, ROOT/defectaug.yaml is used where it exists.
        normal: name of the normal class's folder; beats the map's.
        product: the product's name where no folder names it.
        require_defects: whether a folder of normal images alone is an error.

    Raises:
        DataError: the folder is missing, empty, of no known layout, or without normal or defect images.
        ConfigError: the class map or the name of the normal class does not fit the data.
    """
    root = expanded(root)
    if not root.is_dir():
        raise DataError(f"{root}: {'is a file, not a folder' if root.exists() else 'no such folder'}")
    classes = _load_map(root, class_map)
    wanted = normal or classes.normal
    hints = Hints(wanted, product)
    layout = find_layout(root, hints)
    found = [
        replace(sample, product=nfc(sample.product), defect=nfc(sample.defect)) for sample in layout.read(root, hints)
    ]
    if not found:
        raise DataError(f"{root}: {layout.name} layout, but no images in it")
    for name in sorted({name for sample in found for name in (sample.product, sample.defect)}):
        if "\\" in name and classes.product(name) == classes.defect(name) == name:
            raise DataError(f"{root}: the folder name {name!r} holds a backslash; rename it, or map it to another")
    if product is not None and nfc(product) not in (named := sorted({sample.product for sample in found})):
        raise ConfigError(
            f"--product {product}: the folders of {root} name the products themselves ({', '.join(named)}); leave "
            "it out, or rename them in a class map"
        )
    guess = None if wanted else likely_normal(root, found, hints, classes)
    if guess is not None:
        index = index_folder(
            root, class_map=classes, normal=guess, product=product, require_defects=require_defects
        )
        return replace(index, guessed=guess)
    classes.check_names((sample.product for sample in found), (sample.defect for sample in found))
    origin = "--normal" if normal else classes.origin
    samples, name = _name_classes(root, found, classes, hints, origin)
    defects = sorted({sample.defect for sample in samples} - {name})
    if require_defects and not defects:
        raise DataError(f"{root}: only normal images ('{name}'), no defect class to learn from")
    return DataIndex(
        root=root,
        layout=layout.name,
        normal=name,
        samples=samples,
        products=tuple(sorted({sample.product for sample in samples})),
        defects=(name, *defects),
        classes=classes,
    )


def only_product(named: Iterable[str], folder: Path, products: Sequence[str]) -> str | None:
    """The one product of a data folder, where that is what a further folder shows, too: its own folders name defects
    alone, so that its images go by its own name.

    Args:
        named: products of the further folder.
        folder: that folder.
        products: of the data folder.
    """
    names = set(named)
    if len(products) != 1 or names <= set(products) or names != {nfc(folder.resolve().name)}:
        return None
    return products[0]


def alike(further: DataIndex, index: DataIndex, log: Log) -> DataIndex:
    """A further folder of a data folder's kind, under the only product of that where its own folders name none."""
    product = only_product(further.products, further.root, index.products)
    if product is None:
        return further
    log(f"{further.root}: no folder names the product; taken for '{product}'")
    samples = tuple(replace(sample, product=product) for sample in further.samples)
    return replace(further, samples=samples, products=(product,))


def likely_normal(root: Path, found: Iterable[Sample], hints: Hints, classes: ClassMap) -> str | None:
    """The only folder that can be the normal class by its name, such as "ok_front", where none is it; else None."""
    if any(hints.is_normal(classes.defect(sample.defect) or sample.defect) for sample in found):
        return None
    folders = {nfc(part) for sample in found for part in sample.path.relative_to(root).parts[:-1]}
    candidates = [name for name in folders if sounds_normal(name)]
    return candidates[0] if len(candidates) == 1 else None


def _load_map(root: Path, class_map: str | Path | ClassMap | None) -> ClassMap:
    if isinstance(class_map, ClassMap):
        return class_map
    if class_map is not None:
        return read_class_map(expanded(class_map))
    beside = root / MAP_NAME
    return read_class_map(beside) if beside.is_file() else ClassMap()


def _name_classes(
    root: Path, found: list[Sample], classes: ClassMap, hints: Hints, origin: str
) -> tuple[tuple[Sample, ...], str]:
    """The samples under their mapped names, sorted, and the name of the normal class."""
    mapped = {folder: classes.defect(folder) for folder in sorted({sample.defect for sample in found})}
    normals = {old for old, new in mapped.items() if hints.is_normal(old) or (new and hints.is_normal(new))}
    if hints.normal is not None and not normals:
        advice = nearest(hints.normal, mapped)
        raise ConfigError(f"{origin}: no class named '{hints.normal}' in {root}; {advice}")
    if not normals:
        listed = ", ".join(mapped)
        raise DataError(f"{root}: no normal class among the folders {listed}; name it with --normal NAME")
    name = _normal_name({new for folder in normals if (new := mapped[folder]) is not None})
    if name is None:
        raise ConfigError(f"{classes.origin}: drops the normal class '{min(normals)}', which the model needs")
    samples = [
        replace(sample, product=product, defect=name if sample.defect in normals else defect)
        for sample in found
        if (product := classes.product(sample.product)) and (defect := mapped[sample.defect])
    ]
    if not samples:
        raise ConfigError(f"{classes.origin}: drops every image of {root}")
    if all(sample.defect != name for sample in samples):
        raise DataError(f"{root}: no image of the normal class '{name}' is left after the class map")
    return tuple(sorted(samples, key=_place)), name


def _place(sample: Sample) -> tuple[str, str, list[str]]:
    """The order of samples: the same whichever way a file system writes accents, or compares names."""
    return sample.product, sample.defect, [nfc(part) for part in sample.path.parts]


def _normal_name(names: Iterable[str]) -> str | None:
    """The normal class's name: the user's own where all products agree, else "normal"."""
    names = set(names)
    return names.pop() if len(names) == 1 else "normal" if names else None
