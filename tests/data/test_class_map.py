"""Class maps rename, merge and drop; whatever does not fit the data is one clear line."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from data_helpers import mtd, native

from defectaug.data.class_map import ClassMap, read_class_map
from defectaug.data.index import index_folder
from defectaug.errors import ConfigError, DataError

PAPER = """
normal: MT_Free
defects: {MT_Crack: scratch, MT_Blowhole: spot, MT_Fray: null}
products: {magnetic_tile: tile}
"""


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def refusal(path: Path, text: str) -> str:
    with pytest.raises(ConfigError) as error:
        index_folder(path, class_map=written(path.parent / "map.yaml", text))
    assert "\n" not in str(error.value) and "map.yaml" in str(error.value)
    return str(error.value)


def test_the_paper_regroups_mtd(tmp_path: Path) -> None:
    index = index_folder(mtd(tmp_path / "mtd"), class_map=written(tmp_path / "map.yaml", PAPER))
    assert index.products == ("tile",)
    assert index.defects == ("MT_Free", "scratch", "spot")
    assert len(index.category("tile", "scratch")) == 2
    assert len(index) == 7


def test_a_map_in_the_folder_is_used_and_a_given_one_beats_it(tmp_path: Path) -> None:
    root = native(tmp_path / "data")
    written(root / "defectaug.yaml", "defects: {scratch: line}")
    assert index_folder(root).defects == ("normal", "line", "spot")
    given = written(tmp_path / "map.yaml", "defects: {spot: dot}")
    assert index_folder(root, class_map=given).defects == ("normal", "dot", "scratch")
    assert index_folder(root, class_map=ClassMap()).defects == ("normal", "scratch", "spot")


def test_merging_and_dropping(tmp_path: Path) -> None:
    root = native(tmp_path, {"A/ok": 2, "A/dent": 1, "A/hole": 2, "B/ok": 1, "B/hole": 3, "C/ok": 1})
    index = index_folder(
        root, class_map=ClassMap(defects={"dent": "flaw", "hole": "flaw"}, products={"C": None})
    )
    assert index.products == ("A", "B")
    assert index.counts() == {("A", "ok"): 2, ("A", "flaw"): 3, ("B", "ok"): 1, ("B", "flaw"): 3}
    merged = index_folder(root, class_map=ClassMap(products={"B": "A"}))
    assert merged.counts()["A", "hole"] == 5


def test_a_defect_mapped_to_the_normal_name_is_normal(tmp_path: Path) -> None:
    root = native(tmp_path, {"A/ok": 2, "A/dirt": 1, "A/hole": 1})
    index = index_folder(root, class_map=ClassMap(defects={"dirt": "ok"}))
    assert index.counts() == {("A", "ok"): 3, ("A", "hole"): 1}
    same = index_folder(root, class_map=ClassMap(defects={"dirt": "normal"}))
    assert same.counts() == {("A", "normal"): 3, ("A", "hole"): 1}


def test_the_normal_class_can_be_named_and_renamed(tmp_path: Path) -> None:
    root = native(tmp_path, {"A/plain": 2, "A/hole": 1})
    assert index_folder(root, class_map=ClassMap(normal="plain")).defects == ("plain", "hole")
    renamed = ClassMap(normal="plain", defects={"plain": "normal"})
    assert index_folder(root, class_map=renamed).defects == ("normal", "hole")
    assert index_folder(root, class_map=ClassMap(defects={"plain": "good"})).normal == "good"
    both = index_folder(root, class_map=ClassMap(normal="plain"), normal="hole")
    assert both.normal == "hole"


def test_names_that_yaml_would_take_for_something_else(tmp_path: Path) -> None:
    root = native(tmp_path / "data", {"01/ok": 1, "01/no": 1, "02/ok": 1, "02/1e3": 1})
    path = written(tmp_path / "map.yaml", "products: {01: 007, 02: null}\ndefects: {no: on, 1e3: ~}")
    index = index_folder(root, class_map=path)
    assert index.products == ("007",) and index.defects == ("ok", "on")


def test_spaces_and_accents(tmp_path: Path) -> None:
    root = native(tmp_path / "data", {"A/normal": 1, f"A/{unicodedata.normalize('NFD', 'fêlure')} 2": 1})
    path = written(tmp_path / "map.yaml", 'defects: {fêlure 2: "éclat de côté"}')
    assert index_folder(root, class_map=path).defects == ("normal", "éclat de côté")


@pytest.mark.parametrize("name", ["a/b", "a\\\\b", "..", ".", "", " ", ".hidden", "/tmp", "a\\nb"])
def test_targets_must_be_folder_names(tmp_path: Path, name: str) -> None:
    text = refusal(native(tmp_path / "data"), f'defects: {{scratch: "{name}"}}')
    assert "folder name" in text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("defect: {scratch: x}", "'defects'"),
        ("defects: {scratsh: x}", "'scratch'"),
        ("defects: {Scratch: x}", "'scratch'"),
        ("products: {Z: x}", "known: A, B"),
        ("normal: nromal", "'normal'"),
        ("defects: [scratch]", "table"),
        ("defects: {scratch: [a, b]}", "one new class"),
        ("normal: [a]", "one folder"),
        ("- a", "no class map"),
        ("defects: {scratch: ", "YAML"),
        ("normal: !!python/object/apply:os.getcwd []", "YAML"),
        ("defects: {normal: null}", "drops the normal class"),
        ("products: {A: null, B: null}", "drops every image"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, text: str, said: str) -> None:
    assert said in refusal(native(tmp_path / "data"), text)


def test_dropping_all_defects(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no defect class"):
        index_folder(native(tmp_path), class_map=ClassMap(defects={"scratch": None, "spot": None}))


def test_files_that_are_no_maps(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_class_map(tmp_path / "none.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(ConfigError, match="not valid YAML"):
        read_class_map(tmp_path / "binary.yaml")
    assert read_class_map(written(tmp_path / "empty.yaml", "# nothing\n")).defects == {}
