"""`defectaug.DefectAugment`: paints defects on normal images within a training loop."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import get_worker_info
from torchvision import tv_tensors

from defectaug.bundle import find_bundle, load_model, read_config
from defectaug.data.regions import Surroundings
from defectaug.errors import ConfigError, DataError
from defectaug.io.images import NativeImage, quantise
from defectaug.io.masks import VISIBLE, read_mask
from defectaug.methods.base import SourceFeatures
from defectaug.methods.inference import painting
from defectaug.methods.native import Change, Floats, compose, seen_size, stack, to_numpy, view_of
from defectaug.methods.placement import Placement, paint_placed, seen_in, variety_of
from defectaug.synthesis.control.aim import drawn_window
from defectaug.synthesis.control.options import Control, Factors
from defectaug.synthesis.control.parts import apart_from, joined, kinds_of, own_factors
from defectaug.synthesis.control.regions import resized_mask, seen_region, surroundings_of
from defectaug.synthesis.plan import derive_seed
from defectaug.synthesis.render import confined
from defectaug.synthesis.settings import SynthesisSettings
from defectaug.synthesis.sources import by_category, find_samples, known_name

if TYPE_CHECKING:
    from defectaug.methods.base import BundleInfo, DefectModel, NativeChange

MOST_TRIES = 5  # of codes that show nothing, or another defect, before an image stays normal
_SEEDS = 1 << 62
Bools = NDArray[np.bool_]
logger = logging.getLogger("defectaug")


class Augmented(NamedTuple):
    """What becomes of a normal image.

    Attributes:
        image: of the type, shape and depth that came in.
        label: number of its class in `DefectAugment.classes`; 0, the normal class, where nothing was painted.
        mask: (H, W), where the defect is: bool for arrays, else `torchvision.tv_tensors.Mask` of 0 and 1.
    """

    image: Any
    label: int
    mask: Any


class DefectAugment:
    """Turns normal images into defective ones with a probability: `image, label, mask = augment(image)`.

    Takes arrays (H, W) or (H, W, 3) of uint8 or uint16, PIL images, and tensors (C, H, W) of uint8 or float in [0, 1].
    It can stand in `torchvision.transforms.v2.Compose`, where what follows treats image and mask alike. What is drawn
    depends on `seed` and on the order of calls; in a worker of a `DataLoader` also on that worker's seed, so that
    workers and epochs differ, and `torch.manual_seed` makes them come again. The model is loaded on first use, in each
    process: a pickle carries its folder alone.

    Args:
        model: folder or name of a model; None for the only or newest one under `./models`.
        p: probability of a defect.
        product: product that the images show, where a call does not say; None where the model knows one product
            alone, or to leave it open.
        defects: names of the defects to paint, one as likely as another; None for all that the model knows.
        region: where a defect may lie: "none" anywhere, "auto" on the product, not on what surrounds it, or a mask
            (H, W) for all images, as an array or a file (above 0, or white = allowed); a call can bring its own.
        source: folder whose normal images "auto" learns from; None for the data the model was trained on.
        strength: factors on the contrast of defects, drawn from LO:HI; 1 = as learnt. Also a pair, or one number.
        size: the same for their sides.
        max_defects: up to so many defects on one image, apart from one another.
        seed: of all random choices.
        device: "cpu", "cuda" or "cuda:N"; workers of a `DataLoader` need "cpu", or the start method "spawn".

    Raises:
        ConfigError: a probability or an option that cannot be, an unknown product or defect; on first use, a model that
            paints on no image.
        DataError: a region that allows no place, or no normal images to learn it from.
        BundleError: no model, or a damaged one.
    """

    def __init__(
        self,
        model: str | Path | None = None,
        p: float = 0.5,
        *,
        product: str | None = None,
        defects: Sequence[str] | None = None,
        region: str | Path | NDArray[Any] = "none",
        source: str | Path | None = None,
        strength: Factors = "1:1",
        size: Factors = "1:1",
        max_defects: int = 1,
        seed: int = 0,
        device: str = "cpu",
    ) -> None:
        if not 0 <= p <= 1:
            raise ConfigError(f"p is {p}: must be a probability, from 0 to 1")
        named = "none" if isinstance(region, np.ndarray) else region
        self._control = Control.of(named, strength, size, max_defects, "all")
        self.folder = find_bundle(model).absolute()
        self.p, self.seed, self.device = p, seed, device
        _, data = read_config(self.folder)
        self.classes, self.products = data.defects, data.products
        where, known = f"model {self.folder.name}", data.defects[1:]
        chosen = known if defects is None else [known_name("defects", name, known, where) for name in defects]
        if not chosen:
            raise ConfigError("defects: is empty; name some, or None for all")
        self._defects = [data.defects.index(name) for name in chosen]
        self._product = self._number(product)
        self._model: DefectModel | None = None
        self._generator: torch.Generator | None = None
        self._worker: int | None = None
        self._allowed: Bools | None = None
        self._around: dict[str, Surroundings | None] = {}
        if self._control.region == "auto":
            self._around = _surroundings(self._loaded().info, source)
        elif isinstance(region, np.ndarray) or self._control.region != "none":
            self._allowed = _mask(region)

    def __call__(self, image: Any, product: str | None = None, region: NDArray[Any] | None = None) -> Augmented:
        """The image, with a defect or as it is, its class and its mask.

        Args:
            image: a normal image.
            product: what it shows, where it is another than that of all.
            region: (H, W), where on this image a defect may lie; above 0 = allowed.

        Raises:
            TypeError: an image of a kind that is not known, or without a pixel.
            ConfigError: an unknown product, or none where "auto" knows several; a region that is no mask.
        """
        kind = _kind_of(image)
        native = kind.native(image)
        if 0 in native.size:
            raise TypeError(f"image of {native.size[0]} x {native.size[1]}: holds no pixel")
        random = self._random()
        if float(torch.rand((), generator=random)) >= self.p:
            return Augmented(image, 0, kind.mask(np.zeros(native.size, bool)))
        label = self._defects[int(torch.randint(len(self._defects), (), generator=random))]
        seed = int(torch.randint(_SEEDS, (), generator=random))
        number = self._product if product is None else self._number(product)
        allowed = self._region(native, number) if region is None else _as_mask(region)
        wished = (self._control.strength, self._control.size)
        own = own_factors(variety_of(self._loaded(), label, number), seed)
        strength, size = (factors.draw(derive_seed(seed, at)) for at, factors in enumerate(wished))
        changes = self._changes(native, label, seed, number, allowed, (strength * own[0], size, own[1]))
        if not changes:
            return Augmented(image, 0, kind.mask(np.zeros(native.size, bool)))
        seen = seen_size(self._loaded().info, self._name(number), native.size)
        mask = np.any([change.mask(seen, size * own[1]) for change in changes], axis=0)
        if allowed is not None:
            mask &= resized_mask(allowed, mask.shape)
        changed = kind.changed(image, native, joined([change.values for change in changes]))
        return Augmented(changed, label, kind.mask(mask))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_model": None, "_generator": None, "_worker": None}

    def __repr__(self) -> str:
        return f"DefectAugment({self.folder.name!r}, p={self.p})"

    def _changes(
        self,
        native: NativeImage,
        label: int,
        seed: int,
        product: int,
        allowed: Bools | None,
        factors: tuple[float, float, float],
    ) -> list[Change]:
        """What each defect adds to the whole image; none where none could be shown."""
        model = self._loaded()
        info, side = model.info, model.info.image_size
        known = seen_in(model, label, derive_seed(derive_seed(seed, 0), 0), product)  # of the first defect's first try
        window = drawn_window(native, info, self._name(product), allowed, derive_seed(seed, "window"), known)
        view = view_of(native, window, info)
        limits = np.ones((side, side), bool) if allowed is None else seen_region(allowed, view, side)
        kinds = [info.defects.index(name) for name in kinds_of(info.defects[label], info.defects)]
        with torch.inference_mode():
            source = model.source_features(stack([view.pixels], model), normal=True)
        changes: list[Change] = []
        deltas: list[Floats] = []
        for place in range(1 + random.Random(derive_seed(seed, "count")).randrange(self._control.max_defects)):
            free = apart_from(deltas)
            kind = kinds[derive_seed(seed, "kind", place) % len(kinds)] if place else label
            wishes = self._wishes(limits if free is None else limits & free, factors, view.edges)
            for delta, native_change in self._tries(source, kind, product, derive_seed(seed, place), wishes):
                change = confined(view.change(delta, native_change), view, allowed, free)
                if np.abs(change.values).max() >= VISIBLE:
                    deltas.append(delta)
                    changes.append(change)
                    break
            if len(changes) <= place:
                break  # no room for one more
        return changes

    def _tries(
        self, source: Sequence[SourceFeatures], label: int, product: int, seed: int, wishes: Placement
    ) -> Iterator[tuple[Floats, NativeChange | None]]:
        """What defects change that the model names right: at its size (C, S, S), and what it knows of that at native
        scale."""
        model = self._loaded()
        defect, owner = (torch.tensor([number], device=model.device) for number in (label, product))
        for attempt in range(MOST_TRIES):
            with torch.inference_mode():
                codes = model.latent_codes(defect, [derive_seed(seed, attempt)], owner)
                painted = paint_placed(model, source, codes, wishes)
                named_right = bool(model.shows(painted.image, defect)[0])
            if named_right:
                yield to_numpy(painted.delta)[0], painted.changes()[0]

    def _wishes(self, region: Bools, factors: Sequence[float], edges: Sequence[bool]) -> Placement:
        device = self._loaded().device
        strength, size, varied = torch.tensor([factors], device=device).unbind(1)
        allowed = torch.from_numpy(region.astype(np.float32)).to(device)[None, None]
        return Placement(allowed, strength, size, varied, torch.tensor([edges], device=device))

    def _region(self, native: NativeImage, product: int) -> Bools | None:
        """Where on an image a defect may lie; None for anywhere."""
        if self._control.region != "auto":
            return self._allowed
        if product < 0:
            raise ConfigError(f"region auto: name the product of the images, one of {', '.join(self.products)}")
        name = self.products[product]
        if name not in self._around:
            raise ConfigError(f"region auto: no normal images of product {name} to learn it from; name another source")
        around = self._around[name]
        return None if around is None else around.product_in(native)

    def _loaded(self) -> DefectModel:
        if self._model is None:
            self._model = painting(load_model(self.folder, self.device), "DefectAugment")
        return self._model

    def _random(self) -> torch.Generator:
        """A stream of random numbers of this process alone."""
        worker = get_worker_info()
        key = None if worker is None else worker.seed
        if self._generator is None or key != self._worker:
            start = derive_seed(self.seed, "main" if key is None else key)
            self._generator, self._worker = torch.Generator().manual_seed(start), key
        return self._generator

    def _name(self, number: int) -> str | None:
        return None if number < 0 else self.products[number]

    def _number(self, product: str | None) -> int:
        """Number of a product, -1 where it is left open."""
        if product is None:
            return 0 if len(self.products) == 1 else -1
        return self.products.index(known_name("product", product, self.products, f"model {self.folder.name}"))


def _surroundings(info: BundleInfo, source: str | Path | None) -> dict[str, Surroundings | None]:
    """What surrounds each product in the normal images of a folder, or of the training data.

    Raises:
        DataError: there are none.
    """
    found = by_category(find_samples(info, SynthesisSettings(source=source), logger.info)[1])
    normals = {product: samples for (product, defect), samples in found.items() if defect == info.normal}
    return surroundings_of(normals, logger.info)


def _mask(region: str | Path | NDArray[Any]) -> Bools:
    """(H, W), where a defect may lie.

    Raises:
        ConfigError: it is no mask.
        DataError: it cannot be read, or allows no place.
    """
    if not isinstance(region, np.ndarray) and Path(region).is_dir():
        raise ConfigError(f"region {region}: is a folder; give one mask here, or one with each call")
    mask = _as_mask(region) if isinstance(region, np.ndarray) else read_mask(Path(region))
    if not mask.any():
        raise DataError("region: allows no place; it must be above 0 (white) where defects may lie")
    return mask


def _as_mask(region: NDArray[Any]) -> Bools:
    mask = np.asarray(region) > 0
    if mask.ndim != 2:
        raise ConfigError(f"region {mask.shape}: must be a mask (H, W)")
    return mask


class _Kind(Protocol):
    """How a kind of image comes in and goes out."""

    def native(self, image: Any) -> NativeImage: ...

    def changed(self, image: Any, native: NativeImage, change: Floats) -> Any: ...

    def mask(self, mask: NDArray[np.bool_]) -> Any: ...


def _kind_of(image: Any) -> _Kind:
    if isinstance(image, np.ndarray):
        return _Array()
    if isinstance(image, Image.Image):
        return _Pil()
    if isinstance(image, torch.Tensor):
        return _Tensor()
    raise TypeError(f"{type(image).__name__}: is no image; give an array, a tensor or a PIL image")


class _Array:
    def native(self, image: Any) -> NativeImage:
        shaped = image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)
        if not shaped or image.dtype not in (np.uint8, np.uint16):
            raise TypeError(f"array {image.shape} of {image.dtype}: give (H, W) or (H, W, 3) of uint8 or uint16")
        return NativeImage(image)

    def changed(self, image: Any, native: NativeImage, change: Floats) -> Any:
        return compose(native, change, native.white).pixels

    def mask(self, mask: NDArray[np.bool_]) -> Any:
        return mask


class _Pil:
    def native(self, image: Any) -> NativeImage:
        if image.mode not in ("L", "RGB"):
            raise TypeError(f"PIL image of mode {image.mode}: convert it to L or RGB")
        return NativeImage(np.asarray(image))

    def changed(self, image: Any, native: NativeImage, change: Floats) -> Any:
        return Image.fromarray(compose(native, change, native.white).pixels)

    def mask(self, mask: NDArray[np.bool_]) -> Any:
        return tv_tensors.Mask(torch.from_numpy(mask.astype(np.uint8)))


class _Tensor(_Pil):
    def native(self, image: Any) -> NativeImage:
        fits = image.ndim == 3 and image.shape[0] in (1, 3)
        if not fits or not (image.dtype == torch.uint8 or image.is_floating_point()):
            shape = tuple(image.shape)
            raise TypeError(f"tensor {shape} of {image.dtype}: give (1 or 3, H, W) of uint8, or float from 0 to 1")
        pixels = image.detach().cpu().permute(1, 2, 0).numpy()
        pixels = pixels if pixels.dtype == np.uint8 else quantise(pixels.astype(np.float32), np.uint8)
        return NativeImage(np.ascontiguousarray(pixels if len(image) == 3 else pixels[..., 0]))

    def changed(self, image: Any, native: NativeImage, change: Floats) -> Any:
        if image.dtype == torch.uint8:
            added = torch.from_numpy(compose(native, change, native.white).pixels)
        else:  # what came in is finer than what the network sees
            added = torch.from_numpy(change).to(image.dtype)
        planes = added[None] if added.ndim == 2 else added.permute(2, 0, 1)
        planes = planes.to(image.device)
        result = planes if image.dtype == torch.uint8 else (image.as_subclass(torch.Tensor) + planes).clamp(0, 1)
        return tv_tensors.wrap(result, like=image) if isinstance(image, tv_tensors.TVTensor) else result
