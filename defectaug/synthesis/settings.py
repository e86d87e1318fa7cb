"""What a run of synthesis is asked for, checked once. No torch."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from defectaug.errors import ConfigError, at_least, nearest
from defectaug.io.files import expanded, real
from defectaug.io.launcher import launched_as
from defectaug.synthesis.control.options import Control, Factors

if TYPE_CHECKING:
    from defectaug.data.class_map import ClassMap
    from defectaug.methods.base import BundleInfo

FORMATS = ("coco", "yolo", "mvtec")


@dataclass(frozen=True)
class SynthesisSettings:
    """What is to be made and from what; the fields are those arguments of :func:`defectaug.synthesize`.

    Raises:
        ConfigError: a number or a word that cannot be, a shard not of the form I/N, or an unknown format.
    """

    source: str | Path | None = None
    product: str | None = None
    defect: str | None = None
    n: int | None = None
    balance: bool = False
    reference: str | Path | None = None
    masks: bool = False
    export: str | None = None
    report: str | Path | None = None
    region: str | Path = "auto"
    strength: Factors = "1:1"
    size: Factors = "1:1"
    max_defects: int = 1
    keep: str = "good"
    seed: int = 0
    shard: str | None = None
    batch_size: int = 16
    class_map: str | Path | ClassMap | None = None
    normal: str | None = None

    def __post_init__(self) -> None:
        at_least(1, n=self.n, batch_size=self.batch_size)
        at_least(0, seed=self.seed)
        for name in ("source", "reference"):
            if (place := getattr(self, name)) is not None:
                object.__setattr__(self, name, expanded(place))
        object.__setattr__(self, "balance", self.balance or (self.product is None and self.defect is None))
        object.__setattr__(self, "masks", self.masks or bool(self.formats) or self.report is not None)
        object.__setattr__(self, "region", self.control.region)
        _ = self.part

    @property
    def formats(self) -> tuple[str, ...]:
        """Names of the formats that are written beside the images, which need masks."""
        return () if self.export is None else parse_formats(self.export)

    @property
    def part(self) -> tuple[int, int]:
        """Number of this run's part, from 1, and how many there are; under a launcher that of this process."""
        if self.shard is not None:
            return parse_shard(self.shard)
        rank, size = launched_as()
        return rank + 1, size

    @property
    def control(self) -> Control:
        """Where, how strong, how large, how many, and how good."""
        return Control.of(self.region, self.strength, self.size, self.max_defects, self.keep)

    def record(self, weights_sha256: str) -> dict[str, Any]:
        """What makes two runs the same, by option; the same for all shards."""
        kept = ("product", "defect", "n", "balance", "seed", "masks")
        options = {field.name: getattr(self, field.name) for field in fields(self) if field.name in kept}
        reference = None if self.reference is None else str(self.reference)
        chosen = {name: str(value) for name, value in vars(self.control).items()}
        return {"model": weights_sha256, **options, **chosen, "reference": reference, "shards": self.part[1]}

    def folder(self, out: str | Path | None, info: BundleInfo) -> Path:
        """The folder that was named, or one below `out` named after the model and what is made."""
        if out is not None:
            path = expanded(out)
            return real(path) if path.name in ("", "..") else path
        kind, seed = "balanced" if self.balance else None, f"seed{self.seed}" if self.seed else None
        return Path("out") / "-".join(part for part in (info.name, self.product, self.defect, kind, seed) if part)


def parse_formats(text: str) -> tuple[str, ...]:
    """`"coco,yolo"` to the names.

    Raises:
        ConfigError: a format that is not known.
    """
    names = tuple(dict.fromkeys(filter(None, (name.strip().casefold() for name in text.split(",")))))
    if not names:
        raise ConfigError(f"--export '{text}': name one or more of {', '.join(FORMATS)}")
    for name in names:
        if name not in FORMATS:
            raise ConfigError(f"--export {name}: no such format; {nearest(name, FORMATS)}")
    return names


def parse_shard(text: str) -> tuple[int, int]:
    """`"2/8"` to (2, 8).

    Raises:
        ConfigError: not of the form I/N with 1 <= I <= N.
    """
    number, slash, count = text.partition("/")
    if slash and number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count):
        return int(number), int(count)
    raise ConfigError(f"--shard {text}: give I/N with I from 1 to N, as 1/4")
