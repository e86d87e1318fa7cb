"""A defect moved from one image to another, by a stand-in model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fake_model import FakeModel, defective, info, save, surface
from PIL import Image

from defectaug.data.class_map import ClassMap
from defectaug.data.framing import Framing
from defectaug.data.sample import Sample
from defectaug.errors import ConfigError, OutputError
from defectaug.io.images import NativeImage
from defectaug.io.masks import write_mask
from defectaug.methods import native
from defectaug.synthesis import render
from defectaug.synthesis.api import synthesize
from defectaug.synthesis.sources import product_of
from defectaug.synthesis.transfer import transfer


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    return save(tmp_path / "s.png", surface(1, (60, 80))), save(tmp_path / "spot" / "r.png", defective(2))


def test_transfer_puts_the_defect_at_its_place(
    model: FakeModel, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    out, mask = tmp_path / "o.png", tmp_path / "m.png"
    assert transfer(*pair, model=model, out=out, mask=mask) == [out]
    source, image, where = (np.asarray(Image.open(path)).astype(int) for path in (pair[0], out, mask))
    truth = np.zeros((60, 80), bool)
    truth[15:30, 20:40] = True  # the reference's square, scaled to the source
    found = where == 255
    assert (found & truth).sum() / (found | truth).sum() > 0.6
    assert np.abs(image - source)[~found].mean() < 2
    assert (image - source)[20:28, 26:36].min() > 60


def test_a_transfer_that_leaves_nothing_to_see_says_so(
    model: FakeModel, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    said: list[str] = []
    transfer(*pair, model=model, out=tmp_path / "seen.png", log=said.append)
    transfer(*pair, model=model, out=tmp_path / "restored.png", defect="normal", log=said.append)
    assert not any("no visible defect" in line for line in said)
    elsewhere = np.zeros((60, 80), bool)
    elsewhere[50:, 70:] = True
    write_mask(tmp_path / "region.png", elsewhere)
    transfer(*pair, model=model, out=tmp_path / "o.png", region=tmp_path / "region.png", log=said.append)
    assert said[-1].startswith(f"{tmp_path}/o.png: shows no visible defect") and str(pair[1]) in said[-1]


@pytest.mark.parametrize(
    "folder, normal", [("normal", True), ("incoming", True), ("scratch", False), ("kratzer", False)]
)
def test_a_source_loses_a_defect_of_its_own_where_its_folder_names_one(
    folder: str, normal: bool, root: Path, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    model = FakeModel(info(root, classes=ClassMap(defects={"kratzer": "scratch"})))
    source = save(tmp_path / folder / "s.png", surface(1, (60, 80)))
    transfer(source, pair[1], model=model, out=tmp_path / "o.png")
    assert model.said_normal == [normal]


def test_transfer_finds_the_defect_out(model: FakeModel, pair: tuple[Path, Path], tmp_path: Path) -> None:
    reference = save(tmp_path / "somewhere" / "r.png", defective(3))
    said: list[str] = []
    transfer(pair[0], reference, model=model, out=tmp_path / "o.png", log=said.append)
    assert any("taken for 'spot'" in line for line in said)
    plain = save(tmp_path / "somewhere" / "plain.png", surface(4))
    with pytest.raises(ConfigError, match="shows no defect"):
        transfer(pair[0], plain, model=model, out=tmp_path / "p.png")
    assert not (tmp_path / "p.png").exists()


def test_transfer_to_normal_restores(model: FakeModel, pair: tuple[Path, Path], tmp_path: Path) -> None:
    source = pair[1]
    transfer(source, pair[0], model=model, defect="normal", out=tmp_path / "o.png")
    before, after = (np.asarray(Image.open(path)) for path in (source, tmp_path / "o.png"))
    assert before[13:23, 17:31].min() == 240
    assert after[14:22, 18:30].max() < 130


def test_a_model_without_references_is_refused_and_restores_all_the_same(
    root: Path, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    model, out = FakeModel(info(root, references=False)), tmp_path / "o.png"
    with pytest.raises(ConfigError, match=r"REF .*r\.png: model fake draws defects from latents alone"):
        transfer(*pair, model=model, out=out)
    with pytest.raises(ConfigError, match=r"--reference .*: model fake draws defects from latents alone"):
        synthesize(model=model, product="A", defect="spot", n=1, reference=root / "B" / "spot", out=tmp_path / "made")
    assert not out.exists() and not (tmp_path / "made").exists()
    transfer(pair[1], pair[0], model=model, defect="normal", out=out)
    assert out.exists()


def test_transfer_styles(model: FakeModel, pair: tuple[Path, Path], tmp_path: Path) -> None:
    written = transfer(*pair, model=model, out=tmp_path / "o.png", n_styles=3)
    assert [path.name for path in written] == ["o_style00.png", "o_style01.png", "o_style02.png"]
    assert len({path.read_bytes() for path in written}) == 3


def test_many_styles_are_painted_some_at_a_time(model: FakeModel, pair: tuple[Path, Path], tmp_path: Path) -> None:
    few = transfer(*pair, model=model, out=tmp_path / "few.png", n_styles=3)
    many = transfer(*pair, model=model, out=tmp_path / "many.png", n_styles=40)
    assert max(model.batches) <= 16 and sum(model.batches) == 43
    assert [path.read_bytes() for path in many[:3]] == [path.read_bytes() for path in few]
    assert len({path.read_bytes() for path in many}) > 16


def test_transfer_of_folders(model: FakeModel, tmp_path: Path) -> None:
    for number in range(3):
        save(tmp_path / "src" / f"{number}.png", surface(number))
    for number in range(2):
        save(tmp_path / "spot" / f"r{number}.png", defective(number))
    written = transfer(
        tmp_path / "src", tmp_path / "spot", model=model, out=tmp_path / "o", mask=tmp_path / "m"
    )
    assert [path.name for path in written] == ["0__r0.png", "1__r1.png", "2__r0.png"]
    assert len(list((tmp_path / "m").glob("*.png"))) == 3
    with pytest.raises(ConfigError, match="must be a folder"):
        transfer(tmp_path / "src", tmp_path / "spot", model=model, out=tmp_path / "x.png")


def test_transfer_never_replaces_unasked(model: FakeModel, pair: tuple[Path, Path], tmp_path: Path) -> None:
    out = save(tmp_path / "o.png", surface(9))
    with pytest.raises(OutputError, match="--overwrite"):
        transfer(*pair, model=model, out=out)
    with pytest.raises(OutputError, match="SRC or REF"):
        transfer(*pair, model=model, out=pair[0], overwrite=True)
    transfer(*pair, model=model, out=out, overwrite=True)


def test_transfer_default_name_and_unknown_defect(
    model: FakeModel, pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert transfer(*pair, model=model) == [Path("s__r.png")]
    with pytest.raises(ConfigError, match="known: normal, scratch, spot"):
        transfer(*pair, model=model, defect="hole", out="other.png")


def test_transfer_of_crops_takes_the_place_over(root: Path, pair: tuple[Path, Path], tmp_path: Path) -> None:
    model = FakeModel(info(root, framings=dict.fromkeys("AB", Framing(32)), image_size=32))
    transfer(*pair, model=model, out=tmp_path / "o.png", mask=tmp_path / "m.png")
    rows, columns = np.nonzero(np.asarray(Image.open(tmp_path / "m.png")))
    centre = 18 * 60 / 48, 24 * 80 / 64  # of the reference's square, on the source
    assert abs(rows.mean() - centre[0]) < 5
    assert abs(columns.mean() - centre[1]) < 5


def test_an_image_is_framed_as_its_folder_says_else_as_its_size(tmp_path: Path) -> None:
    framings = {"A": Framing(None, (64, 48)), "B": Framing(32, (640, 480))}
    model, image = info(framings=framings, image_size=32), surface(1, (60, 80))
    named = Sample(save(tmp_path / "B" / "spot" / "r.png", image), "", "")
    nameless = Sample(save(tmp_path / "else" / "r.png", image), "", "")
    assert [product_of(one, model) for one in (named, nameless)] == ["B", ""]
    assert [model.window(product_of(one, model), (60, 80)) for one in (named, nameless)] == [32, None]
    assert model.window("", (500, 600)) == 32 and model.window("C", (500, 600)) == 32


def test_place_strength_and_size_of_a_transfer(model: FakeModel, pair: tuple[Path, Path], tmp_path: Path) -> None:
    def change(name: str, **options: object) -> np.ndarray:
        transfer(*pair, model=model, out=tmp_path / name, **options)
        return np.asarray(Image.open(tmp_path / name)).astype(int) - np.asarray(Image.open(pair[0]))

    plain, weak, small = change("plain.png"), change("weak.png", strength="0.5"), change("small.png", size="0.5:0.5")
    assert weak.max() / plain.max() == pytest.approx(0.5, abs=0.03)
    assert (small > small.max() / 2).sum() / (plain > plain.max() / 2).sum() == pytest.approx(0.25, abs=0.08)
    allowed = np.zeros(plain.shape, np.uint8)
    allowed[:, plain.any(0).nonzero()[0].mean().astype(int) :] = 255
    mask = tmp_path / "within_mask.png"
    within = change("within.png", region=save(tmp_path / "allowed.png", allowed), mask=mask)
    covered = np.asarray(Image.open(mask))
    assert covered.any() and not covered[allowed == 0].any()
    assert ((within != 0) == ((plain != 0) & (allowed > 0))).all() and within.any()
    with pytest.raises(ConfigError, match=r"--size 2:2: --defect normal restores"):
        transfer(*pair, model=model, out=tmp_path / "x.png", defect="normal", size=2)


def test_a_reference_seen_in_windows_is_shown_about_its_largest_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not about the middle of all its parts, where there may be nothing."""
    change = np.zeros((100, 200), np.float32)
    change[20:30, 20:40] = change[70:76, 180:186] = -0.5
    monkeypatch.setattr(native, "restoration_change", lambda *args: change)
    windowed = FakeModel(info(framings={"A": Framing(32)}))
    sample = Sample(Path("A/spot/x.png"), "A", "spot")
    view = render.reference_view(NativeImage(np.zeros((100, 200), np.uint8)), sample, windowed, seed=0)
    assert np.count_nonzero(view.window.cut(change)) == 200
