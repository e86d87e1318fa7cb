"""Near-duplicates stay together, splits are whole, and the survey says what is wrong with a folder."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from data_helpers import mtd, native, picture, save, save_many, sdi

from defectaug.data import near_duplicates
from defectaug.data.index import DataIndex, index_folder
from defectaug.data.near_duplicates import Floats, Gallery, near_duplicate_groups
from defectaug.data.sample import Sample
from defectaug.data.splits import split
from defectaug.data.survey import drop_unreadable, survey, white_level
from defectaug.errors import DataError

EXPOSURES = 4


def exposed(root: Path, parts: int = 6) -> DataIndex:
    """Each part of A/dent photographed under several exposures, part number first in the file name."""
    save_many(root / "A" / "good", 30)
    for part in range(parts):
        base = picture(1000 + part, 40, 48).astype(float)
        for exposure in range(EXPOSURES):
            noise = np.random.default_rng([part, exposure]).normal(0, 2, base.shape)
            pixels = np.clip(base * (0.5 + 0.1 * exposure) + 10 * exposure + noise, 0, 255).astype(np.uint8)
            save(root / "A" / "dent" / f"{part}_{exposure}.png", pixels)
    return index_folder(root)


def groups_by_part(index: DataIndex, groups: list[int]) -> dict[str, set[int]]:
    found: dict[str, set[int]] = defaultdict(set)
    for sample, group in zip(index.samples, groups, strict=True):
        if sample.defect == "dent":
            found[sample.path.stem[0]].add(group)
    return found


def test_exposures_of_a_part_are_one_group(tmp_path: Path) -> None:
    index = exposed(tmp_path)
    groups = near_duplicate_groups(index)
    found = groups_by_part(index, groups)
    assert all(len(numbers) == 1 for numbers in found.values())
    assert len(set.union(*found.values())) == 6
    assert len(set(groups)) == 36


def test_many_images_on_one_background_are_laid_over_it_once_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thousands are painted on one image; every pair was aligned by itself, for hours."""
    part = picture(5, 40, 40)
    for number in range(12):
        pixels = part.copy()
        pixels[number : number + 3, :3] = 255
        save(tmp_path / "A" / "dent" / f"{number:02d}.png", pixels)
    save_many(tmp_path / "A" / "good", 1)
    aligned: list[int] = []
    align = near_duplicates.alignments

    def counted(query: Floats, gallery: Gallery, numbers: np.ndarray) -> list:
        aligned.append(len(numbers))
        return align(query, gallery, numbers)

    monkeypatch.setattr(near_duplicates, "alignments", counted)
    shown: list[tuple[int, int]] = []
    groups = near_duplicate_groups(index_folder(tmp_path), progress=lambda done, total: shown.append((done, total)))
    assert len(set(groups)) == 2
    assert aligned == [*range(11, 0, -1)]
    assert shown == [(done, 13) for done in range(1, 14)]


def test_aligned_parts_are_not_near_duplicates(tmp_path: Path) -> None:
    part = picture(5, 40, 40).astype(float)
    for number in range(20):
        grain = np.random.default_rng(number).normal(0, 8, part.shape)
        save(tmp_path / "A" / "good" / f"{number}.png", np.clip(part + grain, 0, 255).astype(np.uint8))
    save_many(tmp_path / "A" / "dent", 1)
    assert len(set(near_duplicate_groups(index_folder(tmp_path)))) == 21


def test_neighbouring_numbers_of_mtd_are_one_tile(tmp_path: Path) -> None:
    index = index_folder(mtd(tmp_path))
    assert len(set(near_duplicate_groups(index))) == 8  # the numbers are 1000 apart
    for shift, number in enumerate((150, 310, 5000)):
        save(tmp_path / "MT_Crack" / "Imgs" / f"exp{shift}_num_{number}.jpg")
    index = index_folder(tmp_path)
    found: dict[int, set[str]] = defaultdict(set)
    for sample, group in zip(index.samples, near_duplicate_groups(index), strict=True):
        found[group].add(sample.path.stem.split("_")[-1])
    assert {"0", "150", "310"} in found.values() and {"5000"} in found.values()


@pytest.mark.parametrize("seed", range(5))
def test_a_split_parts_no_group_and_leaves_no_category_out(tmp_path: Path, seed: int) -> None:
    index = exposed(tmp_path)
    groups = near_duplicate_groups(index)
    divided = split(index, seed=seed)
    split_of: dict[int, set[str | None]] = defaultdict(set)
    for sample, group in zip(divided.samples, groups, strict=True):
        split_of[group].add(sample.split)
    assert all(len(names) == 1 for names in split_of.values())
    for name, share in (("train", 0.7), ("val", 0.15), ("test", 0.15)):
        counts = divided.only(name).counts()
        assert counts["A", "good"] == pytest.approx(30 * share, abs=1)
        assert counts["A", "dent"] >= EXPOSURES
    assert divided == split(index, seed=seed)


def test_seeds_and_fractions(tmp_path: Path) -> None:
    index = exposed(tmp_path)
    groups = near_duplicate_groups(index)
    first, second = (split(index, seed=seed, groups=groups) for seed in (0, 1))
    assert first != second
    halves = split(index, {"train": 1, "test": 1, "val": 0}, groups=groups)
    assert len(halves.only("train")) == len(halves.only("test")) == 27


def test_small_categories(tmp_path: Path) -> None:
    index = index_folder(native(tmp_path, {"A/good": 3, "A/dent": 1, "A/hole": 2}))
    divided = split(index)
    assert [divided.only(name).counts()["A", "good"] for name in ("train", "val", "test")] == [1, 1, 1]
    assert divided.category("A", "dent")[0].split == "train"
    assert {sample.split for sample in divided.category("A", "hole")} > {"train"}


def test_survey_counts_and_measures(tmp_path: Path) -> None:
    root = sdi(tmp_path / "data")
    found = survey(index_folder(root))
    assert found.counts["A", "ok"] == 3 and found.counts["B", "spots"] == 6
    assert (found.smallest, found.usual, found.channels) == ((24, 20), (24, 20), 1)
    assert not found.unreadable and not found.duplicates


def test_survey_names_problems(tmp_path: Path) -> None:
    root = native(
        tmp_path / "data", {"A/good": 9, "A/scratch": 1, "A/Scratch": 9, "B/scratch": 8, "B/good": 8}
    )
    save(root / "A" / "good" / "narrow.png", picture(1, 30, 10, 3))
    save(root / "A" / "good" / "deep.png", picture(1).astype(np.uint16) * 200)
    twin = save(root / "B" / "good" / "twin.png")
    (root / "B" / "scratch" / "twin.png").write_bytes(twin.read_bytes())
    seen: list[tuple[int, int]] = []
    found = survey(index_folder(root), image_size=16, progress=lambda done, total: seen.append((done, total)))
    text = "\n".join(found.problems)
    for said in (
        "A/scratch has 1 image (at least 8 advised)",
        "B/Scratch has no images",
        "Scratch and scratch differ in upper and lower case",
        "1 image is smaller than the model's 16 x 16 (down to 10 pixels)",
        "2 sizes, most often 24 x 20",
        "38 grey and 1 colour images",
        "1 images of 16 bits",
        "1 image is an exact duplicate",
        "under different labels",
    ):
        assert said in text
    assert found.channels == 3
    assert found.duplicates == ((twin, root / "B" / "scratch" / "twin.png"),)
    assert seen[-1] == (39, 39)


def test_survey_doubts_a_defect_called_good(tmp_path: Path) -> None:
    root = native(tmp_path / "data", {"A/plain": 8, "B/good": 8, "B/dent": 8})
    problems = survey(index_folder(root, normal="plain")).problems
    assert "'good' counts as a defect, the normal class is 'plain'; a class map can merge them" in problems


def test_survey_compares_pixels_when_it_decodes(tmp_path: Path) -> None:
    root = native(tmp_path / "data")
    save(root / "A" / "normal" / "x.png", picture(1))
    save(root / "A" / "normal" / "x2.bmp", picture(1))
    index = index_folder(root)
    assert survey(index).duplicates == ()
    assert len(survey(index, decode=True).duplicates) == 1


def test_unreadable_files_are_counted_and_dropped(tmp_path: Path) -> None:
    root = native(tmp_path / "data")
    (root / "A" / "normal" / "000.png").write_text("x")
    whole = (root / "A" / "scratch" / "001.png").read_bytes()
    (root / "A" / "scratch" / "001.png").write_bytes(whole[: len(whole) // 2])
    index = index_folder(root)
    assert len(survey(index).unreadable) == 1  # the other file's header is whole
    found = survey(index, decode=True)
    assert [path.name for path, _ in found.unreadable] == ["000.png", "001.png"]
    assert found.counts["A", "normal"] == 3
    assert any("2 files are skipped" in problem and "000.png" in problem for problem in found.problems)
    kept = drop_unreadable(index, found)
    assert len(kept) == len(index) - 2 and kept.defects == index.defects
    with pytest.raises(DataError, match=r"000\.png.*and 1 more.*--strict"):
        drop_unreadable(index, found, strict=True)


@pytest.mark.parametrize("count", [1, 3])
def test_a_category_that_is_all_unreadable(tmp_path: Path, count: int) -> None:
    root = native(tmp_path / "data", {"A/good": 3, "A/dent": count})
    for path in (root / "A" / "dent").iterdir():
        path.write_text("x")
    with pytest.raises(DataError, match="A/dent") as error:
        survey(index_folder(root))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("brightest", "white"), [(200, 1023), (4000, 4095), (4096, 16383), (65535, 65535)])
def test_white_level_of_16_bit_files(tmp_path: Path, brightest: int, white: int) -> None:
    path = save(tmp_path / "x.png", np.array([[0, brightest]], np.uint16))
    grey = save(tmp_path / "y.png", picture(1))
    assert white_level([Sample(path, "A", "x"), Sample(grey, "A", "x")]) == white
    assert white_level([Sample(grey, "A", "x")]) == 255
