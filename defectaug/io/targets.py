"""Files that a user names to be written: looked at before anything long is begun."""

from __future__ import annotations

from pathlib import Path

from defectaug.errors import ConfigError, OutputError
from defectaug.io.files import expanded

PAGE_ENDINGS = frozenset({".html", ".htm"})


def page_target(option: str, given: str | Path) -> Path:
    """Where a page goes. Only a name that says so is opened by a browser, and not by whatever else it names.

    Raises:
        ConfigError: the name says something else.
        OutputError: as `file_target`.
    """
    path = file_target(option, given)
    if not _is_page_name(path):
        raise ConfigError(f"{option} {given}: a page is written as HTML; give a name that ends in .html")
    return path


def numbers_target(option: str, given: str | Path) -> Path:
    """Where JSON goes, under any name but a page's.

    Raises:
        ConfigError: the name is that of a page, or stands for standard output.
        OutputError: as `file_target`.
    """
    path = file_target(option, given)
    if _is_page_name(path):
        raise ConfigError(f"{option} {given}: numbers are written as JSON; give a name that ends in .json")
    if str(given) == "-":
        raise ConfigError(f"{option} -: a file is written, nothing to standard output; name one")
    return path


def file_target(option: str, given: str | Path) -> Path:
    """A file, there or not.

    Raises:
        OutputError: a folder, a device or a pipe, which cannot appear whole; to look into a pipe would never end.
    """
    path = expanded(given)
    if path.is_dir():
        raise OutputError(f"{option} {given}: is a folder; name a file")
    if path.exists() and not path.is_file():
        raise OutputError(f"{option} {given}: is a pipe or a device; name a file")
    return path


def _is_page_name(path: Path) -> bool:
    return path.suffix.casefold() in PAGE_ENDINGS
