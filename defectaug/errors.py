"""Errors that the user can mend, which the command line prints as one line (exit code 2), and advice for their text."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class DefectaugError(Exception):
    """Base of all errors whose message names what is wrong, where, and what to do."""


class DataError(DefectaugError):
    """A data folder, class map or image that cannot be used."""


class ConfigError(DefectaugError):
    """A setting, recipe or command line option that cannot be used."""


class BundleError(DefectaugError):
    """A model folder that is missing, cut short, damaged or of another version."""


class OutputError(DefectaugError):
    """An output folder or file that cannot be written."""


class TrainingError(DefectaugError):
    """A training run that stopped on its own: its numbers are not finite."""


class PeerError(DefectaugError):
    """Another process of a run on several has stopped."""


def at_least(least: int, **numbers: int | None) -> None:
    """Raises ConfigError where a number is lower; the names are those of options, None is one that was not given."""
    for name, number in numbers.items():
        if number is not None and number < least:
            raise ConfigError(f"--{name.replace('_', '-')} {number}: must be {least} or more")


def nearest(name: str, known: Iterable[str]) -> str:
    """Advice for a name that is not known: the nearest one, or all of them."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if not close:  # upper and lower case are a frequent mistake, and far apart for difflib
        close = [other for other in known if other.casefold() == name.casefold()]
    return f"did you mean '{close[0]}'?" if close else f"known: {', '.join(known) or 'none'}"
