"""What an earlier run has left in an output folder, and what of it may be replaced. No torch.

By its record (`.defectaug-run.json`) an interrupted run is known again, and `--overwrite` knows which files are
ours.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePath, PurePosixPath
from typing import Any

from defectaug.errors import OutputError
from defectaug.io import manifest
from defectaug.io.atomic import is_part
from defectaug.io.files import real

RECORD = manifest.RECORD
MEMORY = "defectaug-made.json"  # of a finished run: how it was made
_MANIFEST = re.compile(r"manifest(\.\d+-of-\d+)?\.jsonl")


def read_record(out: Path) -> dict[str, Any] | None:
    """The record of a run that was stopped: None without one, empty where it cannot be understood."""
    try:
        record = json.loads((out / RECORD).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


def why_refused(out: Path, earlier: dict[str, Any] | None, record: dict[str, Any]) -> str:
    """What to tell of a folder that is in use, after the `--out` it was named by."""
    if earlier is None and (out / manifest.NAME).is_file():
        return "not empty, holds a finished run; choose another folder, or replace that run with --overwrite"
    old, new = (earlier or {}).get("settings"), record["settings"]
    if isinstance(old, dict) and "dropped" in old:
        return "images are being replaced there; finish that by the same --drop, or give --overwrite"
    if not isinstance(old, dict):
        return "the folder is not empty; choose another one, or replace an earlier run with --overwrite"
    other = [f"{name} {old.get(name)}, now {new[name]}" for name in new if old.get(name) != new[name]]
    changed = "; ".join(other) or "other source images"
    return f"holds an interrupted run with other settings ({changed}); repeat those, or give --overwrite"


def has_entries(folder: Path) -> bool:
    """Whether a folder holds anything but what a run that was stopped at its very start leaves."""
    return folder.is_dir() and not all(is_part(entry) for entry in folder.iterdir())


def is_empty(folder: Path) -> bool:
    return folder.is_dir() and next(folder.iterdir(), None) is None


def manifests(out: Path) -> list[Path]:
    """The manifest, and those of shards."""
    return [path for path in out.glob("manifest*.jsonl") if _MANIFEST.fullmatch(path.name)]


def remove_ours(out: Path, masks: Path, earlier: Mapping[str, Any] | None) -> None:
    """Removes what a manifest or a record of ours lists, and folders that are empty then. Nothing else."""
    if not out.is_dir():
        return
    parts = manifests(out)
    files = {line["file"] for part in parts for line in manifest.read_lines(part)}
    planned = (earlier or {}).get("files")
    files |= {file for file in (planned if isinstance(planned, list) else ()) if isinstance(file, str)}
    remove_files(out, masks, files)
    for path in (*parts, out / RECORD, out / MEMORY):
        path.unlink(missing_ok=True)


def remove_files(out: Path, masks: Path, files: Iterable[str]) -> None:
    """Removes images and their masks, and folders that are empty then; never a file outside of the two folders."""
    for file in sorted(filter(is_below, files)):
        for path, top in ((out / file, out), ((masks / file).with_suffix(".png"), masks)):
            if real(path.parent).is_relative_to(real(top)) and not path.is_dir():
                path.unlink(missing_ok=True)
                _remove_empty(path.parent, top)


def is_below(file: str) -> bool:
    """Whether a manifest's name leads to a file below the folder: else the line is not ours."""
    way = PurePath(file)
    return bool(way.name) and "\0" not in file and not way.anchor and ".." not in way.parts


def refuse_links(out: Path, files: list[str]) -> None:
    """Nothing is written through a link that leads out of the folder."""
    for folder in sorted({out / PurePosixPath(file).parent for file in files}):
        if not real(folder).is_relative_to(real(out)):
            raise OutputError(f"{folder}: is a link that leads out of {out}; remove it, or choose another --out")


def _remove_empty(folder: Path, top: Path) -> None:
    while folder != top and is_empty(folder):
        folder.rmdir()
        folder = folder.parent


def refuse_clashes(out: Path, files: list[str]) -> None:
    """Raises OutputError where one of the files is there and not ours."""
    clash = next((file for file in files if (out / file).exists()), None)
    if clash is not None:
        raise OutputError(f"{out / clash}: is there already and is not ours to replace; choose another --out")
