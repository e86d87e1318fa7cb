"""Defects painted within a training loop, by the bundle that ships."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2

from defectaug import DefectAugment
from defectaug.bundle import load_model
from defectaug.errors import BundleError, ConfigError, DataError
from defectaug.io.images import as_channels
from defectaug.io.regions import regions

HERE = Path(__file__).parents[2]
MODEL = HERE / "models/demo"
pytestmark = pytest.mark.xdist_group("augment")
NORMAL = sorted((HERE / "examples/demo/data/A/normal").glob("*.png"))[:6]


@pytest.fixture(autouse=True, scope="module")
def one_model() -> Iterator[None]:
    """The bundle is read once for all tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("defectaug.synthesis.augment.load_model", cache(load_model))
        yield


@pytest.fixture(scope="module")
def arrays() -> list[np.ndarray]:
    return [np.asarray(Image.open(path)) for path in NORMAL]


def test_a_normal_image_goes_in_and_image_class_and_mask_come_out(arrays: list[np.ndarray]) -> None:
    augment = DefectAugment(MODEL, p=1, product="A")
    assert augment.classes == ("normal", "scratch", "spot")
    labels = set()
    for pixels in arrays:
        before = pixels.copy()
        image, label, mask = augment(pixels)
        assert (image.shape, image.dtype, mask.shape, mask.dtype) == (pixels.shape, np.uint8, pixels.shape, bool)
        assert (pixels == before).all()
        change = np.abs(image.astype(int) - pixels)
        assert 0 < mask.mean() < 0.3
        assert change[mask].mean() > 5 * change[~mask].mean()
        labels.add(label)
    assert labels == {1, 2}


def test_probability_and_classes_are_heeded(arrays: list[np.ndarray]) -> None:
    never = DefectAugment(MODEL, p=0)
    image, label, mask = never(arrays[0])
    assert (image is arrays[0], label, mask.any()) == (True, 0, False)
    assert {DefectAugment(MODEL, p=1, defects=["spot"])(pixels).label for pixels in arrays[:3]} == {2}
    sometimes = DefectAugment(MODEL, p=0.5)
    assert {sometimes(arrays[0]).label > 0 for _ in range(12)} == {True, False}


def test_the_same_seed_paints_the_same_also_after_pickling(arrays: list[np.ndarray]) -> None:
    first, other = DefectAugment(MODEL, p=1, seed=3), DefectAugment(MODEL, p=1, seed=4)
    first(arrays[0])
    again = pickle.loads(pickle.dumps(first))
    assert len(pickle.dumps(first)) < 2000
    assert again._model is None
    one, two, three = (augment(arrays[0]).image for augment in (again, DefectAugment(MODEL, p=1, seed=3), other))
    assert (one == two).all()
    assert (one != three).any()


@pytest.mark.parametrize("colour", [False, True])
def test_all_kinds_of_images_get_the_same_defect(colour: bool, arrays: list[np.ndarray]) -> None:
    pixels = np.dstack([arrays[0]] * 3) if colour else arrays[0]
    planes = torch.from_numpy(pixels.copy()).permute(2, 0, 1) if colour else torch.from_numpy(pixels.copy())[None]

    def augmented(image: object) -> tuple:
        return DefectAugment(MODEL, p=1, seed=1)(image)

    image, label, mask = augmented(pixels)
    pil = augmented(Image.fromarray(pixels))
    assert isinstance(pil[0], Image.Image) and (np.asarray(pil[0]) == image).all()
    tensor = augmented(planes)
    assert tensor[0].shape == planes.shape and tensor[0].dtype == torch.uint8
    assert (as_channels(tensor[0].permute(1, 2, 0).numpy().squeeze(), 3) == as_channels(image, 3)).all()
    floats = augmented(tv_tensors.Image(planes.float() / 255))
    assert isinstance(floats[0], tv_tensors.Image)
    assert float((floats[0] * 255 - tensor[0]).abs().max()) <= 0.51
    deep = augmented(pixels.astype(np.uint16) * 257) if not colour else (image, label, mask)
    assert deep[0].dtype == (np.uint8 if colour else np.uint16)
    for other in (pil, tensor, floats):
        assert other[1] == label
        assert isinstance(other[2], tv_tensors.Mask) and (other[2].numpy().astype(bool) == mask).all()


def test_it_stands_in_a_chain_of_torchvision(arrays: list[np.ndarray]) -> None:
    chain = v2.Compose(
        [v2.ToImage(), DefectAugment(MODEL, p=1, product="A"), v2.RandomHorizontalFlip(p=1), v2.Resize((64, 64))]
    )
    image, label, mask = chain(Image.open(NORMAL[0]))
    assert (tuple(image.shape), tuple(mask.shape)) == ((1, 64, 64), (64, 64))
    assert label in (1, 2) and mask.any()


class Images(Dataset):
    def __init__(self, arrays: list[np.ndarray]) -> None:
        self.arrays, self.augment = arrays * 2, DefectAugment(MODEL, p=1, product="A")

    def __len__(self) -> int:
        return len(self.arrays)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        image, label, _ = self.augment(self.arrays[index])
        return torch.from_numpy(image), label


def test_workers_and_epochs_differ_and_come_again(
    arrays: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("defectaug.synthesis.augment.load_model", load_model)  # each worker reads the bundle itself

    def epochs() -> list[torch.Tensor]:
        loader = DataLoader(
            Images(arrays[:3]), batch_size=3, num_workers=2, generator=torch.Generator().manual_seed(5)
        )
        return [torch.cat([images for images, _ in loader]) for _ in range(2)]

    first, second = epochs()
    assert len(first) == 6  # the first three of one worker, the same images again of the other
    assert (first != second).flatten(1).any(1).all()  # another defect on the same image
    assert (first[:3] != first[3:]).flatten(1).any(1).all()
    assert all((one == two).all() for one, two in zip((first, second), epochs(), strict=True))


def painted(arrays: list[np.ndarray], **options: object) -> list[tuple[np.ndarray, np.ndarray]]:
    """What is added to each image, and its mask."""
    augment = DefectAugment(MODEL, p=1, product="A", **options)  # type: ignore[arg-type]
    results = [(augment(pixels), pixels) for pixels in arrays]
    return [(image.astype(int) - pixels, mask) for (image, _, mask), pixels in results]


def test_defects_lie_within_a_mask_for_all_or_for_one_image(arrays: list[np.ndarray], tmp_path: Path) -> None:
    left = np.zeros(arrays[0].shape, np.uint8)
    left[:, : left.shape[1] // 2] = 255
    Image.fromarray(left).save(tmp_path / "left.png")
    for region in (left, tmp_path / "left.png"):
        found = painted(arrays, region=region)
        assert sum(mask.any() for _, mask in found) > len(found) / 2
        assert not any(change[left == 0].any() or mask[left == 0].any() for change, mask in found)
    augment = DefectAugment(MODEL, p=1, product="A", region=left)
    image, label, _ = augment(arrays[0], region=left == 0)  # a call's own counts
    assert label and not (image != arrays[0])[left > 0].any()
    assert augment(arrays[0], region=np.zeros((8, 8), bool)).label == 0


def test_defects_stay_on_the_product_that_is_found_in_normal_images(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:128, :128] - 63.5
    disc = np.hypot(rows, columns) < 40
    pictures = [np.where(disc, 150, 110) + rng.integers(0, 12, disc.shape) for _ in range(6)]
    for number, pixels in enumerate(pictures):
        (tmp_path / "A/normal").mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / f"A/normal/{number}.png")
    shown = [pixels.astype(np.uint8) for pixels in pictures]
    beside = np.hypot(rows, columns) > 42

    def outside(**options: object) -> int:
        return sum(bool(mask[beside].any()) for _, mask in painted(2 * shown, seed=5, **options))

    assert outside() > 0
    assert outside(region="auto", source=tmp_path) == 0
    augment = pickle.loads(pickle.dumps(DefectAugment(MODEL, p=1, region="auto", source=tmp_path)))
    assert not augment(shown[0], product="A").mask[beside].any()
    with pytest.raises(ConfigError, match="name the product"):
        augment(shown[0])
    with pytest.raises(ConfigError, match="no normal images of product B"):
        augment(shown[0], product="B")


def test_strength_size_and_number_are_heeded(arrays: list[np.ndarray]) -> None:
    plain = painted(arrays)

    def mean(of: Callable[[np.ndarray, np.ndarray], float], **options: object) -> float:
        found = painted(arrays, **options) if options else plain
        return float(np.mean([of(change, mask) for change, mask in found if mask.any()]))

    def contrast(change: np.ndarray, mask: np.ndarray) -> float:
        return float(np.abs(change[mask]).mean())

    assert mean(contrast, strength="0.5:0.5") < 0.8 * mean(contrast) < 0.8 * 0.9 * mean(contrast, strength=1.5)
    area = [mean(lambda change, mask: mask.mean(), **size) for size in ({"size": 0.5}, {}, {"size": 2})]
    assert area[0] < 0.4 * area[1] < 0.4 * area[2] / 3  # a quarter, and four times as much where there is room
    parts = [mean(lambda change, mask: len(regions(mask)), **most) for most in ({}, {"max_defects": 3})]
    assert parts[1] > parts[0] + 0.5


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"p": 1.5}, "p is 1.5"),
        ({"product": "Z"}, "product Z: not in model demo"),
        ({"defects": ["dent"]}, "defects dent: not in model demo"),
        ({"defects": []}, "defects: is empty"),
        ({"size": "2:1"}, "--size 2:1: the first factor is above the second"),
        ({"strength": "0:1"}, "--strength 0:1: factors must be from"),
        ({"max_defects": 0}, "--max-defects 0"),
        ({"region": "nowhere"}, "--region nowhere: no such folder"),
        ({"region": HERE / "examples"}, "is a folder; give one mask here"),
        ({"region": np.ones((4, 4, 3))}, "must be a mask"),
    ],
)
def test_what_cannot_be_is_refused(options: dict, error: str) -> None:
    with pytest.raises(ConfigError, match=error):
        DefectAugment(MODEL, **options)


def test_regions_without_a_place_or_images_are_refused() -> None:
    with pytest.raises(DataError, match="allows no place"):
        DefectAugment(MODEL, region=np.zeros((4, 4)))
    with pytest.raises(DataError, match="no such folder"):
        DefectAugment(MODEL, region="auto", source="nowhere")


def test_what_is_no_image_and_no_model_is_refused(tmp_path: Path) -> None:
    augment = DefectAugment(MODEL)
    for image in ("text", np.zeros((4, 4), np.float32), np.zeros((4, 4, 2), np.uint8), torch.zeros(2, 4, 4)):
        with pytest.raises(TypeError):
            augment(image)
    with pytest.raises(TypeError, match="convert it to L or RGB"):
        augment(Image.new("CMYK", (8, 8)))
    for image in (np.zeros((0, 8), np.uint8), torch.zeros(1, 8, 0)):
        with pytest.raises(TypeError, match="holds no pixel"):
            DefectAugment(MODEL, p=1)(image)
    with pytest.raises(ConfigError, match="must be a mask"):
        DefectAugment(MODEL, p=1)(np.zeros((64, 64), np.uint8), region=np.ones((64, 64, 3)))
    with pytest.raises(BundleError):
        DefectAugment(tmp_path)
