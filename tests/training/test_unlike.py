"""A training whose defective images are like normal ones says so in the end."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from data_helpers import save

import defectaug
from defectaug.data.framing import Photograph
from defectaug.data.index import index_folder
from defectaug.errors import DataError
from defectaug.methods.instances import Bag
from defectaug.nn.ranking import auroc
from defectaug.training.unlike import hardly_unusual


def surface(seed: int, dent: bool = False) -> np.ndarray:
    pixels = np.random.default_rng(seed).normal(130, 9, (64, 64))
    if dent:
        pixels[20:38, 24:44] = 10
    return pixels.clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """On A dents can be seen, on B nothing can."""
    root = tmp_path_factory.mktemp("parts") / "data"
    for number in range(20):
        for product, seed in (("A", number), ("B", 1000 + number)):
            save(root / product / "normal" / f"{number:02d}.png", surface(seed))
    for number in range(8):
        for product in "AB":
            save(root / product / "dent" / f"{number}.png", surface(100 + number, dent=product == "A"))
    return root


def test_a_training_names_what_cannot_be_told_from_normal_images(parts: Path, tmp_path: Path) -> None:
    settings = tmp_path / "short.yaml"
    settings.write_text("run: {warmup: 40, steps: 43}\ndata: {framing: whole}\n")
    lines: list[str] = []
    defectaug.train(
        parts, out=tmp_path / "model", preset="tiny", config=settings, device="cpu", precision="fp32", log=lines.append
    )
    said = [line for line in lines if "stand out" in line]
    assert len(said) == 1 and said[0].startswith("note: B/dent: these images stand out")
    assert "samples/" in said[0] and lines.index(said[0]) > next(n for n, line in enumerate(lines) if "trained" in line)


class Told:
    """A method that finds the brightest pixel unusual, and of whose eight features the first is what ``shared`` says of
    an image."""

    def __init__(self, shared: Callable[[Photograph], float] = lambda photograph: 0.0) -> None:
        self.shared = shared

    def unusual(self, photograph: Photograph, product: int, enough: float = math.inf) -> float:
        return float(photograph.pixels.max())

    def standing_out(self, photograph: Photograph, product: int) -> Bag:
        places = torch.randn(12, 8, generator=torch.Generator().manual_seed(int(1000 * photograph.pixels[0, 0])))
        places[:3, 0] += 6 * self.shared(photograph)
        return places, torch.ones(12)

    def is_apart(self, number: int) -> bool:
        return True


def test_what_a_class_has_in_common_counts_where_nothing_stands_out(parts: Path) -> None:
    index = index_folder(parts)

    def read(number: int) -> Photograph:  # on A, a fainter mark than the dirt of other images; on B none
        sample = index.samples[number]
        marked = sample.category == ("A", "dent")
        return Photograph(np.full((4, 4), 0.001 * number + 0.2 * (number % 3) + 2 * marked, np.float32))

    class Dirty(Told):
        def unusual(self, photograph: Photograph, product: int, enough: float = math.inf) -> float:
            return float(photograph.pixels[0, 0] % 0.2)

    named = [line.split(":")[0] for line in hardly_unusual(Dirty(lambda one: one.pixels[0, 0] > 1.5), index, read)]
    assert named == ["B/dent"]
    assert len(list(hardly_unusual(Dirty(), index, read))) == 2


def test_images_that_cannot_be_read_are_left_out_and_other_methods_say_nothing(parts: Path) -> None:
    index = index_folder(parts)

    def read(number: int) -> Photograph:
        if number % 3 == 0:
            raise DataError("gone")
        defective, good = (index.samples[number].defect != "normal", index.samples[number].product == "B")
        return Photograph(np.full((4, 4), 0.5 + 0.1 * (defective and good), np.float32))

    assert [line.split(":")[0] for line in hardly_unusual(Told(), index, read)] == ["A/dent"]
    assert not list(hardly_unusual(object(), index, read))


def test_looking_at_large_images_shows_its_progress(parts: Path) -> None:
    shown: list[tuple[str, int, int]] = []
    read = Photograph(np.full((4, 4), 0.5, np.float32))
    stages = lambda stage: lambda done, total: shown.append((stage, done, total))  # noqa: E731
    list(hardly_unusual(Told(), index_folder(parts), lambda number: read, stages))
    once = 10 + 8  # every second normal image, so that they are 16 at most, and all dents
    totals = [2 * once] * once + [3 * once] * 2 * once + [4 * once] * once
    assert shown == [("looking at what stands out", done, total) for done, total in enumerate(totals, start=1)]


def test_of_a_defective_image_no_more_is_looked_at_than_tells_it_from_all_normal_ones(parts: Path) -> None:
    index = index_folder(parts)
    asked: list[tuple[str, float]] = []

    class Hurried(Told):
        def unusual(self, photograph: Photograph, product: int, enough: float = math.inf) -> float:
            asked.append((index.products[product], enough))
            return min(super().unusual(photograph, product), enough + 0.001)

    def read(number: int) -> Photograph:
        sample = index.samples[number]
        dent = 0.5 * (sample.defect != "normal" and sample.product == "A")
        return Photograph(np.full((4, 4), 0.01 * (number % 7) + dent, np.float32))

    assert list(hardly_unusual(Hurried(), index, read)) == list(hardly_unusual(Told(), index, read)) != []
    for product in "AB":
        usual, highest = sorted({enough for one, enough in asked if one == product}, reverse=True)
        assert usual == math.inf and 0 < highest <= 0.06


def test_auroc_counts_ties_half() -> None:
    assert auroc([2, 3], [0, 1]) == 1 and auroc([0], [1, 2]) == 0
    assert auroc([1, 1], [1, 1]) == 0.5
