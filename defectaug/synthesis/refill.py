"""Images that a person rejects are taken away from a finished output folder, and others made in their place. No torch.

A finished folder holds a record of how it was made. The gap that an image leaves is filled by the next of its category,
as a longer run would have made it: an image still depends on seed, number, model and sources alone, and a name that was
taken away does not come back.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from defectaug.data.class_map import ClassMap
from defectaug.data.sample import Category, Sample
from defectaug.errors import DataError, OutputError
from defectaug.io import manifest
from defectaug.io.atomic import write_atomic
from defectaug.io.masks import mask_folder
from defectaug.synthesis import previous_run as earlier
from defectaug.synthesis.plan import Item, Plan, more_items
from defectaug.synthesis.settings import SynthesisSettings

if TYPE_CHECKING:
    from defectaug.synthesis.write import Request

OF_THE_MACHINE = ("shard", "batch_size")  # what does not change the images


@dataclass(frozen=True)
class Memory:
    """Leaves in a finished folder how it was made (a `Beside` of `OutputFolder`).

    Args:
        asked: the settings.
        model: folder of the model.
        dropped: images that were taken away so far, in this order.
        made: category ("product/defect") to the count of images that the run made at first; None before its end.
    """

    asked: SynthesisSettings
    model: Path
    dropped: tuple[str, ...] = ()
    made: Mapping[str, int] | None = None

    def check(self, out: Path, *, overwrite: bool) -> None:
        """Nothing can be in the way."""

    def write(self, out: Path) -> None:
        """Writes the record."""
        given = {field.name: getattr(self.asked, field.name) for field in fields(self.asked)}
        kept = {name: _plain(value) for name, value in given.items() if name not in OF_THE_MACHINE}
        made = self.made or Counter(
            f"{line['product']}/{line['defect']}"
            for line in manifest.read_lines(out / manifest.NAME)
            if line["synthetic"]
        )
        content = {"model": str(self.model.absolute()), "settings": kept, "made": made, "dropped": self.dropped}
        text = json.dumps(content).encode()
        write_atomic(out / earlier.MEMORY, lambda file: file.write(text))


def recall(out: Path) -> Memory:
    """How a folder was made.

    Raises:
        OutputError: it holds no finished run, or none that left a record.
    """
    record = earlier.read_record(out)
    if record is not None and "dropped" not in (record.get("settings") or {}):
        raise OutputError(f"--out {out}: holds an interrupted run; finish it first, by the command that began it")
    try:
        content = json.loads((out / earlier.MEMORY).read_text(encoding="utf-8"))
        known = {field.name for field in fields(SynthesisSettings)}
        given = {name: value for name, value in content["settings"].items() if name in known}
        if isinstance(given.get("class_map"), dict):
            given["class_map"] = ClassMap(**given["class_map"])
        made = {str(category): int(count) for category, count in content["made"].items()}
        return Memory(SynthesisSettings(**given), Path(content["model"]), tuple(content["dropped"]), made)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise OutputError(f"--out {out}: holds no finished run of synthesize that could be filled up again") from error


@dataclass(frozen=True)
class Refill:
    """What is taken away, and what is to be there then.

    Args:
        out: the finished folder.
        memory: how it was made; `dropped` has the images to take away, too.
        lines: its manifest.
    """

    out: Path
    memory: Memory
    lines: Sequence[Mapping[str, Any]]

    def plan(self, made: Plan) -> Plan:
        """The images that stay, and those that fill the gaps.

        Args:
            made: the plan of the settings; its sources and references are drawn from again.
        """
        dropped = set(self.memory.dropped)
        kept = [_item(line) for line in self.lines if line["file"] not in dropped]
        real = [item.file for item in kept if not item.synthetic]
        numbers = {Category(*name.split("/")): count for name, count in (self.memory.made or {}).items()}
        gone = [Category(*PurePosixPath(file).parts[:2]) for file in self.memory.dropped]
        painted = any(line["synthetic"] and line.get("source") for line in self.lines)
        for category in gone:
            if painted and not made.normals.get(category.product):
                raise DataError(f"--drop: no normal image of {category.product} is left to paint another {category} on")
        first = len(real) + sum(numbers.values())
        new = more_items(
            gone, numbers, self.memory.asked.seed, made.normals, made.references, first=first, real=real
        )
        there = {item.file for item in kept}
        return replace(made, items=(*kept, *(item for item in new if item.file not in dropped | there)))

    def take_away(self, request: Request) -> Request:
        """Notes what is to be done, so that it can be finished if it is interrupted, and removes the images; gives back
        the request as it is noted."""
        request = replace(request, settings={**request.settings, "dropped": len(self.memory.dropped)})
        record = json.dumps(request.record()).encode()
        self.memory.write(self.out)
        write_atomic(self.out / earlier.RECORD, lambda file: file.write(record))
        earlier.remove_files(self.out, mask_folder(self.out), self.memory.dropped)
        return request


def begin_refill(listed: Path, out: Path) -> Refill:
    """Reads the list of images to take away, one name of the manifest a line. Changes nothing.

    Raises:
        DataError: the list cannot be read, or names what is not a synthetic image of the folder.
        OutputError: as `recall`.
    """
    memory = recall(out)
    lines = manifest.read_lines(out / manifest.NAME)
    synthetic = {line["file"]: line["synthetic"] for line in lines if earlier.is_below(line["file"])}
    missing = [file for file, made in synthetic.items() if made and not (out / file).exists()]  # removed by hand
    named = dict.fromkeys(_names(listed))
    wrong = [name for name in named if name not in synthetic and name not in memory.dropped]
    if wrong:
        more = f" (nor are {len(wrong) - 1:,} others)" if len(wrong) > 1 else ""
        raise DataError(f"--drop {listed}: '{wrong[0]}' is not an image of {out}{more}; name them as its manifest does")
    if copied := [name for name in named if synthetic.get(name) is False]:
        raise DataError(f"--drop {listed}: '{copied[0]}' is a real image; only synthetic ones are replaced")
    dropped = dict.fromkeys((*memory.dropped, *named, *missing))
    known = [line for line in lines if line["file"] in synthetic]
    return Refill(out, replace(memory, dropped=tuple(dropped)), known)


def _names(listed: Path) -> Iterator[str]:
    try:
        text = listed.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "no text"
        raise DataError(f"--drop {listed}: cannot be read ({reason})") from error
    return (line for line in text.splitlines() if line.strip())


def _item(line: Mapping[str, Any]) -> Item:
    """An image that is there, as an item; drawn again only if its file has gone meanwhile."""
    source, reference = line.get("source"), line.get("reference")
    return Item(
        index=line["index"],
        product=line["product"],
        defect=line["defect"],
        source=Sample(Path(source), line["product"], line["defect"]) if source else None,
        file=line["file"],
        seed=line.get("item_seed"),
        reference=Sample(Path(reference), line["product"], line["defect"]) if reference else None,
    )


def _plain(value: Any) -> Any:
    """What JSON holds of a setting."""
    if isinstance(value, ClassMap):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return dict(value)
    return str(value.absolute()) if isinstance(value, Path) else value
