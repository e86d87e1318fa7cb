"""One labelled image of a data set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Sample:
    """An image file and what its folders say about it.

    Args:
        path: the image file.
        product: name of the product it shows.
        defect: name of its class, which may be the normal one.
        mask: file of the true defect mask, where one lies beside the images.
        split: "train", "val", "test", or None where the data set does not say.
    """

    path: Path
    product: str
    defect: str
    mask: Path | None = None
    split: str | None = None
