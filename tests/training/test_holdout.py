"""Test images are kept away from training, and from what is painted on; near-duplicates stay on one side."""

from __future__ import annotations

import shutil
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from command_line import Run
from data_helpers import native, save
from fake_model import FakeModel, info, lines
from PIL import Image
from small_networks import SMALL, small_config, train_small

from defectaug.bundle import held_out, read_config
from defectaug.data.holdout import hold_out
from defectaug.data.index import DataIndex, index_folder
from defectaug.errors import BundleError, ConfigError, DataError
from defectaug.synthesis.api import synthesize
from defectaug.training.prepare import DataOptions

COUNTS = {"A/normal": 8, "A/scratch": 6, "B/normal": 6, "B/spot": 1}
SETTINGS = SMALL | {"run": {"batch_size": 4, "warmup": 1}, "data": {"min_images": 1}}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return native(tmp_path / "data", COUNTS)


def read(folder: Path) -> DataIndex:
    return index_folder(folder, require_defects=False)


def test_a_share_of_each_category_and_whole_groups(root: Path) -> None:
    copy = save(root / "A/scratch/copy.jpg", np.asarray(Image.open(root / "A/scratch/000.png")), quality=95)
    other = save(root / "A/normal/mislabelled.png", np.asarray(Image.open(root / "A/scratch/000.png")))
    index = index_folder(root)
    held = hold_out(index, "30%", read)
    assert held == hold_out(index, "0.3", read)
    counts = {str(name): count for name, count in held.only(index).counts().items() if count}
    assert set(counts) == {"A/normal", "A/scratch", "B/normal"}  # B/spot, of one image, is trained on
    assert 1 <= counts["A/scratch"] <= 4
    near = {(path.relative_to(root).as_posix() in held.files) for path in (copy, other, root / "A/scratch/000.png")}
    assert len(near) == 1
    assert len(held.keep_away(index)) == len(index) - len(held.files)


def test_a_folder_keeps_copies_of_its_images_away(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root / "A", tmp_path / "test/A")
    for path in (tmp_path / "test").rglob("*.png"):
        if path.stem != "000":
            path.unlink()
    index = index_folder(root)
    held = hold_out(index, str(tmp_path / "test"), read)
    assert held.files == ("A/normal/000.png", "A/scratch/000.png")
    assert held.folder == tmp_path / "test"


def test_files_that_cannot_be_read_are_skipped_where_images_are_held_out(root: Path, tmp_path: Path) -> None:
    """Also those that are damaged further down than their header, in the data and among the tests."""
    shutil.copytree(root, tmp_path / "test")
    for folder in (root, tmp_path / "test"):
        content = (folder / "A/normal/001.png").read_bytes()
        (folder / "A/normal/cut.png").write_bytes(content[:-30])
        (folder / "A/normal/text.jpg").write_text("no image")
    for path in (tmp_path / "test").rglob("0*.png"):
        if path.stem != "000":
            path.unlink()
    for asked, strict in product(("0.3", str(tmp_path / "test")), (False, True)):
        said: list[str] = []
        options = DataOptions(root, strict=strict, holdout=asked)
        if strict:
            with pytest.raises(DataError, match=f"{root}/A/normal/cut.png: cannot be read .*without --strict"):
                options.read(small_config(), False, said.append)
            continue
        index, found, _, held = options.read(small_config(), False, said.append)
        assert len(index) == sum(COUNTS.values()) - len(held.files) > 0 < len(held.files)
        assert [path.name for path, _ in found.unreadable] == ["cut.png", "text.jpg"]
        skipped = [line for line in said if line.startswith(f"skipped: {tmp_path}/test/A/normal/")]
        assert len(skipped) == (0 if asked == "0.3" else 2)


def test_a_mistyped_share_or_folder_is_told_before_any_image_is_read(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("defectaug.training.prepare.survey", lambda *asked, **more: pytest.fail("images were read"))
    for asked in ("2", "nan", "nowhere", str(root)):
        with pytest.raises(ConfigError, match=rf"--holdout {asked}: "):
            DataOptions(root, holdout=asked).read(small_config(), False, lambda line: None)


@pytest.mark.parametrize(("edge", "advice"), [(20, "use --image-size 32, or take"), (3, "; take such images out")])
def test_images_too_small_for_any_network_are_not_advised_another_size(tmp_path: Path, edge: int, advice: str) -> None:
    for defect in ("normal", "scratch"):
        for number in range(2):
            save(tmp_path / "A" / defect / f"{number}.png", np.full((edge, edge), 10 * number, np.uint8))
    with pytest.raises(DataError, match=advice):
        DataOptions(tmp_path).read(small_config(changes={"network": {"image_size": 64}}), False, lambda line: None)


def test_what_cannot_be_held_out(root: Path, tmp_path: Path) -> None:
    index = index_folder(root)
    for asked in ("0", "1.5", "-20%", "nowhere", str(root)):
        with pytest.raises(ConfigError, match=rf"--holdout {asked}: "):
            hold_out(index, asked, read)
    (tmp_path / "empty/A/normal").mkdir(parents=True)
    with pytest.raises(DataError, match="empty"):
        hold_out(index, str(tmp_path / "empty"), read)
    single = index_folder(native(tmp_path / "single", {"A/normal": 1, "A/scratch": 1}))
    with pytest.raises(DataError, match="holds no image out"):
        hold_out(single, "0.2", read)
    with pytest.raises(DataError, match="leaves no image"):
        hold_out(single, str(shutil.copytree(single.root, tmp_path / "again")), read)


def test_training_sees_none_of_them_and_a_bundle_tells_which(root: Path, tmp_path: Path) -> None:
    told: list[str] = []
    out = tmp_path / "model"
    train_small(root, out, SETTINGS, holdout=0.3, log=told.append)
    data, held = read_config(out)[1], held_out(out)
    index = index_folder(root)
    assert held.files and held.folder is None
    assert sum(data.counts.values()) == len(index) - len(held.files)
    assert f"{len(held.files)} of 21 images are held out of training" in told
    assert any("no test image of B/spot" in line for line in told)
    save(root / "A/normal/later.png")
    train_small(root, out, SETTINGS, resume=True, steps=3)  # keeps what it held out
    assert held_out(out) == held
    with pytest.raises(DataError, match="B/spot: 1 image beside those held out"):
        train_small(root, tmp_path / "other", SETTINGS | {"data": {}}, holdout=0.3)


def test_a_product_that_is_held_out_wholly_is_not_learnt(root: Path, tmp_path: Path) -> None:
    """Its defect is not either, which no other product has; the model knows none of the names."""
    told: list[str] = []
    out = tmp_path / "model"
    train_small(root, out, SETTINGS, steps=1, holdout=str(root / "B"), log=told.append)
    data = read_config(out)[1]
    assert (data.products, data.defects) == (("A",), ("normal", "scratch"))
    assert "note: all images of B, spot are held out: the model does not learn it" in told


@pytest.mark.parametrize(("kind", "said"), [("normal", r"normal \('normal'\)"), ("scratch", "defective")])
def test_the_last_of_a_kind_is_not_held_out(tmp_path: Path, kind: str, said: str) -> None:
    root = native(tmp_path / "data", {"A/normal": 3, "A/scratch": 3})
    shutil.copytree(root / "A" / kind, tmp_path / "test/A" / kind)
    for number in range(2):
        save(tmp_path / f"test/A/normal/other{number}.png")
    with pytest.raises(DataError, match=f"no {said} image is left to train on"):
        DataOptions(root, holdout=str(tmp_path / "test")).read(small_config(), False, lambda line: None)


def test_nothing_is_painted_on_them_and_a_balanced_set_lacks_them(root: Path, tmp_path: Path) -> None:
    files = ("A/normal/000.png", "A/scratch/001.png")
    model = FakeModel(info(root, holdout=files))
    synthesize(model=model, balance=True, out=tmp_path / "out")
    sources = {Path(line["source"]).relative_to(root.absolute()).as_posix() for line in lines(tmp_path / "out")}
    assert not sources & set(files)
    assert "A/normal/001.png" in sources


def test_a_damaged_list_is_named(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    train_small(root, out, SETTINGS, holdout=0.3, steps=1)
    config = out / "config.yaml"
    config.write_text(config.read_text().replace("holdout:\n", "holdout: 3\n  no: \n", 1))
    with pytest.raises(BundleError, match=r"config\.yaml"):
        held_out(out)


def test_command_line(root: Path, tmp_path: Path, run: Run) -> None:
    code, printed, told = run("train", root, "--dry-run", "--holdout", 2, "--device", "cpu")
    assert (code, printed) == (2, "")
    assert "--holdout 2: must lie between 0 and 1" in told
