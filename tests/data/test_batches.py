"""Batches depend on seed and step alone, are balanced over product x defect, and show what they say."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from data_helpers import mask, native, picture, save
from numpy.typing import NDArray

from defectaug.data.batches import BalancedBatches, Batch
from defectaug.data.index import DataIndex, index_folder
from defectaug.data.stores import CropStore, FramedStore, ImageStore
from defectaug.errors import DataError
from defectaug.io.images import NativeImage, read_image, to_model

COUNTS = {"A/normal": 9, "A/scratch": 4, "A/spot": 1, "B/normal": 2, "B/spot": 3}


@pytest.fixture
def index(tmp_path: Path) -> DataIndex:
    return index_folder(native(tmp_path / "data", COUNTS))


def whole(index: DataIndex, size: int = 8) -> ImageStore:
    return ImageStore(index.samples, size, 1)


def equal(a: Batch, b: Batch) -> bool:
    return all(torch.equal(getattr(a, field.name), getattr(b, field.name)) for field in fields(Batch))


def test_a_batch_is_a_function_of_seed_and_step(index: DataIndex) -> None:
    first = BalancedBatches(index, whole(index), 6, 7, flips="hv")
    forward = [first.batch(step) for step in range(4)]
    second = BalancedBatches(index, whole(index), 6, 7, flips="hv")
    backward = [second.batch(step) for step in (3, 2, 1, 0)][::-1]
    assert all(equal(a, b) for a, b in zip(forward, backward, strict=True))
    assert not equal(forward[0], forward[1])
    assert not equal(forward[0], BalancedBatches(index, whole(index), 6, 8).batch(0))


def test_shapes_types_and_ranges(index: DataIndex) -> None:
    batch = BalancedBatches(index, ImageStore(index.samples, 8, 3), 5, 0).batch(0)
    assert len(batch) == 5
    for images in (batch.image, batch.reference):
        assert images.shape == (5, 3, 8, 8) and images.dtype == torch.float32
        assert images.min() >= -1 and images.max() <= 1
    for numbers in (batch.defect, batch.product, batch.index, batch.target, batch.reference_index):
        assert numbers.shape == (5,) and numbers.dtype == torch.int64
    assert batch.to("cpu").image.shape == batch.image.shape


def test_images_and_labels_belong_together(index: DataIndex) -> None:
    for step in range(10):
        batch = BalancedBatches(index, whole(index), 6, 0).batch(step)
        for row in range(6):
            source = index.samples[batch.index[row]]
            assert source.product == index.products[batch.product[row]]
            assert source.defect == index.defects[batch.defect[row]]
            reference = index.samples[batch.reference_index[row]]
            assert reference.defect == index.defects[batch.target[row]]
            assert reference.product == index.products[batch.reference_product[row]]
            expected = to_model(read_image(reference.path).pixels, 8, 1, 255)
            assert np.abs(batch.reference[row].numpy() - expected).max() < 1 / 255 + 1e-6


class Blank(ImageStore):
    """Tests of the draws alone need no pixels."""

    def get(self, number: int, rng: np.random.Generator | None = None) -> torch.Tensor:
        return torch.zeros(1, 1, 1)


def test_balance(index: DataIndex) -> None:
    balanced = BalancedBatches(index, Blank(index.samples, 1, 1), 10, 1)
    batches = [balanced.batch(step) for step in range(200)]
    sources = Counter(
        (index.products[p], index.defects[d])
        for batch in batches
        for p, d in zip(batch.product.tolist(), batch.defect.tolist(), strict=True)
    )
    assert sources == {(name[0], name[2:]): 400 for name in COUNTS}  # ten are two rounds over five categories
    targets = Counter(target for batch in batches for target in batch.target.tolist())
    assert targets[0] == pytest.approx(0.15 * 2000, rel=0.2)
    assert targets[1] == pytest.approx(targets[2], rel=0.15)
    spots = Counter(
        product
        for batch in batches
        for target, product in zip(batch.target.tolist(), batch.reference_product.tolist(), strict=True)
        if index.defects[target] == "spot"
    )
    assert spots[0] == pytest.approx(spots[1], rel=0.15)  # one image of A, three of B
    drawn = Counter(number for batch in batches for number in batch.index.tolist())
    assert len(drawn) == len(index)


def test_a_small_batch_shows_every_category_over_time(index: DataIndex) -> None:
    batches = BalancedBatches(index, Blank(index.samples, 1, 1), 2, 1)
    drawn = [batches.batch(step) for step in range(60)]
    categories = {(p, d) for b in drawn for p, d in zip(b.product.tolist(), b.defect.tolist(), strict=True)}
    assert len(categories) == 5


@pytest.mark.parametrize(("flips", "variants"), [("none", 1), ("h", 2), ("v", 2), ("hv", 4)])
def test_flips(index: DataIndex, flips: str, variants: int) -> None:
    batches = BalancedBatches(index, whole(index), 8, 0, flips=flips)  # type: ignore[arg-type]
    number = next(i for i, sample in enumerate(index.samples) if sample.defect == "spot")
    seen = {
        images[row].numpy().tobytes()
        for batch in map(batches.batch, range(60))
        for images, numbers in ((batch.image, batch.index), (batch.reference, batch.reference_index))
        for row in np.flatnonzero(numbers.numpy() == number)
    }
    assert len(seen) == variants


def test_no_defect_to_learn(tmp_path: Path) -> None:
    index = index_folder(native(tmp_path / "d", {"A/good": 2, "B/good": 1}), require_defects=False)
    with pytest.raises(DataError, match="no defective image"):
        BalancedBatches(index, whole(index), 2, 0)


def test_store_and_index_must_agree(index: DataIndex) -> None:
    with pytest.raises(ValueError, match="store"):
        BalancedBatches(index, ImageStore(index.samples[1:], 8, 1), 2, 0)


def test_each_image_is_decoded_once(index: DataIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[Path] = []

    def counted(path: Path) -> NativeImage:
        decoded.append(path)
        return read_image(path)

    monkeypatch.setattr("defectaug.data.stores.read_image", counted)
    store = whole(index)
    for _ in range(3):
        assert all(store.get(number).shape == (1, 8, 8) for number in range(len(store)))
    assert len(decoded) == len(index)
    bounded = ImageStore(index.samples, 8, 1, max_bytes=64 * 5)
    decoded.clear()
    for number in (0, 1, 2, 0):
        bounded.get(number)
    assert len(decoded) == 3
    for number in (3, 4, 5):  # one too many: 1 goes, having been used longest ago
        bounded.get(number)
    bounded.get(0)
    assert len(decoded) == 6
    bounded.get(1)
    assert len(decoded) == 7


def test_16_bit_images_keep_their_steps(tmp_path: Path) -> None:
    ramp = np.arange(64, dtype=np.uint16).reshape(8, 8) + 2000
    for name in ("A/good/x.png", "A/dent/x.png"):
        save(tmp_path / name, ramp)
    index = index_folder(tmp_path)
    values = ImageStore(index.samples, 8, 1, white=4095).get(0)
    assert len(values.unique()) == 64
    assert torch.allclose(values[0], torch.from_numpy(ramp / 4095 * 2 - 1).float(), atol=1e-4)


def cropped(tmp_path: Path, height: int, width: int) -> DataIndex:
    for number in range(3):
        save(tmp_path / "data" / "A" / "good" / f"{number}.png", picture(number, height, width))
        marked = mask(height, width, top=height - 6, left=width - 5, edge=3)
        save(tmp_path / "data" / "A" / "dent" / f"{number}.png", marked)
        save(tmp_path / "data.masks" / "A" / "dent" / f"{number}.png", marked)
    return index_folder(tmp_path / "data")


@pytest.mark.parametrize(("height", "width"), [(50, 70), (12, 40), (16, 16), (7, 9)])
def test_crops_show_the_defect(tmp_path: Path, height: int, width: int) -> None:
    index = cropped(tmp_path, height, width)
    store = CropStore(index.samples, 16, 1, normal=index.normal)
    rng = np.random.default_rng(0)
    for number, sample in enumerate(index.samples):
        for _ in range(20):
            window = store.get(number, rng)
            assert window.shape == (1, 16, 16) and window.dtype == torch.float32
            if sample.defect == "dent":
                assert window.max() > 0  # the image is its own mask: white where the defect is


def test_crops_are_cut_at_native_scale_and_anywhere(tmp_path: Path) -> None:
    index = cropped(tmp_path, 30, 40)
    store = CropStore(index.samples, 16, 1, normal=index.normal)
    number = next(i for i, sample in enumerate(index.samples) if sample.defect == "good")
    pixels = read_image(index.samples[number].path).pixels
    windows = {
        pixels[top : top + 16, left : left + 16].tobytes(): (top, left)
        for top in range(15)
        for left in range(25)
    }
    rng = np.random.default_rng(1)
    cut = [((store.get(number, rng)[0] + 1) * 127.5).round().byte().numpy().tobytes() for _ in range(800)]
    corners = np.array([windows[window] for window in cut])
    assert corners.min(axis=0).tolist() == [0, 0] and corners.max(axis=0).tolist() == [14, 24]


def test_normal_crops_show_the_border_about_as_often_as_defective_ones(tmp_path: Path) -> None:
    index = cropped(tmp_path, 60, 60)  # every defect lies in the bottom right corner
    store = CropStore(index.samples, 16, 1, normal=index.normal)
    numbers = {kind: next(i for i, one in enumerate(index.samples) if one.defect == kind) for kind in ("dent", "good")}
    rng = np.random.default_rng(0)

    def at_the_corner(kind: str, edge: int) -> float:
        store._readable = lambda n: (n, places(edge if n == numbers[kind] else 60))  # type: ignore[method-assign]
        windows = [store.get(numbers[kind], rng) for _ in range(400)]
        last = [round((window[0, -1, -1].item() + 1) / 2 * 65535) for window in windows]
        return float(np.mean([value == edge * edge - 1 for value in last]))

    expected = at_the_corner("dent", 60)
    assert expected > 0.4
    for edge in (60, 45, 90):  # good parts photographed smaller and larger
        assert at_the_corner("good", edge) > 0.6 * expected


def places(edge: int) -> NDArray[np.uint16]:
    """An image in which a pixel's value tells its place."""
    return np.add.outer(edge * np.arange(edge), np.arange(edge)).astype(np.uint16)


def test_normal_crops_show_the_part_however_it_lies_on_its_table(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for kind, count in (("good", 6), ("dent", 3)):
        for number in range(count):  # a white part of 20 x 20 pixels somewhere on a table of 160 x 160
            top, left = rng.integers(0, 140, 2)
            save(tmp_path / "data" / "A" / kind / f"{number}.png", mask(160, 160, top=top, left=left, edge=20))
    index = index_folder(tmp_path / "data")
    kinds = {kind: [n for n, one in enumerate(index.samples) if one.defect == kind] for kind in ("good", "dent")}
    parts = {n: np.argwhere(read_image(index.samples[n].path).pixels > 0) / 160 for n in kinds["dent"]}
    store = CropStore(index.samples, 32, 1, normal=index.normal, points=parts)
    shown = [float((store.get(kinds["good"][k % 6], rng) > 0).float().mean()) > 0.1 for k in range(400)]
    assert np.mean(shown) > 0.25  # 0.05 of windows anywhere show so much


def test_crops_in_batches_are_reproducible(tmp_path: Path) -> None:
    index = cropped(tmp_path, 30, 40)
    store = CropStore(index.samples, 16, 3, normal=index.normal)
    batches = BalancedBatches(index, store, 4, 0, flips="h")
    assert equal(batches.batch(5), batches.batch(5))
    assert batches.batch(5).image.shape == (4, 3, 16, 16)


def test_each_product_is_framed_in_its_own_way(tmp_path: Path) -> None:
    """Windows of 32 pixels, seen at half their size, of A; B whole: a mark of a quarter of the window's area, white."""
    for product in "AB":
        for number in range(2):
            marked = mask(64, 96, top=20, left=40, edge=16)
            save(tmp_path / product / "good" / f"{number}.png", np.zeros((64, 96), np.uint8))
            save(tmp_path / product / "dent" / f"{number}.png", marked)
    index = index_folder(tmp_path)
    points = {n: np.array([[28 / 64, 48 / 96]]) for n, sample in enumerate(index.samples) if sample.defect == "dent"}
    crops = CropStore(index.samples, 16, 1, normal=index.normal, windows={"A": 32}, points=points)
    store = FramedStore(ImageStore(index.samples, 16, 1), crops, {"A"})
    rng = np.random.default_rng(0)
    for number, sample in enumerate(index.samples):
        share = np.mean([float((store.get(number, rng) > 0).float().mean()) for _ in range(20)])
        wanted = {"A": 0.25, "B": 16 * 16 / (64 * 96)}[sample.product] if sample.defect == "dent" else 0
        assert share == pytest.approx(wanted, rel=0.25)
        photograph = store.photograph(number)
        assert photograph.pixels.shape == (64, 96) and photograph.side == {"A": 32, "B": None}[sample.product]
    first = next(iter(store.points))
    assert {index.samples[number].product for number in store.points} == {"A"}
    store.aim({first: np.array([[8 / 64, 8 / 96]])})
    assert not any((store.get(first, rng) > 0).any() for _ in range(20))  # the mark is elsewhere
    assert np.array_equal(np.asarray(store.photograph(first).points), [[8 / 64, 8 / 96]])


def test_crops_need_masks(tmp_path: Path, index: DataIndex) -> None:
    with pytest.raises(DataError, match="8 of 8 have none"):
        CropStore(index.samples, 8, 1, normal=index.normal)
    marked = cropped(tmp_path / "marked", 20, 20)
    save(marked.category("A", "dent")[0].mask or tmp_path, np.zeros((20, 20), np.uint8))
    with pytest.raises(DataError, match="empty mask"):
        CropStore(marked.samples, 8, 1, normal=marked.normal)
