"""From the user's options to a plan: which cells, which sources, which references. No torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from defectaug.errors import ConfigError, DataError
from defectaug.io.files import expanded, real
from defectaug.synthesis import sources
from defectaug.synthesis.plan import Plan, plan_balance, plan_cells

if TYPE_CHECKING:
    from defectaug.data.class_map import ClassMap
    from defectaug.methods.base import BundleInfo

DEFAULT_COUNT = 100
Say = Callable[[str], None]


def make_plan(
    info: BundleInfo,
    *,
    source: Path | None,
    product: str | None,
    defect: str | None,
    n: int | None,
    balance: bool,
    reference: Path | None,
    seed: int,
    class_map: str | Path | ClassMap | None,
    normal: str | None,
    say: Say,
) -> tuple[Path, Plan]:
    """The source folder and the items to make. Opens file headers alone.

    Arguments and errors as of :func:`defectaug.synthesis.api.synthesize`.
    """
    defect = None if defect is None else _known_defect(defect, info)
    root, samples = sources.find_samples(
        info, source, class_map=class_map, normal=normal, product=product, say=say
    )
    cells = sources.by_cell(samples)
    if product is not None:
        product = _known_product(product, info, {owner for owner, _ in cells}, root)
        cells = {cell: found for cell, found in cells.items() if cell[0] == product}
    if balance and defect is not None:
        cells = {cell: found for cell, found in cells.items() if cell[1] in (defect, info.normal)}
    side = info.image_size if info.framing == "whole" else None
    normals = {
        owner: sources.usable(found, say, side=side)
        for owner, found in sources.normals_by_product(cells, info.normal).items()
    }
    defects = [defect] if defect is not None else [name for name in info.defects if name != info.normal]
    references = None if reference is None else sources.find_references(reference, info, defect)
    if references is not None and (missing := [name for name in defects if name not in references]):
        raise DataError(
            f"--reference {reference}: no image of {', '.join(missing)}; name one --defect, or add some"
        )
    if balance:
        real = {cell: sources.usable(found, say) for cell, found in cells.items()}
        plan = plan_balance(
            real, normal=info.normal, n=n, seed=seed, normals=normals, defects=defects, references=references
        )
    else:
        wanted = [(owner, name) for owner in sorted(normals) for name in defects]
        if not wanted:
            raise DataError(f"--source {root}: no normal images of {product or 'any product'} to paint on")
        plan = plan_cells(wanted, n or DEFAULT_COUNT, seed=seed, normals=normals, references=references)
    for note in plan.notes:
        say(note)
    for owner in sorted({item.product for item in plan.items if item.synthetic} - set(info.products)):
        say(
            f"{owner} is new to model {info.name}: it paints what it has learnt on {', '.join(info.products)}"
        )
    return root, plan


def _known_defect(name: str, info: BundleInfo) -> str:
    known = [defect for defect in info.defects if defect != info.normal]
    if name == info.normal:
        raise ConfigError(f"--defect {name}: normal images are not synthesised; known: {', '.join(known)}")
    return sources.known_name("--defect", name, known, f"model {info.name}")


def _known_product(name: str, info: BundleInfo, there: set[str], root: Path) -> str:
    name = sources.known_name(
        "--product", name, sorted({*info.products, *there}), f"model {info.name} or {root}"
    )
    if name not in there:
        raise DataError(f"--source {root}: no images of product {name} (there: {', '.join(sorted(there))})")
    return name


def output_folder(out: str | Path | None, info: BundleInfo, words: Sequence[str | None], seed: int) -> Path:
    """The folder that was named, or one below `out` named after the model and what is made."""
    if out is not None:
        path = expanded(out)
        return real(path) if path.name in ("", "..") else path
    parts = [info.name, *words, f"seed{seed}" if seed else None]
    return Path("out") / "-".join(part for part in parts if part)
