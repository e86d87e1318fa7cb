"""A source or reference folder in the layout that training read is read with the class map that the model remembers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from data_helpers import mtd, native
from fake_model import FakeModel, info, lines

from defectaug.bundle import TrainedOn, read_config, write_config
from defectaug.config.schema import Config
from defectaug.data.class_map import ClassMap
from defectaug.data.index import index_folder
from defectaug.errors import ConfigError
from defectaug.methods.base import BundleInfo
from defectaug.synthesis.api import synthesize
from defectaug.synthesis.settings import SynthesisSettings
from defectaug.synthesis.sources import find_references, find_samples

MAP = ClassMap(
    normal="MT_Free",
    defects={"MT_Crack": "scratch", "MT_Blowhole": "spot", "MT_Fray": None},
    products={"magnetic_tile": "tile"},
)


@pytest.fixture
def learnt() -> BundleInfo:
    """A model that was trained on MTD, as the paper regroups it."""
    return info(
        products=("tile",), defects=("MT_Free", "scratch", "spot"), layout="MTD", classes=replace(MAP, lenient=True)
    )


def test_a_source_has_the_products_and_classes_of_the_model(learnt: BundleInfo, tmp_path: Path) -> None:
    said: list[str] = []
    _, samples = find_samples(learnt, SynthesisSettings(source=mtd(tmp_path / "mtd")), said.append)
    assert {sample.product for sample in samples} == {"tile"}
    assert {sample.defect for sample in samples} == {"MT_Free", "scratch", "spot"}
    assert "read with the class map of model fake" in said[0]


def test_synthesis_finds_the_product_by_the_models_name(learnt: BundleInfo, tmp_path: Path) -> None:
    model = FakeModel(replace(learnt, image_size=32))
    synthesize(model=model, source=mtd(tmp_path / "mtd"), product="tile", defect="spot", n=2, out=tmp_path / "out")
    assert [(line["product"], line["defect"]) for line in lines(tmp_path / "out")] == [("tile", "spot")] * 2


def test_normal_images_alone_are_a_source_too(learnt: BundleInfo, tmp_path: Path) -> None:
    root = mtd(tmp_path / "mtd")
    for kind in ("MT_Crack", "MT_Blowhole", "MT_Fray"):
        (root / kind).rename(tmp_path / kind)
    _, samples = find_samples(learnt, SynthesisSettings(source=root), lambda line: None)
    assert {sample.category for sample in samples} == {("tile", "MT_Free")}


def test_references_have_the_classes_of_the_model(learnt: BundleInfo, tmp_path: Path) -> None:
    root = mtd(tmp_path / "mtd")
    found = find_references(root, learnt, None)
    assert {name: len(samples) for name, samples in found.items()} == {"scratch": 2, "spot": 2}
    (root / "MT_Free").rename(tmp_path / "MT_Free")
    assert find_references(root, learnt, "spot").keys() == {"spot"}


def test_another_map_and_the_folders_own_come_first(learnt: BundleInfo, tmp_path: Path) -> None:
    root = mtd(tmp_path / "mtd")
    other = SynthesisSettings(source=root, class_map=ClassMap(products={"magnetic_tile": "brick"}))
    _, samples = find_samples(learnt, other, lambda line: None)
    assert {sample.product for sample in samples} == {"brick"}
    with pytest.raises(ConfigError, match="does not know the defect 'MT_"):
        find_references(root, learnt, None, ClassMap(products={"none": "such"}))
    (root / "defectaug.yaml").write_text("products: {magnetic_tile: plate}")
    _, samples = find_samples(learnt, SynthesisSettings(source=root), lambda line: None)
    assert {sample.product for sample in samples} == {"plate"}


def test_another_layout_is_read_as_it_is(learnt: BundleInfo, tmp_path: Path) -> None:
    root = native(tmp_path / "data", {"magnetic_tile/normal": 3, "magnetic_tile/MT_Crack": 2})
    said: list[str] = []
    _, samples = find_samples(learnt, SynthesisSettings(source=root), said.append)
    assert {sample.product for sample in samples} == {"magnetic_tile"}
    assert not any("class map" in line for line in said)


def test_a_bundle_keeps_the_map_wherever_it_came_from(tmp_path: Path) -> None:
    root = mtd(tmp_path / "mtd")
    (root / "defectaug.yaml").write_text("normal: MT_Free\nproducts: {magnetic_tile: tile}\ndefects: {MT_Fray: null}\n")
    index = index_folder(root)
    trained_on = TrainedOn(index.products, index.defects, {}, index.layout, classes=index.classes)
    write_config(tmp_path / "model", Config(), trained_on)
    _, back = read_config(tmp_path / "model")
    assert back.classes.content() == index.classes.content()
    assert back.classes.lenient
