"""The files that an evaluation leaves: numbers as JSON, a page as HTML."""

from __future__ import annotations

import json as json_module
import platform
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from defectaug import __version__
from defectaug.errors import OutputError
from defectaug.io.atomic import cause, is_part, part_of
from defectaug.io.images import write_atomic
from defectaug.io.lock import Lock
from defectaug.io.targets import numbers_target, page_target
from defectaug.reporting.page import MARK, as_html
from defectaug.reporting.sections import Section, plain

KIND = "evaluation"


@dataclass(frozen=True)
class Outputs:
    """Files to write."""

    json: Path | None
    report: Path | None


def check_outputs(json: str | Path | None, report: str | Path | None) -> Outputs:
    """The files, looked at before anything long is begun.

    Raises:
        ConfigError: a name that says another kind of file.
        OutputError: a file is there that no evaluation has left, a folder or a pipe has its name, or its folder cannot
            be made.
    """
    outputs = Outputs(
        None if json is None else numbers_target("--json", json),
        None if report is None else page_target("--report", report),
    )
    for option, place in (("--json", outputs.json), ("--report", outputs.report)):
        if place is None:
            continue
        if place.exists() and not _is_ours(place):
            raise OutputError(f"{option} {place}: is there already and no evaluation has left it; choose another name")
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{option} {place}: its folder cannot be made ({error.strerror or error})") from error
    return outputs


@contextmanager
def only_run(outputs: Outputs, cache: Path | None) -> Iterator[None]:
    """Holds a lock on each file that is to be written and on the cache: a second run into any of them is refused. The
    locks end with the process.

    Raises:
        OutputError: another run is writing there, or the files' folder cannot be written.
    """
    with ExitStack() as held:
        for option, path in (("--json", outputs.json), ("--report", outputs.report)):
            if path is not None:
                try:
                    held.enter_context(_locked(f"{option} {path}", part_of(path).with_suffix(".lock")))
                except OSError as error:
                    raise OutputError(f"{option} {path}: cannot be written ({cause(error)})") from error
        if cache is not None:
            with suppress(OSError):  # a cache that may only be read is of use, too
                if not cache.exists():
                    cache.mkdir(parents=True)
                    held.callback(_remove_if_empty, cache)
                held.enter_context(_locked(f"--cache {cache}", cache / ".lock"))
                _remove_parts(cache)
        yield


def _locked(what: str, path: Path) -> Lock:
    return Lock(path, f"{what}: another run is writing there; wait for its end, or choose another name")


def _remove_parts(folder: Path) -> None:
    """Clears away what a killed run was writing; a run with other images would never come to its name."""
    for path in folder.rglob(".*.part"):
        if is_part(path) and path.is_file():
            path.unlink(missing_ok=True)


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()


def _is_ours(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            head = file.read(1 << 12).decode("utf-8", errors="replace")
    except OSError:
        return False
    return not head.strip() or MARK in head or f'"kind": "{KIND}"' in head


def settings_of(command: Sequence[str], **asked: Any) -> dict[str, Any]:
    """What was asked for, versions and machine."""
    from importlib.metadata import PackageNotFoundError, version

    versions = {"defectaug": __version__, "python": platform.python_version()}
    for name in ("torch", "torchvision", "numpy", "pillow", "torch-fidelity", "torchmetrics"):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "kind": KIND,
        "command": shlex.join(map(str, command)) if command else None,
        "settings": plain(asked),
        "versions": versions,
        "machine": f"{platform.system()} {platform.machine()}",
    }


def write_outputs(
    outputs: Outputs, numbers: Mapping[str, Any], sections: Sequence[Section], notes: Sequence[str], white: int
) -> None:
    """Writes the files that are asked for, each whole or not at all; `white` is that of 16-bit images.

    Raises:
        OutputError: no space, no permission.
    """
    if outputs.json is not None:
        content = json_module.dumps(numbers, indent=2, ensure_ascii=False, allow_nan=False).encode()
        write_atomic(outputs.json, lambda file: file.write(content + b"\n"))
    if outputs.report is not None:
        page = as_html(f"Evaluation of {numbers['folder']}", sections, _about(numbers, notes), white).encode()
        write_atomic(outputs.report, lambda file: file.write(page))


def _in_words(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_in_words, value)) or "-"
    return "-" if value is None else str(value)


def _about(numbers: Mapping[str, Any], notes: Sequence[str]) -> list[tuple[str, str]]:
    about = [("command", numbers["command"] or "from Python"), ("machine", numbers["machine"])]
    about += [(name.replace("_", " "), _in_words(value)) for name, value in numbers["settings"].items()]
    about += [(f"version of {name}", value) for name, value in numbers["versions"].items()]
    return [*about, *(("said on the way", note) for note in notes)]
