"""From the user's settings to a plan: which categories, which sources, which references. No torch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from defectaug.data.sample import Category
from defectaug.errors import ConfigError, DataError
from defectaug.io.progress import Log
from defectaug.synthesis import sources
from defectaug.synthesis.plan import Plan, plan_balance, plan_categories
from defectaug.synthesis.settings import SynthesisSettings
from defectaug.synthesis.sources import Samples

if TYPE_CHECKING:
    from defectaug.methods.base import BundleInfo

DEFAULT_COUNT = 100


def make_plan(info: BundleInfo, asked: SynthesisSettings, log: Log) -> tuple[Path | None, Plan]:
    """The folder that images are taken from, None for none, and the items to make. Opens file headers alone.

    Errors as of :func:`defectaug.synthesis.api.synthesize`.
    """
    root, plan = (_painting_plan if info.sources else _whole_plan)(info, asked, log)
    for note in plan.notes:
        log(note)
    return root, plan


def _whole_plan(info: BundleInfo, asked: SynthesisSettings, log: Log) -> tuple[Path | None, Plan]:
    """Of whole images from noise: only what the training images showed can be made, and real images are read only to
    be copied."""
    if asked.reference is not None:
        info.check_references(f"--reference {asked.reference}")
    if asked.masks:
        option = f"--export {asked.export}" if asked.export else "--report" if asked.report else "--masks"
        raise ConfigError(f"{option}: model {info.name} makes whole images and knows no masks of them; leave it out")
    region = None if asked.control.region == "auto" else f"--region {asked.control.region}"
    if wish := asked.control.wish or region:
        raise ConfigError(f"{wish}: model {info.name} makes whole images and places no defects on them; leave it out")
    defect = None if asked.defect is None else _known_defect(asked.defect, info)
    product = asked.product
    if product is not None:
        product = sources.known_name("--product", product, info.products, f"model {info.name}")
    known = [category for category in info.categories if category.defect != info.normal]
    wanted = [one for one in known if product in (None, one.product) and defect in (None, one.defect)]
    if not wanted:
        raise ConfigError(
            f"--product {product} --defect {defect}: model {info.name} has seen no image of it, and makes whole images "
            f"of what it has seen: {', '.join(map(str, known))}"
        )
    if not asked.balance:
        if asked.source is not None:
            log(f"--source {asked.source}: not used, model {info.name} makes whole images")
        return None, plan_categories(wanted, asked.n or DEFAULT_COUNT, asked.seed, {})
    root, samples = sources.find_samples(info, asked, log)
    copied = {
        category: sources.usable(images, log)
        for category, images in sources.by_category(samples).items()
        if product in (None, category.product) and (defect is None or category.defect in (defect, info.normal))
    }
    return root, plan_balance(copied, info.normal, asked.n, asked.seed, {}, info.defects, whole=wanted)


def _painting_plan(info: BundleInfo, asked: SynthesisSettings, log: Log) -> tuple[Path, Plan]:
    """Of new defects on normal images."""
    defect = None if asked.defect is None else _known_defect(asked.defect, info)
    root, samples = sources.find_samples(info, asked, log)
    found = sources.by_category(samples)
    if asked.product is not None:
        product = _known_product(asked.product, info, {category.product for category in found}, root)
        found = {category: images for category, images in found.items() if category.product == product}
    if asked.balance and defect is not None:
        found = {category: images for category, images in found.items() if category.defect in (defect, info.normal)}
    normals = {
        category.product: sources.usable(images, log, info)
        for category, images in found.items()
        if category.defect == info.normal
    }
    defects = [defect] if defect is not None else [name for name in info.defects if name != info.normal]
    references = _references(info, asked, defects, defect, log)
    if asked.balance:
        copied = {category: sources.usable(images, log) for category, images in found.items()}
        plan = plan_balance(copied, info.normal, asked.n, asked.seed, normals, defects, references)
    else:
        wanted = [Category(product, name) for product in sorted(normals) for name in defects]
        if not wanted:
            raise DataError(f"--source {root}: no normal images of {asked.product or 'any product'} to paint on")
        plan = plan_categories(wanted, asked.n or DEFAULT_COUNT, asked.seed, normals, references)
    for product in sorted({item.product for item in plan.items if item.synthetic} - set(info.products)):
        log(f"{product} is new to model {info.name}: it paints what it has learnt on {', '.join(info.products)}")
    return root, replace(plan, real=found)


def _references(
    info: BundleInfo, asked: SynthesisSettings, defects: list[str], defect: str | None, log: Log
) -> dict[str, Samples]:
    """References by defect; empty for latent codes."""
    if asked.reference is None:
        return {}
    references = sources.find_references(Path(asked.reference), info, defect, asked.class_map, log)
    if missing := [name for name in defects if name not in references]:
        raise DataError(
            f"--reference {asked.reference}: no image of {', '.join(missing)}; name one --defect, or add some"
        )
    return references


def _known_defect(name: str, info: BundleInfo) -> str:
    known = [defect for defect in info.defects if defect != info.normal]
    if name == info.normal:
        raise ConfigError(f"--defect {name}: normal images are not synthesised; known: {', '.join(known)}")
    return sources.known_name("--defect", name, known, f"model {info.name}")


def _known_product(name: str, info: BundleInfo, there: set[str], root: Path) -> str:
    known = sorted({*info.products, *there})
    name = sources.known_name("--product", name, known, f"model {info.name} or {root}")
    if name not in there:
        raise DataError(f"--source {root}: no images of product {name} (there: {', '.join(sorted(there))})")
    return name
