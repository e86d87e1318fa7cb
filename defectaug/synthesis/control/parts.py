"""The defects of one image on their way: painted one after another, each of them tried until it is accepted."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from defectaug.data.sample import Sample
from defectaug.io.windows import Window
from defectaug.methods.base import DefectModel, NativeChange
from defectaug.methods.native import View
from defectaug.methods.placement import Seen, Variety, seen_in, variety_of
from defectaug.synthesis.control.acceptance import Verdict
from defectaug.synthesis.control.options import Control, Range
from defectaug.synthesis.plan import Item, derive_seed

MAX_REJECTIONS = 4  # of a defect; the best of five is taken as it is
MIXED = frozenset({"combined", "combination", "mixed", "multiple"})  # MVTec AD calls several kinds so
GAP = 1 / 40  # of the image's side, that stays free around each defect

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Part:
    """One painted defect.

    Attributes:
        delta: (C, S, S), what it changes at the model's size; ``native``: at the source's, where that is known.
        free: (S, S), where nothing else was painted before; None for everywhere.
        reference: real defective image that it was taken from, or None.
        window: the part of the source that it was painted in.
        verdict: of the acceptance test.
    """

    delta: Floats
    native: NativeChange | None
    free: Bools | None
    reference: Sample | None
    window: Window
    verdict: Verdict


@dataclass(frozen=True)
class Task:
    """An item under way.

    Attributes:
        item: what was asked for.
        parts: the defects that it has.
        attempt: number of the try at the next one, from 0.
        best: the best of earlier tries at it.
        rejections: of all tries.
        is_done: whether no defect is to be added.
    """

    item: Item
    parts: tuple[Part, ...] = ()
    attempt: int = 0
    best: Part | None = None
    rejections: int = 0
    is_done: bool = False

    def code_seed(self) -> int:
        """Seed of the codes of the next defect."""
        place = ("part", len(self.parts)) if self.parts else ()
        return derive_seed(self.item.seed, *place, self.attempt)

    def kind(self, defects: Sequence[str]) -> str:
        """Class of the next defect, of the model's `defects`: the category's, but for further ones of one that asks for
        several kinds."""
        name = self.item.defect
        kinds = kinds_of(name, defects) if self.parts and self.item.reference is None else (name,)
        return kinds[derive_seed(self.item.seed, "kind", len(self.parts)) % len(kinds)]

    def free(self) -> Bools | None:
        """(S, S), where the next defect may lie so that it stays apart from those that are there; None: anywhere."""
        return apart_from([part.delta for part in self.parts])

    def after(self, part: Part, control: Control) -> Task:
        """The task once a try has come out."""
        best = part if self.best is None or part.verdict.score > self.best.verdict.score else self.best
        accepted = part.verdict.accepted
        if not accepted and control.keep == "good" and self.attempt < MAX_REJECTIONS:
            return replace(self, attempt=self.attempt + 1, best=best, rejections=self.rejections + 1)
        if self.parts and not (accepted or (control.keep == "all" and part.verdict.visible)):
            return replace(self, is_done=True)  # no room for one more
        parts = (*self.parts, part if accepted else best)
        return Task(self.item, parts, rejections=self.rejections, is_done=len(parts) == self._wanted(control))

    def _wanted(self, control: Control) -> int:
        return 1 + random.Random(derive_seed(self.item.seed, "count")).randrange(control.max_defects)


def apart_from(deltas: Sequence[Floats]) -> Bools | None:
    """(S, S), where one more defect stays apart from those that change (C, S, S); None for anywhere."""
    if not deltas:
        return None
    from scipy.ndimage import binary_dilation

    changed = np.any([np.abs(delta).max(axis=0) > 0 for delta in deltas], axis=0)
    return ~binary_dilation(changed, iterations=max(1, round(GAP * len(changed))))


def joined(changes: Sequence[Floats]) -> Floats:
    """Changes of one image by defects that lie apart, as one; where the source's own defect is taken away all of them
    do the same."""
    change = changes[0]
    for other in changes[1:]:
        change = np.where(np.abs(other) > np.abs(change), other, change)
    return change


def kinds_of(name: str, defects: Sequence[str]) -> tuple[str, ...]:
    """What defects an image of a class may show, of the model's `defects` (the first is the normal class): those that
    "scratch+spot" names, all for "combined" and the like, else its own."""
    named = tuple(part.strip() for part in name.split("+"))
    if len(named) > 1 and set(named) <= set(defects[1:]):
        return named
    others = tuple(defect for defect in defects[1:] if defect.casefold() not in MIXED)
    return others if name.casefold() in MIXED and others else (name,)


def varied(item: Item, kind: str, model: DefectModel) -> tuple[float, float]:
    """As :func:`own_factors`, of a new defect of a class; 1 where a reference gives it."""
    if item.reference is not None:
        return 1.0, 1.0
    info = model.info
    return own_factors(variety_of(model, info.defects.index(kind), info.number(item.product)), item.seed)


def own_factors(variety: Variety, seed: int | None) -> tuple[float, float]:
    """Factors on strength and size by which a model varies a new defect, beside what is wished for."""
    strength, size = Range(*variety.strength), Range(*variety.size)
    return strength.draw(derive_seed(seed, "own strength")), size.draw(derive_seed(seed, "own size"))


def seen_before(item: Item, model: DefectModel) -> Seen | None:
    """Where the first defect of an item was seen; None where a reference gives it, or that is not known."""
    if item.reference is not None:
        return None
    info = model.info
    return seen_in(model, info.defects.index(item.defect), Task(item).code_seed(), info.number(item.product))


def seen_there(reference: View) -> Seen | None:
    """Where a reference shows its defect; None where it shows all of its photograph."""
    if reference.window.size == reference.native.size:
        return None
    return Seen(reference.window.within(reference.native.size), reference.pixels.transpose(1, 2, 0))
