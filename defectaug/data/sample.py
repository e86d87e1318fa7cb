"""One labelled image of a data set, and the category it belongs to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple


class Category(NamedTuple):
    """A product and defect pair; the normal class is a defect here."""

    product: str
    defect: str

    def __str__(self) -> str:
        return f"{self.product}/{self.defect}"


@dataclass(frozen=True, slots=True)
class Sample:
    """An image file and what its folders tell of it.

    Args:
        path: the image file.
        product: name of the product it shows.
        defect: name of its class, which may be the normal one.
        mask: file of the true defect mask, where one lies beside the images.
        split: "train", "val", "test", or None where the data set does not tell.
    """

    path: Path
    product: str
    defect: str
    mask: Path | None = None
    split: str | None = None

    @property
    def category(self) -> Category:
        return Category(self.product, self.defect)
