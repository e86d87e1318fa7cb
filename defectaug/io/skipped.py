"""Lines about files that are left out: the first few by name, of many their number too."""

from __future__ import annotations

from collections.abc import Callable, Sequence

NAMED = 3


def log_skipped(reasons: Sequence[str], images: str, log: Callable[[str], None]) -> None:
    """A line for each of the first reasons, and one for the number of all where there are more.

    Args:
        reasons: why each file is left out, its path included.
        images: what they are, as in "5 images in all".
        log: takes lines for the user.
    """
    for reason in reasons[:NAMED]:
        log(f"skipped: {reason}")
    if len(reasons) > NAMED:
        log(f"skipped: {len(reasons)} {images} in all")
