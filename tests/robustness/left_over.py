"""What must hold of the files on disk, whenever a run was stopped, and at its end."""

from __future__ import annotations

import csv
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image
from safetensors import SafetensorError
from safetensors.numpy import load_file


class Fault(Exception):
    """Something of the user's is torn, missing or left over."""


def check_model(out: Path, complete: bool) -> None:
    """Config, weights, one of two states, sample sheets and metrics are whole, as far as they are there."""
    if (out / "config.yaml").exists():
        content = yaml.safe_load((out / "config.yaml").read_text())
        if not isinstance(content, dict) or "settings" not in content:
            raise Fault("config.yaml is torn")
    for file in [out / "model.safetensors", *out.glob("state/*.safetensors")]:
        if file.exists():
            _tensors(file)
    if (out / "model.safetensors").exists() and not any((out / name).is_dir() for name in ("state", "state.old")):
        raise Fault("weights without a state to go on from")
    if not (out / "state").is_dir() and (out / "state.old").is_dir():
        _tensors(out / "state.old" / "state.safetensors")
        json.loads((out / "state.old" / "state.json").read_text())
    for file in out.glob("state/state.json"):
        json.loads(file.read_text())
    for file in out.glob("samples/*.png"):
        _image(file)
    if complete:
        _check_metrics(out / "metrics.csv")
        _no_litter(out)


def check_synthesis(out: Path, complete: bool) -> None:
    """Every image and mask is whole, and every line of the manifest is of an image that is there."""
    for folder in (out, out.with_name(f"{out.name}.masks")):
        for file in folder.rglob("*.png"):
            _image(file)
    manifest = out / "manifest.jsonl"
    if manifest.exists():
        lines = manifest.read_text().split("\n")
        files = [json.loads(line)["file"] for line in lines[:-1]]  # the last one may be cut short
        if missing := [file for file in files if not (out / file).is_file()]:
            raise Fault(f"in the manifest and not there: {missing}")
        if len(set(files)) < len(files):
            raise Fault("a line is there twice")
    if complete:
        made = {str(file.relative_to(out)) for file in out.rglob("*.png")}
        if made != set(files) or lines[-1]:
            raise Fault(f"{len(made)} images, {len(files)} lines")
        _no_litter(out)
        _no_litter(out.with_name(f"{out.name}.masks"))


def check_transfer(out: Path, complete: bool) -> None:
    """Every image is whole."""
    for file in out.rglob("*.png"):
        _image(file)
    if complete:
        _no_litter(out)


def check_evaluation(out: Path, complete: bool) -> None:
    """Numbers, page and every kept file are whole, as far as they are there; nothing lies beside them at the end."""
    numbers, page = out / "numbers.json", out / "report.html"
    for file in [numbers, *out.glob("cache/study/*.json")]:
        if file.exists():
            _json(file)
    if page.exists() and not page.read_text().endswith("</body></html>\n"):
        raise Fault("the page is torn")
    for file in out.glob("cache/**/*.npz"):
        _arrays(file)
    if complete:
        if sorted(p.name for p in out.iterdir()) != ["cache", "numbers.json", "report.html"]:
            raise Fault(f"numbers, page and cache are not all that is there: {sorted(out.iterdir())}")
        _no_litter(out)


def same_model(out: Path, reference: Path) -> None:
    """Bit for bit the same weights, optimisers and sheets, and the same metrics but for the speed."""
    for name in ("model.safetensors", "state/state.safetensors"):
        found, expected = _tensors(out / name), _tensors(reference / name)
        if found.keys() != expected.keys():
            raise Fault(f"{name}: other tensors")
        if different := [key for key in found if not np.array_equal(found[key], expected[key])]:
            raise Fault(f"{name}: {len(different)} tensors differ, first {different[0]}")
    sheets = [{file.name: file.read_bytes() for file in folder.glob("samples/*.png")} for folder in (out, reference)]
    if sheets[0] != sheets[1]:
        raise Fault("other sample sheets")
    rows = [_metrics(folder / "metrics.csv") for folder in (out, reference)]
    if rows[0] != rows[1]:
        raise Fault(f"other metrics: {[row for row in rows[0] if row not in rows[1]][:2]}")


def same_tree(out: Path, reference: Path) -> None:
    """The same files with the same bytes, masks included."""
    for ending in ("", ".masks"):
        found, expected = (_contents(folder.with_name(folder.name + ending)) for folder in (out, reference))
        if found != expected:
            names = sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))
            raise Fault(f"{len(names)} files differ from those of a run that was not stopped: {names[:4]}")


def same_evaluation(out: Path, reference: Path) -> None:
    """The same numbers, page and kept files, but for the time that trainings took."""
    found, expected = (_timeless(_json(folder / "numbers.json")) for folder in (out, reference))
    if found != expected:
        raise Fault(f"other numbers: {[key for key in expected if found.get(key) != expected[key]]}")
    if (out / "report.html").read_bytes() != (reference / "report.html").read_bytes():
        raise Fault("another page")
    kept = [
        {
            str(path.relative_to(folder)): _timeless(_json(path)) if path.suffix == ".json" else path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file()
        }
        for folder in (out / "cache", reference / "cache")
    ]
    if kept[0] != kept[1]:
        names = sorted(name for name in kept[0].keys() | kept[1].keys() if kept[0].get(name) != kept[1].get(name))
        raise Fault(f"{len(names)} kept files differ: {names[:4]}")


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_text())
    except ValueError as error:
        raise Fault(f"{file}: torn ({error})") from error


def _timeless(value: Any) -> Any:
    """A tree without its entries "seconds"."""
    if isinstance(value, dict):
        return {key: _timeless(one) for key, one in value.items() if key != "seconds"}
    return [_timeless(one) for one in value] if isinstance(value, list) else value


def _arrays(file: Path) -> None:
    try:
        with np.load(file, allow_pickle=False) as held:
            for name in held.files:
                held[name]
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise Fault(f"{file}: torn ({error})") from error


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def _tensors(file: Path) -> dict[str, np.ndarray]:
    try:
        return load_file(file)
    except (OSError, SafetensorError) as error:
        raise Fault(f"{file.name}: {error}") from error


def _image(file: Path) -> None:
    try:
        with Image.open(file) as image:
            image.load()
    except OSError as error:
        raise Fault(f"{file}: torn ({error})") from error


def _metrics(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as text:
        return [{k: v for k, v in row.items() if k != "images_per_second"} for row in csv.DictReader(text)]


def _check_metrics(file: Path) -> None:
    steps = [int(row["step"]) for row in _metrics(file)]
    if steps != sorted(steps):
        raise Fault(f"steps out of order: {steps}")


def _no_litter(folder: Path) -> None:
    litter = [p for p in folder.rglob("*") if p.name.endswith((".part", ".old", ".lock")) or p.name.startswith(".")]
    if litter:
        raise Fault(f"left over: {[str(p.relative_to(folder)) for p in litter]}")
