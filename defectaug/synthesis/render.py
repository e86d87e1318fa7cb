"""From items of a plan to images at native size: read, show to the network, add the change it makes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from defectaug.data.framing import Photograph
from defectaug.data.sample import Category, Sample
from defectaug.errors import DataError
from defectaug.io import windows
from defectaug.io.images import NativeImage, quantise, read_image, resize_float
from defectaug.io.masks import read_mask
from defectaug.io.progress import Log, unheard
from defectaug.io.windows import Window
from defectaug.methods.assessment import assess
from defectaug.methods.native import (
    Change,
    Floats,
    View,
    compose,
    seen_size,
    square_on_defect,
    stack,
    to_numpy,
    view_of,
)
from defectaug.methods.placement import Placement, paint_placed
from defectaug.synthesis.control.acceptance import Acceptance, Real, Shown, Verdict, visible
from defectaug.synthesis.control.aim import drawn_window
from defectaug.synthesis.control.options import Control
from defectaug.synthesis.control.parts import Part, Task, joined, seen_before, seen_there, varied
from defectaug.synthesis.control.regions import Anywhere, Regions, resized_mask, seen_region
from defectaug.synthesis.feature_cache import FeatureCache
from defectaug.synthesis.plan import Item, Plan, derive_seed
from defectaug.synthesis.sources import product_of

if TYPE_CHECKING:
    from defectaug.methods.base import BundleInfo, Codes, DefectModel, GenerativeModel

Bools = NDArray[np.bool_]
CLOSE = 1024  # pixels at most of a reference's longer side, of which a model may take a defect's structure
MOST_REAL = 12  # real defects of a category that synthetic ones are compared with


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
        rejections: how often codes were drawn anew, since a defect was not accepted.
        verdict: of the acceptance test, the worst of all defects; None where it cannot be made.
        strength, size: factors that were drawn as was wished.
    """

    item: Item
    image: NativeImage
    mask: NDArray[np.bool_] | None
    source: Sample | None
    reference: Sample | None
    window: Window | None
    rejections: int
    verdict: Verdict | None
    strength: float = 1.0
    size: float = 1.0


@dataclass(frozen=True)
class _Draft:
    task: Task
    kind: str
    source: Sample
    view: View
    reference: Sample | None
    reference_pixels: Floats | None
    reference_photograph: Photograph | None
    region: Bools | None
    wished: tuple[float, float]  # strength and size
    strength: float  # with the model's own variety
    varied: float  # the model's own factor on size

    @property
    def item(self) -> Item:
        return self.task.item


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
        control: wishes for place, strength, size and number, and what is kept.
        regions: where a defect may lie.
        batch_size: images a pass; does not change the result but for rounding.
        log: takes lines about files that could not be read, once a file.
    """

    def __init__(
        self,
        model: DefectModel,
        plan: Plan,
        pool: Executor,
        *,
        control: Control = Control(),
        regions: Regions = Anywhere(),
        batch_size: int = 16,
        log: Log = unheard,
    ) -> None:
        self._model = model
        self._plan = plan
        self._pool = pool
        self._control, self._regions = control, regions
        self._batch_size = batch_size
        self._log = log
        self._features = FeatureCache(model)
        self._acceptances: dict[tuple[Category, bool], Acceptance] = {}
        self._unreadable: set[str] = set()
        self._place = {
            (id(choices), sample.path): place
            for choices in (*plan.normals.values(), *plan.references.values())
            for place, sample in enumerate(choices)
        }

    def render(self, items: Iterable[Item]) -> Iterator[Callable[[], Rendered]]:
        """Yields, for each item, a function that finishes it (enlarging and adding): call it in a thread."""
        todo = deque(Task(item) for item in items)
        reading: deque[Future[_Draft]] = deque()
        while todo or reading:
            while todo and len(reading) < 2 * self._batch_size:
                reading.append(self._pool.submit(self._draft, todo.popleft()))
            batch = [reading.popleft().result() for _ in range(min(self._batch_size, len(reading)))]
            for draft, part in zip(batch, self._paint(batch), strict=True):
                task = draft.task.after(part, self._control)
                if task.is_done:
                    yield _Finish(draft, task, self._model.info)
                else:
                    todo.appendleft(task)

    def _draft(self, task: Task) -> _Draft:
        info, item = self._model.info, task.item
        source, native = self._read(item.given, self._plan.normals[item.product])
        region = self._regions.of(source, native)
        reference, shown, close, seen = None, None, None, seen_before(item, self._model)
        if item.reference is not None:
            others = self._plan.references[item.defect]
            first = others[task.code_seed() % len(others)] if task.attempt or task.parts else item.reference
            reference, image = self._read(first, others)
            view = reference_view(image, reference, self._model, derive_seed(item.seed, "reference"))
            shown, close, seen = view.pixels, view.photograph(CLOSE), seen_there(view)
        seed, away = derive_seed(item.seed, "window"), windows.STRAY if reference is None else 0.0
        window = drawn_window(native, info, item.product, region, seed, seen, away)
        if task.parts:
            window = task.parts[0].window  # in which it is known what else is there
        wished = (
            self._control.strength.draw(derive_seed(item.seed, "strength")),
            self._control.size.draw(derive_seed(item.seed, "size")),
        )
        kind = task.kind(info.defects)
        own = varied(item, kind, self._model)
        return _Draft(
            task, kind, source, view_of(native, window, info), reference, shown, close, region,
            wished, wished[0] * own[0], own[1],
        )  # fmt: skip

    def _paint(self, batch: Sequence[_Draft]) -> list[Part]:
        """The next defect of each of a batch, all of it latent or all of it reference-guided, and what the acceptance
        test says of it."""
        model = self._model
        with torch.inference_mode():
            keys = [(draft.source.path, draft.view.window) for draft in batch]
            sources = self._features.of(keys, [draft.view.pixels for draft in batch])
            codes = self._codes(batch)
            free = [draft.task.free() for draft in batch]
            painted = paint_placed(model, sources, codes, self._placement(batch, free))
            shown, confidence = self._seen(painted.image, painted.delta, codes.defect)
        return [
            Part(
                one.delta, native, apart, draft.reference, draft.view.window,
                self._acceptance(draft).verdict(
                    one, sure, draft.strength, draft.wished[1], draft.varied
                ),
            )
            for draft, native, apart, one, sure in zip(batch, painted.changes(), free, shown, confidence, strict=True)
        ]  # fmt: skip

    def _placement(self, batch: Sequence[_Draft], free: Sequence[Bools | None]) -> Placement:
        """The wishes of a batch, at the model's size."""
        side, device = self._model.info.image_size, self._model.device
        regions = np.ones((len(batch), 1, side, side), np.float32)
        for row, (draft, apart) in enumerate(zip(batch, free, strict=True)):
            if draft.region is not None:
                regions[row, 0] = seen_region(draft.region, draft.view, side)
            if apart is not None:
                regions[row, 0] *= apart
        factors = torch.tensor([[draft.strength, draft.wished[1], draft.varied] for draft in batch], device=device)
        edges = torch.tensor([draft.view.edges for draft in batch], device=device)
        region = torch.from_numpy(regions).to(device)
        return Placement(region, factors[:, 0], factors[:, 1], factors[:, 2], edges)

    def _seen(self, image: torch.Tensor, delta: torch.Tensor, defect: torch.Tensor) -> tuple[list[Shown], list[float]]:
        """What the model sees of defects on images, and how sure it is of their classes."""
        deltas = to_numpy(delta)
        masks = torch.from_numpy(np.stack([visible(one) for one in deltas])).to(image.device)
        seen = assess(self._model, image, defect, masks[:, None].float())
        found = map(Shown, to_numpy(image), deltas, to_numpy(seen.features))
        return list(found), seen.confidence.tolist()

    def _acceptance(self, draft: _Draft) -> Acceptance:
        """The test of a defect: by real images of its category, as far as they are at hand; where its reference shows
        another product, by the references of that one, since it is to look as it does there."""
        info, reference = self._model.info, draft.reference
        category = Category(draft.item.product, draft.kind)
        there = self._plan.real.get(category, ())
        known = "" if reference is None else product_of(reference, info)
        is_foreign = known not in ("", category.product)
        if is_foreign:
            category = Category(known, draft.kind)
            there = tuple(one for one in self._plan.references[draft.kind] if product_of(one, info) == known)
        if (category, is_foreign) not in self._acceptances:
            some = there[:: max(1, -(-len(there) // MOST_REAL))]
            views = [view for view in self._pool.map(self._real_view, some) if view is not None]
            self._acceptances[category, is_foreign] = Acceptance(self._real(category, views), copies=reference is None)
        return self._acceptances[category, is_foreign]

    def _real(self, category: Category, views: Sequence[tuple[str, View]]) -> Real:
        if not views:
            return Real()
        with torch.inference_mode():
            pixels = stack((view.pixels for _, view in views), self._model)
            restored = self._model.restore(pixels)
            shown, _ = self._seen(pixels, -restored.delta, class_indices([category.defect] * len(views), self._model))
        clear = [(one, name) for one, (name, _) in zip(shown, views, strict=True) if one.mask.any()]
        return Real([one for one, _ in clear], [name for _, name in clear])

    def _real_view(self, sample: Sample) -> tuple[str, View] | None:
        """A real defective image as the model sees it; None for one that cannot be read, or of which it is not known
        what to show."""
        try:
            native = read_image(sample.path)
            if sample.mask is None and self._model.info.window(sample.product, native.size) is not None:
                return None
            view = reference_view(native, sample, self._model, derive_seed("real"))
        except DataError:
            return None
        return sample.path.name, view

    def _codes(self, batch: Sequence[_Draft]) -> Codes:
        defect = class_indices((draft.kind for draft in batch), self._model)
        shown = [draft.reference_pixels for draft in batch if draft.reference_pixels is not None]
        if not shown:
            seeds = [draft.task.code_seed() for draft in batch]
            return self._model.latent_codes(defect, seeds, product_indices(batch, self._model))
        close = [draft.reference_photograph for draft in batch if draft.reference_photograph is not None]
        alike = [
            product_of(draft.reference, self._model.info) == draft.item.product
            for draft in batch
            if draft.reference is not None
        ]
        return self._model.reference_codes(stack(shown, self._model), defect, close, alike)

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
    task: Task
    info: BundleInfo

    def __call__(self) -> Rendered:
        draft, view, parts = self.draft, self.draft.view, self.task.parts
        changes = [self._change(part) for part in parts]
        size, seen = view.native.size, seen_size(self.info, self.task.item.product, view.native.size)
        mask = np.any([one.mask(seen, draft.wished[1] * draft.varied) for one in changes], axis=0)
        return Rendered(
            item=self.task.item,
            image=compose(view.native, joined([one.values for one in changes]), view.white),
            mask=mask if draft.region is None else mask & resized_mask(draft.region, size),
            source=draft.source,
            reference=parts[0].reference,
            window=None if self.info.window(self.task.item.product, size) is None else parts[0].window,
            rejections=self.task.rejections,
            verdict=min((part.verdict for part in parts), key=lambda verdict: verdict.score),
            strength=draft.wished[0],
            size=draft.wished[1],
        )

    def _change(self, part: Part) -> Change:
        """What one defect changes of the native image."""
        view = replace(self.draft.view, window=part.window)
        return confined(view.change(part.delta, part.native), view, self.draft.region, part.free)


def confined(change: Change, view: View, region: Bools | None, free: Bools | None = None) -> Change:
    """A change of the whole native image, made zero outside of where it may lie.

    Args:
        region: a mask over the whole image; ``free``: one over the view. None for no limits.
    """
    if region is not None:
        change.values[~resized_mask(region, view.native.size)] = 0
    if free is not None:
        view.window.cut(change.values)[~resized_mask(free, view.window.size)] = 0
    return change


def reference_view(native: NativeImage, sample: Sample, model: DefectModel, seed: int) -> View:
    """The part of a real defective image that shows its defect: all of it, or for crops a square.

    The square lies around the true mask where there is one, else around what the model takes for the defect.
    """
    info, size = model.info, native.size
    product = product_of(sample, info)
    side = info.window(product, size)
    if side is None:
        return view_of(native, windows.whole(size), info)
    if sample.mask is not None:
        mask = read_mask(sample.mask)
        if mask.shape == size and mask.any():
            return view_of(native, windows.square_on(mask, side, seed), info)
    return view_of(native, square_on_defect(native, model, product, side), info)


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
        return Rendered(self.item, as_native(self.pixels, self.info), None, None, None, None, 0, None)


def as_native(pixels: Floats, info: BundleInfo) -> NativeImage:
    """An image (C, S, S) in [-1, 1] at the size that most training images have, grey or colour as the model is, of 16
    bits where grey training images were."""
    width, height = info.native_size or (info.image_size, info.image_size)
    planes = (pixels.transpose(1, 2, 0) + 1) / 2
    sized = resize_float(planes if info.channels == 3 else planes[..., 0], (height, width))
    deep = info.white > 255 and info.channels == 1
    return NativeImage(quantise(sized, np.uint16, info.white) if deep else quantise(sized, np.uint8))
