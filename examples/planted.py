"""Does the acceptance test reject bad defects? Some are planted in a model's own, and looked for in the manifest.

    python examples/planted.py MODEL SOURCE --out OUT [--n 40] [--reference TEST]

Images of every product and defect are made with `--keep all`, as they are, and with each defect spoilt on its way from
the model to the acceptance test:

    hardly there   a twentieth of the change
    inverted       dark for bright, bright for dark
    too strong     four times the change
    too large      three times the sides
    too small      a quarter of the sides
    noise          random grey in its place, as strong
    smear          its mean change all over its place, without any structure
    another class  a defect of another class under its name

With --reference, images whose defects are those of TEST, which should be accepted, are made as well. A table tells how
many are not accepted, and why. For models of recipe `small` and its like.
"""

from __future__ import annotations

import argparse
import copy
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import defectaug
from defectaug.io.manifest import NAME, read_lines
from defectaug.methods.base import Painted
from defectaug.methods.placement import enlarged

Spoil = Callable[[Tensor, Tensor], Tensor]
"""From what is changed (N, C, S, S), and where, (N, 1, S, S) in {0, 1}, to what is changed instead."""


def resized(factor: float) -> Spoil:
    """The change with its sides times a factor."""
    return lambda delta, there: enlarged(delta, there, torch.full((len(delta),), factor))


def noise(delta: Tensor, there: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    level = delta.abs().amax((1, 2, 3), keepdim=True)
    return there * level * torch.randn(delta.shape, generator=generator).clamp(-1, 1)


def smear(delta: Tensor, there: Tensor) -> Tensor:
    return there * (delta * there).sum((2, 3), keepdim=True) / there.sum((2, 3), keepdim=True).clamp(min=1)


SPOILT: Mapping[str, Spoil] = {
    "hardly there": lambda delta, there: delta / 20,
    "inverted": lambda delta, there: -delta,
    "too strong": lambda delta, there: 4 * delta,
    "too large": resized(3.0),
    "too small": resized(0.25),
    "noise": noise,
    "smear": smear,
}
RELABELLED = "another class"


def spoilt(model: Any, spoil: Spoil) -> Any:
    """A model that paints as `model` does, and spoils what it has painted."""

    def changed(painted: Painted) -> Painted:
        source, peak = painted.image - painted.delta, painted.delta.abs().amax(1, keepdim=True)
        there = (peak > 0.25 * peak.amax((2, 3), keepdim=True)).float()
        image = (source + spoil(painted.delta, there)).clamp(-1, 1)
        return Painted(image, image - source, painted.opacity)

    class Spoilt(type(model)):  # type: ignore[misc]
        def _painted(self, *arguments: Any) -> Painted:
            return changed(super()._painted(*arguments))

    return as_kind(model, Spoilt)


def relabelled(model: Any) -> Any:
    """A model that draws the next class of its list, under the name that it was asked for."""
    others = len(model.info.defects) - 1

    class Relabelled(type(model)):  # type: ignore[misc]
        def latent_codes(self, defect: Tensor, *arguments: Any) -> Any:
            codes = super().latent_codes(1 + defect % others, *arguments)
            return replace(codes, shape=replace(codes.shape, label=defect.to(codes.shape.label.device)))

    return as_kind(model, Relabelled)


def as_kind(model: Any, kind: type) -> Any:
    other = copy.copy(model)
    other.__class__ = kind
    return other


def reasons(model: Any, source: Path, out: Path, n: int, reference: Path | None = None) -> Counter[str]:
    """What the manifest says of the images, "" where they are accepted."""
    found: Counter[str] = Counter()
    for product in model.info.products:
        place = out / product
        defectaug.synthesize(
            model=model, source=source, product=product, n=n, keep="all", reference=reference, out=place
        )
        found.update("" if line["accepted"] is True else line["accepted"] for line in read_lines(place / NAME))
    return found


def row(name: str, found: Counter[str]) -> str:
    wrong = {reason: count for reason, count in found.most_common() if reason}
    told = ", ".join(f"{reason} {count}" for reason, count in wrong.items())
    return f"| {name} | {sum(wrong.values())} of {found.total()} | {told or '-'} |"


def main(arguments: list[str] | None = None) -> dict[str, Counter[str]]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("source", type=Path, help="the data folder of the model: its normal and real defective images")
    parser.add_argument("--out", type=Path, required=True, help="a new folder")
    parser.add_argument("--n", type=int, default=40, help="images of each product and defect")
    parser.add_argument("--reference", type=Path, help="real defective images that training has not seen")
    args = parser.parse_args(arguments)
    model = defectaug.load_model(args.model)
    kinds = {"as they are": model, **{name: spoilt(model, spoil) for name, spoil in SPOILT.items()}}
    if len(model.info.defects) > 2:
        kinds[RELABELLED] = relabelled(model)
    found = {name: reasons(kind, args.source, args.out / name, args.n) for name, kind in kinds.items()}
    if args.reference is not None:
        found["of references"] = reasons(model, args.source, args.out / "of references", args.n, args.reference)
    print("| planted | not accepted | why |\n|---|---|---|")
    print("\n".join(row(name, one) for name, one in found.items()))
    return found


if __name__ == "__main__":
    main()
