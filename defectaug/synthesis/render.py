"""From items of a plan to images at native size: read, show to the network, add the change it makes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from defectaug.data.sample import Sample
from defectaug.errors import DataError
from defectaug.io import windows
from defectaug.io.images import NativeImage, quantise, read_image, resize_float
from defectaug.io.masks import VISIBLE, defect_mask, magnitude, read_mask
from defectaug.io.windows import Window
from defectaug.methods.native import (
    Floats,
    View,
    compose,
    restoration_change,
    seen_size,
    stack,
    to_numpy,
    view_of,
)
from defectaug.synthesis.feature_cache import FeatureCache
from defectaug.synthesis.plan import Item, Plan, derive_seed

if TYPE_CHECKING:
    from defectaug.methods.base import BundleInfo, Codes, DefectModel, GenerativeModel, NativeChange

CLOSE = 1024  # pixels at most of a reference's longer side, of which a model may take a defect's structure
MAX_REJECTIONS = 4  # of an item's codes; the fifth are taken as they are
# The change must pass the mask's threshold by a margin: enlarging it rounds its peaks off.
_VISIBLE = 1.25 * VISIBLE


@dataclass(frozen=True)
class Rendered:
    """A finished image and how it came about.

    Args:
        item: what was asked for.
        image: at the source's size, colour mode and bit depth.
        mask: (H, W), True where the defect is visible; None where that is not known.
        source, reference: what was used; another than the item's where that was unreadable or showed nothing. None for
            none.
        window: the part of the source that the network saw, where that is not the whole.
        rejections: how often codes were drawn anew, since nothing was visible, or another defect.
    """

    item: Item
    image: NativeImage
    mask: NDArray[np.bool_] | None
    source: Sample | None
    reference: Sample | None
    window: Window | None
    rejections: int


@dataclass(frozen=True)
class _Draft:
    item: Item
    attempt: int
    source: Sample
    view: View
    reference: Sample | None
    reference_pixels: Floats | None
    reference_native: Floats | None


def class_indices(defects: Iterable[str], model: DefectModel) -> torch.Tensor:
    """Names as the model's class numbers (N,)."""
    return torch.tensor([model.info.defects.index(name) for name in defects], device=model.device)


def product_indices(batch: Sequence[_Draft], model: DefectModel) -> torch.Tensor:
    """Numbers (N,) of the products of a batch, -1 for one that the model does not know."""
    known = {name: number for number, name in enumerate(model.info.products)}
    return torch.tensor([known.get(draft.item.product, -1) for draft in batch], device=model.device)


class Renderer:
    """Renders the items of a plan in batches; reading runs beside the network in `pool`.

    Args:
        model: paints.
        plan: where the items come from; holds what to fall back on when a file turns out to be unreadable.
        pool: threads that read files.
        batch_size: images a pass; does not change the result but for rounding.
        log: takes lines about files that could not be read, once a file.
    """

    def __init__(
        self,
        model: DefectModel,
        plan: Plan,
        pool: Executor,
        *,
        batch_size: int = 16,
        log: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._model = model
        self._plan = plan
        self._pool = pool
        self._batch_size = batch_size
        self._log = log
        self._features = FeatureCache(model)
        self._unreadable: set[str] = set()
        self._place = {
            (id(choices), sample.path): place
            for choices in (*plan.normals.values(), *plan.references.values())
            for place, sample in enumerate(choices)
        }

    def render(self, items: Iterable[Item]) -> Iterator[Callable[[], Rendered]]:
        """Yields, for each item, a function that finishes it (enlarging and adding): call it in a thread."""
        todo = deque((item, 0) for item in items)
        reading: deque[Future[_Draft]] = deque()
        while todo or reading:
            while todo and len(reading) < 2 * self._batch_size:
                reading.append(self._pool.submit(self._draft, *todo.popleft()))
            batch = [reading.popleft().result() for _ in range(min(self._batch_size, len(reading)))]
            for draft, delta, native, shown in zip(batch, *self._paint(batch), strict=True):
                visible = np.abs(delta).max() / 2 >= _VISIBLE
                if (visible and shown) or draft.attempt == MAX_REJECTIONS:
                    yield _Finish(draft, delta, native, self._model.info)
                else:
                    todo.appendleft((draft.item, draft.attempt + 1))

    def _draft(self, item: Item, attempt: int) -> _Draft:
        info = self._model.info
        source, native = self._read(item.given, self._plan.normals[item.product])
        window = windows.whole(native.size)
        if info.framing == "crop":
            window = windows.random_square(native.size, info.image_size, derive_seed(item.seed, "window"))
        reference, shown, close = None, None, None
        if item.reference is not None:
            others = self._plan.references[item.defect]
            first = others[derive_seed(item.seed, attempt) % len(others)] if attempt else item.reference
            reference, image = self._read(first, others)
            view = reference_view(image, reference, self._model, derive_seed(item.seed, "reference"))
            shown, close = view.pixels, view.at_most(CLOSE)
        return _Draft(item, attempt, source, view_of(native, window, info), reference, shown, close)

    def _paint(self, batch: Sequence[_Draft]) -> tuple[Floats, Sequence[NativeChange | None], list[bool]]:
        """Deltas (N, C, S, S) of a batch, all of it latent or all of it reference-guided, their forms at native scale
        where there are such, and whether they are what was asked for: a defect that the model itself would take for
        another is drawn again, after another reference."""
        model = self._model
        with torch.inference_mode():
            keys = [(draft.source.path, draft.view.window) for draft in batch]
            sources = self._features.of(keys, [draft.view.pixels for draft in batch])
            codes = self._codes(batch)
            painted = model.paint_on(sources, codes)
            shown = model.shows(painted.image, codes.defect).tolist()
            return to_numpy(painted.delta), painted.changes(), shown

    def _codes(self, batch: Sequence[_Draft]) -> Codes:
        defect = class_indices((draft.item.defect for draft in batch), self._model)
        shown = [draft.reference_pixels for draft in batch if draft.reference_pixels is not None]
        if not shown:
            seeds = [derive_seed(draft.item.seed, draft.attempt) for draft in batch]
            return self._model.latent_codes(defect, seeds, product_indices(batch, self._model))
        close = [draft.reference_native for draft in batch if draft.reference_native is not None]
        return self._model.reference_codes(stack(shown, self._model), defect, close)

    def _read(self, first: Sample, others: Sequence[Sample]) -> tuple[Sample, NativeImage]:
        """An image of the list, or the next one after it that can be read."""
        start = self._place[id(others), first.path]
        for step in range(len(others)):
            sample = others[(start + step) % len(others)]
            try:
                return sample, read_image(sample.path)
            except DataError as error:
                if str(error) not in self._unreadable:
                    self._unreadable.add(str(error))
                    self._log(f"skipped: {error}")
        raise DataError(f"{first.path}: cannot be read, nor can any of the {len(others)} images like it")


@dataclass(frozen=True)
class _Finish:
    draft: _Draft
    delta: Floats
    native: NativeChange | None
    info: BundleInfo

    def __call__(self) -> Rendered:
        draft, view = self.draft, self.draft.view
        change = view.change(self.delta, self.native)
        return Rendered(
            item=draft.item,
            image=compose(view.native, change, view.white),
            mask=defect_mask(change, seen_size(self.info)),
            source=draft.source,
            reference=draft.reference,
            window=view.window if self.info.framing == "crop" else None,
            rejections=draft.attempt,
        )


def reference_view(native: NativeImage, sample: Sample, model: DefectModel, seed: int) -> View:
    """The part of a real defective image that shows its defect: all of it, or for crops a square.

    The square lies around the true mask where there is one, else around what the model takes for the defect.
    """
    info, size = model.info, native.size
    if info.framing != "crop":
        return view_of(native, windows.whole(size), info)
    if sample.mask is not None:
        mask = read_mask(sample.mask)
        if mask.shape == size and mask.any():
            return view_of(native, windows.square_on(mask, info.image_size, seed), info)
    return view_of(native, _square_on_defect(native, model), info)


def _square_on_defect(native: NativeImage, model: DefectModel) -> Window:
    change = restoration_change(native, model)
    strength = magnitude(change)
    rows, columns = np.nonzero(strength >= max(float(strength.max()), 1e-6) / 2)
    height, width = native.size
    centre = (float(rows.mean()), float(columns.mean())) if len(rows) else (height / 2, width / 2)
    return windows.square(native.size, model.info.image_size, centre)


class WholeImages:
    """Makes the items of a plan as whole images, at the size and in the mode of the training images.

    Args:
        model: makes images of products and defects.
        batch_size: images a pass; does not change the result but for rounding.
    """

    def __init__(self, model: GenerativeModel, *, batch_size: int = 16) -> None:
        self._model, self._batch_size = model, batch_size

    def render(self, items: Iterable[Item]) -> Iterator[Callable[[], Rendered]]:
        """Yields, for each item, a function that finishes it (enlarging): call it in a thread."""
        model, info, left = self._model, self._model.info, iter(items)
        while batch := list(islice(left, self._batch_size)):
            product = torch.tensor([info.products.index(item.product) for item in batch])
            defect = torch.tensor([info.defects.index(item.defect) for item in batch])
            made = to_numpy(model.images(product, defect, [item.seed or 0 for item in batch]))
            yield from (_FinishWhole(item, pixels, info) for item, pixels in zip(batch, made, strict=True))


@dataclass(frozen=True)
class _FinishWhole:
    item: Item
    pixels: Floats
    info: BundleInfo

    def __call__(self) -> Rendered:
        return Rendered(self.item, as_native(self.pixels, self.info), None, None, None, None, 0)


def as_native(pixels: Floats, info: BundleInfo) -> NativeImage:
    """An image (C, S, S) in [-1, 1] at the size that most training images have, grey or colour as the model is, of 16
    bits where grey training images were."""
    width, height = info.native_size or (info.image_size, info.image_size)
    planes = (pixels.transpose(1, 2, 0) + 1) / 2
    sized = resize_float(planes if info.channels == 3 else planes[..., 0], (height, width))
    deep = info.white > 255 and info.channels == 1
    return NativeImage(quantise(sized, np.uint16, info.white) if deep else quantise(sized, np.uint8))
