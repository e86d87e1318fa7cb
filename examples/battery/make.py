"""What a set is measured on: a model trained on it, synthetic images, one shape in eight styles, transfers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from frozen import imagenet_classifier
from images import Item, of, real_items, synthetic_items
from measures import Material, Row, Styled, Transferred

from defectaug.bundle import load_model
from defectaug.errors import DataError, OutputError
from defectaug.io.atomic import write_atomic
from defectaug.methods.base import DefectModel
from defectaug.synthesis.api import synthesize
from defectaug.synthesis.transfer import transfer

STYLES = 8
UNFINISHED = ".defectaug-run.json"  # lies in a folder whose synthesis is not finished


@dataclass(frozen=True)
class Settings:
    """Equal for all rows of one table.

    Args:
        preset: recipe.
        image_size, steps: of the training; None: the recipe's.
        n: synthetic images a category.
        shapes: of a category, each in eight styles.
        references: of a category, each transferred once.
    """

    preset: str = "auto"
    image_size: int | None = None
    steps: int | None = None
    n: int = 60
    shapes: int = 4
    references: int = 20

    @staticmethod
    def quick(preset: str) -> Settings:
        """For orientation."""
        return Settings(preset, image_size=64, steps=200, n=24, shapes=2, references=8)


def write_json(path: Path, value: Any) -> None:
    """Writes a file whole or not at all."""
    content = (json.dumps(value, indent=1) + "\n").encode()
    write_atomic(path, lambda file: file.write(content))


def read_json(path: Path) -> Any:
    """What :func:`write_json` has written; None where there is nothing.

    Raises:
        OutputError: a file of other origin.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    except ValueError as error:
        raise OutputError(f"{path}: not a file that the battery wrote; remove it, or name another folder") from error


def trained(data: Path, out: Path, settings: Settings) -> Row:
    """Trains OUT/model in a process of its own, or goes on with it; time and memory are kept in OUT/training.json.

    Raises:
        DataError: the training has ended with an error, which it has told.
    """
    record = out / "training.json"
    spent: Row = read_json(record) or {}
    if "done" in spent:
        return spent
    model = out / "model"
    command = [sys.executable, "-m", "defectaug", "train", str(data), "--out", str(model), "--preset", settings.preset]
    for option, value in (("--image-size", settings.image_size), ("--steps", settings.steps)):
        command += [option, str(value)] if value is not None else []
    if any((model / "state").glob("*")):
        command.append("--resume")
    started = time.monotonic()
    code, peak = run(command)
    spent["seconds"] = spent.get("seconds", 0.0) + time.monotonic() - started
    spent["peak bytes"] = max(spent.get("peak bytes", 0.0), peak)
    if code == 0:
        spent["done"] = 1.0
    write_json(record, spent)
    if code in (130, -2):
        raise KeyboardInterrupt
    if code:
        raise DataError(f"{data}: the training has failed (exit code {code}); its message is above")
    return spent


def run(command: Sequence[str]) -> tuple[int, float]:
    """Exit code of a process and its peak memory in bytes, 0 where the system does not tell."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while True:
        try:
            if not hasattr(os, "wait4"):
                return process.wait(), 0.0
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            return process.returncode, usage.ru_maxrss * (1.0 if sys.platform == "darwin" else 1024.0)
        except KeyboardInterrupt:
            continue  # the process has been told, too, and saves its state


def synthetic(model: DefectModel, data: Path, out: Path, defects: Sequence[str], n: int) -> tuple[list[Item], float]:
    """New images of each defect on normal images that training has not seen, and how many a second."""
    items, rates = [], []
    for defect in defects:
        folder, record = out / "synthetic" / defect, out / "synthetic" / f"{defect}.json"
        complete = (folder / "manifest.jsonl").is_file() and not (folder / UNFINISHED).exists()
        if not (complete and record.is_file()):
            made = synthesize(model=model, source=data, defect=defect, n=n, masks=True, out=folder, overwrite=complete)
            write_json(record, {"images/s": made.synthetic / max(made.seconds, 1e-9)})
        rates.append(read_json(record)["images/s"])
        items += synthetic_items(folder)
    return items, float(np.mean(rates))


def styled(model: DefectModel, name: str, test: Sequence[Item], out: Path, count: int) -> list[Styled]:
    """Shapes of unseen defects in eight styles each, on a normal image of their product."""
    found = []
    for source, reference in pairs(name, test, count):
        image, mask = out / f"{reference.path.stem}.png", out / f"{reference.path.stem}_mask.png"
        images = transfer(
            source.path, reference.path, model=model, defect=name.split("/")[1], out=image, mask=mask,
            n_styles=STYLES, overwrite=True,
        )  # fmt: skip
        masks = [mask.with_name(f"{mask.stem}_style{k:02d}.png") for k in range(STYLES)]
        items = [Item(path, name, other) for path, other in zip(images, masks, strict=True)]
        found.append(Styled(np.stack([one.image for one in items]), np.stack([one.mask for one in items])))
    return found


def transferred(model: DefectModel, name: str, test: Sequence[Item], out: Path, count: int) -> list[Transferred]:
    """Unseen defects, each on a normal image of its product."""
    found = []
    for source, reference in pairs(name, test, count):
        image, mask = out / f"{reference.path.stem}.png", out / f"{reference.path.stem}_mask.png"
        transfer(
            source.path, reference.path, model=model, defect=name.split("/")[1], out=image, mask=mask, overwrite=True
        )
        found.append(Transferred(Item(image, name, mask), reference))
    return found


def pairs(name: str, test: Sequence[Item], count: int) -> list[tuple[Item, Item]]:
    """Normal and defective images of a category, both evenly chosen: neighbours are often of one part."""
    normals = [one for one in test if one.normal and one.name.split("/")[0] == name.split("/")[0]]
    references = of(test, name)
    chosen = [references[k] for k in np.unique(np.linspace(0, len(references) - 1, count).astype(int))]
    return [(normals[k * len(normals) // len(chosen)], one) for k, one in enumerate(chosen)] if normals else []


def material(data: Path, model: Path, out: Path, settings: Settings) -> tuple[Material, float, str]:
    """All that a set is measured on, the images a second, and what the classifier is.

    Raises:
        DataError: no product and defect has masks and is in both parts.
    """
    train, test = real_items(data / "train"), real_items(data / "test")
    loaded = load_model(model)
    classify, classifier = imagenet_classifier()
    bare = Material(train, test, (), {}, {}, loaded, classify)
    if not bare.names:
        raise DataError(f"{data}: no product and defect in both train and test that has masks in test.masks")
    defects = sorted({name.split("/")[1] for name in bare.names})
    made, rate = synthetic(loaded, data / "test", out, defects, settings.n)
    shapes = {name: styled(loaded, name, test, out / "styles" / name, settings.shapes) for name in bare.names}
    moved = {name: transferred(loaded, name, test, out / "transfers" / name, settings.references)
             for name in bare.names}  # fmt: skip
    return Material(train, test, made, shapes, moved, loaded, classify), rate, classifier


def same_settings(out: Path, settings: Settings) -> None:
    """Keeps the settings in OUT.

    Raises:
        OutputError: it holds a table of others.
    """
    earlier = read_json(out / "settings.json")
    if earlier is not None and earlier != asdict(settings):
        raise OutputError(f"{out}: holds a table of other settings; name another folder with --out")
    write_json(out / "settings.json", asdict(settings))
