"""Every layout is found, labels and masks are right, and bad trees are one clear line."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from data_helpers import mask, mtd, mvtec, native, picture, save, save_many, sdi, visa

from defectaug.data.index import DataIndex, index_folder
from defectaug.errors import ConfigError, DataError, DefectaugError


def filled(index: DataIndex) -> dict[str, int]:
    return {f"{product}/{defect}": count for (product, defect), count in index.counts().items() if count}


def message(error: pytest.ExceptionInfo[DefectaugError]) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


def test_native(tmp_path: Path) -> None:
    index = index_folder(native(tmp_path / "data"))
    assert index.layout == "native"
    assert index.describe() == "native layout: 2 products, 2 defects, 10 images"
    assert index.products == ("A", "B")
    assert index.defects == ("normal", "scratch", "spot")
    assert filled(index) == {"A/normal": 4, "A/scratch": 3, "B/normal": 2, "B/spot": 1}
    assert index.counts()["B", "scratch"] == 0
    assert [sample.path.name for sample in index.category("A", "scratch")] == ["000.png", "001.png", "002.png"]
    assert list(index.samples) == sorted(index.samples, key=lambda s: (s.product, s.defect, s.path))


def test_native_is_recursive_and_skips_litter(tmp_path: Path) -> None:
    root = native(tmp_path / "data")
    save(root / "A" / "scratch" / "monday" / "late" / "x.PNG")
    for litter in (".hidden/x.png", "__MACOSX/A/x.png", "A/.thumbs/x.png", "A/scratch/._000.png"):
        save(tmp_path / "x.png")
        (root / litter).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "x.png").rename(root / litter)
    for name in ("Thumbs.db", "manifest.jsonl", "A/notes.txt", "A/scratch/Thumbs.db"):
        (root / name).write_text("x")
    assert filled(index_folder(root)) == {"A/normal": 4, "A/scratch": 4, "B/normal": 2, "B/spot": 1}


@pytest.mark.parametrize("name", ["normal", "Good", "OK", "free", "Defect_Free", "defect free"])
def test_normal_names(tmp_path: Path, name: str) -> None:
    index = index_folder(native(tmp_path / "data", {f"A/{name}": 2, "A/dent": 1}))
    assert index.defects == (name, "dent")
    assert index.normal == name


def test_normal_named_by_the_user(tmp_path: Path) -> None:
    root = native(tmp_path / "data", {"A/plain": 2, "A/good": 1, "A/dent": 1})
    assert index_folder(root, normal="plain").defects == ("plain", "dent", "good")
    with pytest.raises(ConfigError) as error:
        index_folder(root, normal="plian")
    assert "--normal" in message(error) and "'plain'" in message(error)


def test_products_that_name_normal_differently(tmp_path: Path) -> None:
    index = index_folder(native(tmp_path / "data", {"A/good": 2, "A/dent": 1, "B/ok": 1, "B/dent": 1}))
    assert index.defects == ("normal", "dent")
    assert filled(index) == {"A/normal": 2, "A/dent": 1, "B/normal": 1, "B/dent": 1}


def test_one_product(tmp_path: Path) -> None:
    root = tmp_path / "gear"
    save_many(root / "good", 3)
    save_many(root / "dent", 2)
    save(root / "dent" / "more" / "z.png")
    assert filled(index_folder(root)) == {"gear/good": 3, "gear/dent": 3}
    assert index_folder(root, product="wheel").products == ("wheel",)
    assert index_folder(root).layout == "one product"


def test_a_product_that_no_folder_has_is_refused_where_folders_name_them(tmp_path: Path) -> None:
    root = native(tmp_path / "data", {"A/normal": 2, "A/dent": 2, "B/normal": 2})
    with pytest.raises(ConfigError, match=r"--product wheel: .* name the products themselves \(A, B\)"):
        index_folder(root, product="wheel")


def test_one_product_in_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_many(tmp_path / "gear" / "good", 1)
    save_many(tmp_path / "gear" / "dent", 1)
    monkeypatch.chdir(tmp_path / "gear")
    assert index_folder(".").products == ("gear",)


def test_masks_of_native_data(tmp_path: Path) -> None:
    root = native(tmp_path / "data")
    written = save(tmp_path / "data.masks" / "A" / "scratch" / "001.png", mask())
    beside = save(root / "A" / "scratch" / "002_mask.png", mask())
    save(root / "A" / "masks" / "scratch" / "000.png", mask())
    save(root / "A" / "scratch" / "ground_truth" / "000.png", mask())
    found = [(sample.path.name, sample.mask) for sample in index_folder(root).category("A", "scratch")]
    assert found == [("000.png", None), ("001.png", written), ("002.png", beside)]


def test_nested_images_get_the_masks_of_their_subfolder(tmp_path: Path) -> None:
    root = native(tmp_path / "data", {"A/good": 1, "A/dent/x": 2, "A/dent/y": 1})
    written = save(tmp_path / "data.masks" / "A" / "dent" / "x" / "000.png", mask())
    flat = save(tmp_path / "data.masks" / "A" / "dent" / "001.png", mask())
    found = {
        str(s.path.relative_to(root / "A" / "dent")): s.mask for s in index_folder(root).category("A", "dent")
    }
    assert found == {"x/000.png": written, "x/001.png": flat, "y/000.png": None}


def test_black_and_white_png_beside_a_jpg_is_its_mask(tmp_path: Path) -> None:
    root = native(tmp_path / "data")
    first = save(root / "A" / "scratch" / "a.jpg")
    drawn = save(root / "A" / "scratch" / "a.png", mask())
    save(root / "A" / "scratch" / "b.jpg")
    save(root / "A" / "scratch" / "b.png", picture(1))
    samples = index_folder(root).category("A", "scratch")
    assert [(s.path.name, s.mask) for s in samples if s.path.stem in "ab"] == [
        (first.name, drawn),
        ("b.jpg", None),
        ("b.png", None),
    ]


def test_mtd(tmp_path: Path) -> None:
    root = mtd(tmp_path / "mtd")
    save(root / "MT_Crack" / "Imgs" / "exp1_num_0.png", picture(3))  # a mask by its place, whatever it holds
    index = index_folder(root)
    assert index.layout == "MTD"
    assert index.products == ("magnetic_tile",)
    assert index.defects == ("MT_Free", "MT_Blowhole", "MT_Crack", "MT_Fray")
    assert len(index) == 8
    assert all(s.path.suffix == ".jpg" and s.mask == s.path.with_suffix(".png") for s in index.samples)


def test_sdi(tmp_path: Path) -> None:
    index = index_folder(sdi(tmp_path / "sdi"))
    assert index.layout == "SDI"
    assert index.products == ("A", "B")
    assert index.defects == ("ok", "scratches", "spots")
    assert filled(index)["A/scratches"] == 6
    assert filled(index.only("test")) == {f"{p}/{d}": 2 for p in "AB" for d in ("scratches", "spots")}
    training = filled(index.training())
    assert training["A/ok"] == 3 and training["A/spots"] == 2
    assert index.training().defects == index.defects


@pytest.mark.parametrize("normal", ["good", "ok"])
def test_mvtec_and_btad(tmp_path: Path, normal: str) -> None:
    root = mvtec(tmp_path / "mvtec", normal=normal)
    index = index_folder(root)
    assert index.layout == "MVTec AD"
    assert filled(index) == {f"{p}/{d}": n for p in ("bottle", "nut") for d, n in ((normal, 5), ("crack", 2))}
    assert all(sample.split is None for sample in index.samples)
    for sample in index.samples:
        truth = root / sample.product / "ground_truth" / "crack" / f"{sample.path.stem}_mask.png"
        assert sample.mask == (truth if sample.defect == "crack" else None)


def test_mvtec_masks_are_those_of_the_test_part(tmp_path: Path) -> None:
    root = mvtec(tmp_path / "mvtec", ("nut",))
    save_many(root / "nut" / "train" / "crack", 2)
    parts = {s.path.parts[-3]: s.mask is not None for s in index_folder(root).category("nut", "crack")}
    assert parts == {"train": False, "test": True}


def test_one_mvtec_category(tmp_path: Path) -> None:
    index = index_folder(mvtec(tmp_path) / "nut")
    assert index.describe() == "MVTec AD layout: 1 product, 1 defect, 7 images"
    assert index.products == ("nut",)


def test_btad_masks_and_visa_resplit_masks_carry_the_image_name(tmp_path: Path) -> None:
    for category, normal, bad, suffix in (("01", "ok", "ko", ".bmp"), ("candle", "good", "bad", ".JPG")):
        save_many(tmp_path / category / "train" / normal, 2, suffix)
        save_many(tmp_path / category / "test" / bad, 2, suffix)
        save(tmp_path / category / "ground_truth" / bad / "001.png", mask())
        index = index_folder(tmp_path / category)
        assert [s.mask is not None for s in index.category(category, bad)] == [False, True]
        assert filled(index) == {f"{category}/{normal}": 2, f"{category}/{bad}": 2}


def test_visa_as_published(tmp_path: Path) -> None:
    index = index_folder(visa(tmp_path / "visa"))
    assert index.layout == "VisA"
    kinds = (("Normal", 3), ("Anomaly", 2))
    assert filled(index) == {f"{p}/{d}": n for p in ("candle", "pcb1") for d, n in kinds}
    assert all((sample.mask is not None) == (sample.defect == "Anomaly") for sample in index.samples)
    assert index_folder(tmp_path / "visa" / "candle").products == ("candle",)


def test_link_loops_end(tmp_path: Path) -> None:
    root = native(tmp_path / "data")
    (root / "A" / "loop").symlink_to(root)
    (root / "A" / "scratch" / "up").symlink_to(root / "A")
    (root / "A" / "scratch" / "self").symlink_to("self")
    assert filled(index_folder(root)) == {"A/normal": 4, "A/scratch": 3, "B/normal": 2, "B/spot": 1}


def test_linked_data_are_read(tmp_path: Path) -> None:
    native(tmp_path / "data")
    (tmp_path / "link").symlink_to(tmp_path / "data")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "A").symlink_to(tmp_path / "data" / "A")
    assert len(index_folder(tmp_path / "link")) == 10
    assert filled(index_folder(tmp_path / "mine")) == {"A/normal": 4, "A/scratch": 3}


def test_accents_are_composed(tmp_path: Path) -> None:
    decomposed = unicodedata.normalize("NFD", "fêlure à côté")
    index = index_folder(native(tmp_path / "data", {"A/normal": 1, f"A/{decomposed}": 1}))
    assert index.defects == ("normal", unicodedata.normalize("NFC", "fêlure à côté"))


def test_missing_folder_and_file(tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "none", "no such folder"), (save(tmp_path / "a.png"), "is a file")):
        with pytest.raises(DataError) as error:
            index_folder(path)
        assert reason in message(error) and str(path) in message(error)


def test_no_images(tmp_path: Path) -> None:
    (tmp_path / "A" / "normal").mkdir(parents=True)
    (tmp_path / "A" / "normal" / "notes.txt").write_text("x")
    with pytest.raises(DataError) as error:
        index_folder(tmp_path)
    assert "no images" in message(error)


def test_unknown_layout(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    with pytest.raises(DataError) as error:
        index_folder(tmp_path)
    assert "unknown layout" in message(error) and "MVTec AD" in message(error)


def test_no_normal_class(tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        index_folder(native(tmp_path, {"A/plain": 1, "A/dent": 1, "B/hole": 1}))
    assert "dent, hole, plain" in message(error) and "--normal" in message(error)


def test_no_defect_class(tmp_path: Path) -> None:
    root = native(tmp_path, {"A/good": 2, "B/good": 1})
    with pytest.raises(DataError) as error:
        index_folder(root)
    assert "no defect class" in message(error)
    assert index_folder(root, require_defects=False).defects == ("good",)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root reads every folder")
def test_folder_without_read_permission(tmp_path: Path) -> None:
    root = native(tmp_path / "data")
    (root / "A" / "scratch").chmod(0)
    try:
        with pytest.raises(DataError) as error:
            index_folder(root)
    finally:
        (root / "A" / "scratch").chmod(0o755)
    assert "cannot be listed" in message(error)


def test_a_moved_tree_gives_the_same_index(tmp_path: Path) -> None:
    first = index_folder(native(tmp_path / "one"))
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    second = index_folder(tmp_path / "two")
    assert [s.path.relative_to(first.root) for s in first.samples] == [
        s.path.relative_to(second.root) for s in second.samples
    ]
    assert np.all([a.defect == b.defect for a, b in zip(first.samples, second.samples, strict=True)])


def test_indexing_imports_no_torch() -> None:
    modules = "defectaug.data.index, defectaug.data.survey, defectaug.data.splits"
    code = f"import sys, {modules}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("counts", "normal"),
    [
        ({"A/ok_front": 3, "A/scratch": 2, "B/ok_front": 2}, "ok_front"),
        ({"GoodParts": 3, "not_ok": 2, "no_good": 1}, "GoodParts"),
        ({"cable/train/good-top": 3, "cable/test/cut": 2, "cable/test/good-top": 1}, "good-top"),
    ],
)
def test_the_only_folder_that_can_be_the_normal_class_is_taken_for_it(
    counts: dict[str, int], normal: str, tmp_path: Path
) -> None:
    index = index_folder(native(tmp_path / "data", counts))
    assert index.normal == normal
    assert f"'{normal}' is taken for the normal class" in index.describe()


@pytest.mark.parametrize(
    "counts", [{"A/ok_front": 2, "A/ok_back": 2, "A/scratch": 2}, {"A/rough": 2, "A/scratch": 2}, {"A/not_ok": 2}]
)
def test_no_normal_class_is_guessed_where_several_or_none_can_be_it(counts: dict[str, int], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no normal class among"):
        index_folder(native(tmp_path / "data", counts))


def test_a_folder_that_is_called_normal_is_no_guess(tmp_path: Path) -> None:
    index = index_folder(native(tmp_path / "data", {"A/normal": 2, "A/ok_front": 2}))
    assert (index.normal, index.guessed, index.defects) == ("normal", None, ("normal", "ok_front"))
