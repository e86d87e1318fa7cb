"""From a (stand-in) model to images: pixels, masks, sources, references, balance."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fake_model import FakeModel, contents, data, defective, info, lines, save, surface
from PIL import Image

from defectaug.data.framing import Framing
from defectaug.errors import ConfigError, DataError
from defectaug.io.images import NativeImage, read_image
from defectaug.io.masks import defect_mask
from defectaug.methods.native import Change, compose, native_change
from defectaug.synthesis.api import synthesize
from defectaug.synthesis.control.parts import MAX_REJECTIONS
from defectaug.synthesis.plan import derive_seed

# Adding the change


def test_change_is_enlarged_and_noise_dropped() -> None:
    delta = np.zeros((1, 8, 8), np.float32)
    delta[0, 2:6, 2:6] = 1.0  # half of the white level
    delta[0, 7, 7] = 1 / 255  # half a grey level
    change = native_change(delta, (32, 64), 1)
    assert change.shape == (32, 64)
    assert change[16, 32] == pytest.approx(0.5)
    assert (change[-3:, -3:] == 0).all()
    assert defect_mask(change)[16, 32]
    assert not defect_mask(change)[0, 0]


def test_mask_closes_gaps_that_the_surface_leaves_and_leaves_out_the_rim() -> None:
    change = np.zeros((64, 32), np.float32)
    change[10:50, 14:18] = 0.3
    change[20:50:8, 14:18] = 0  # here the surface has the defect's colour
    change[10:50, 18:21] = 0.02
    mask = defect_mask(change)
    assert mask[12:48, 14:18].all()
    assert not mask[:, 20:].any()
    assert not mask[:7].any()
    assert not defect_mask(np.full((8, 8), 5 / 255, np.float32)).any()


def test_mask_holds_what_was_painted_beside_a_bright_glint() -> None:
    values, share = np.zeros((64, 64), np.float32), np.zeros((64, 64), np.float32)
    values[10:50, 10:50], values[20:26, 20:26] = 0.1, 0.9  # a dull break, and light on its edge
    share[10:50, 10:50] = 1
    share[10:50, 50:54], values[10:50, 50:54] = 0.3, 0.1  # its rim
    mask = Change(values, share).mask(None)
    assert mask[12:48, 12:48].all() and not mask[:, 52:].any() and not mask[:8].any()
    assert Change(values).mask(None).sum() < 200  # where nothing tells what was painted, the peak does
    share[:] = 1
    values[:] = np.where(values > 0.5, values, 0.03)
    assert Change(values, share).mask(None).sum() < 200  # what is hardly seen is no defect


def test_mask_of_a_large_image_is_that_of_the_size_that_the_network_sees() -> None:
    delta = np.zeros((1, 16, 16), np.float32)
    delta[0, 4:9, 6:9] = 1.0
    small = defect_mask(native_change(delta, (16, 16), 1), (16, 16))
    change = native_change(delta, (160, 320), 1)
    large = defect_mask(change, (16, 16))
    assert large.mean() == pytest.approx(small.mean(), rel=0.25)
    assert defect_mask(change).mean() < 0.75 * large.mean()  # its own pixels are too fine to smooth by
    assert large[60:70, 120:180].all() and not large[:, :60].any()


@pytest.mark.parametrize("size", [2.0, 3.0])
def test_mask_of_an_enlarged_defect_is_that_of_the_defect_enlarged(size: float) -> None:
    delta = np.zeros((1, 64, 64), np.float32)
    delta[0, 8:56, 31:33] = 0.6  # a line with a soft rim, as thin ones are painted
    delta[0, 8:56, [29, 30, 33, 34]] = 0.14
    change = native_change(delta, (64, 64), 1)
    side = round(64 * size)
    larger = native_change(delta, (side, side), 1)
    scaled = defect_mask(larger, (side, side), size)
    area = scaled.sum() / defect_mask(change, (64, 64)).sum()
    assert area == pytest.approx(size**2, rel=0.05)
    assert defect_mask(larger, (side, side)).sum() / defect_mask(change, (64, 64)).sum() != pytest.approx(area, rel=0.2)


def test_change_of_a_colour_model_on_grey_and_the_reverse() -> None:
    colour = np.zeros((3, 4, 4), np.float32)
    colour[1] = 1.0
    assert native_change(colour, (4, 4), 1) == pytest.approx(0.587 / 2, abs=1e-3)
    assert native_change(np.ones((1, 4, 4), np.float32), (4, 4), 3).shape == (4, 4, 3)


def test_compose_keeps_depth_alpha_and_what_is_above_white() -> None:
    pixels = np.array([[100, 4000], [5000, 0]], np.uint16)
    alpha = np.array([[1, 2], [3, 4]], np.uint16)
    change = np.array([[0.5, 0.5], [0.5, -0.5]], np.float32)
    result = compose(NativeImage(pixels, alpha), change, white=4095)
    assert result.pixels.dtype == np.uint16
    assert result.pixels.tolist() == [[2148, 4095], [5000, 0]]
    assert result.alpha is alpha


# Categories


def test_a_category_at_native_size_with_masks_and_manifest(model: FakeModel, root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    summary = synthesize(model=model, product="A", defect="scratch", n=7, out=out, masks=True, batch_size=3)
    assert (summary.synthetic, summary.real, summary.faint, summary.complete) == (7, 0, 0, True)
    files = sorted((out / "A" / "scratch").glob("*.png"))
    assert len(files) == 7
    for line, index in zip(lines(out), range(7), strict=True):
        assert line["index"] == index
        assert (line["product"], line["defect"], line["synthetic"]) == ("A", "scratch", True)
        assert (line["guide"], line["reference"], line["seed"]) == ("latent", None, 0)
        assert line["model"] == "0" * 64
        source, image = (np.asarray(Image.open(path)) for path in (line["source"], out / line["file"]))
        mask_image = Image.open(tmp_path / "out.masks" / line["file"])
        mask = np.asarray(mask_image)
        assert mask_image.mode == "L"
        assert set(np.unique(mask)) == {0, 255}
        assert image.shape == source.shape == mask.shape == (48, 64)
        difference = np.abs(image.astype(int) - source)
        assert difference[mask == 255].mean() > 30
        assert difference[mask == 0].mean() < 2
        assert (difference == 0).mean() > 0.8  # the background is the source's own
    assert not (out / ".defectaug-run.json").exists()


@pytest.mark.parametrize(
    ("mode", "pixels"),
    [
        ("RGB", surface(1, (40, 50), 3)),
        ("RGBA", np.dstack([surface(1, (40, 50), 3), surface(2, (40, 50))])),
        ("I;16", surface(1, (40, 50)).astype(np.uint16) * 10),
    ],
)
def test_colour_mode_and_depth_are_kept(tmp_path: Path, mode: str, pixels: np.ndarray) -> None:
    save(tmp_path / "data" / "A" / "normal" / "0.png", pixels)
    model = FakeModel(info(white=4095 if mode == "I;16" else 255))
    out = tmp_path / "out"
    synthesize(model=model, source=tmp_path / "data", product="A", defect="spot", n=1, out=out)
    before, after = read_image(tmp_path / "data/A/normal/0.png"), read_image(out / lines(out)[0]["file"])
    assert Image.open(out / lines(out)[0]["file"]).mode == mode
    assert after.pixels.shape == before.pixels.shape
    assert after.pixels.dtype == before.pixels.dtype
    assert after.pixels.max() > 1.3 * before.pixels.max()
    if mode == "I;16":
        assert after.pixels.max() <= 4095
    if before.alpha is not None and after.alpha is not None:
        assert (after.alpha == before.alpha).all()


def test_images_do_not_depend_on_batch_number_or_category_list(model: FakeModel, tmp_path: Path) -> None:
    for name, options in {
        "a": {"n": 5, "batch_size": 1, "product": "A", "defect": "spot"},
        "b": {"n": 9, "batch_size": 4, "product": "A", "defect": "spot"},
        "c": {"n": 5, "batch_size": 16, "product": "A"},
        "d": {"n": 5, "product": "A", "defect": "spot", "seed": 1},
    }.items():
        synthesize(model=model, out=tmp_path / name, **options)
    a, b, c = (contents(tmp_path / name / "A" / "spot") for name in "abc")
    d = contents(tmp_path / "d" / "A" / "spot")
    assert len(a) == 5
    assert a == c
    assert a == {file: b[file] for file in a}
    assert not set(a.values()) & set(d.values())


def test_product_alone_makes_all_defects_and_defect_alone_all_products(
    model: FakeModel, tmp_path: Path
) -> None:
    synthesize(model=model, product="B", n=2, out=tmp_path / "p")
    synthesize(model=model, defect="spot", n=2, out=tmp_path / "d")
    assert {(line["product"], line["defect"]) for line in lines(tmp_path / "p")} == {
        ("B", "scratch"),
        ("B", "spot"),
    }
    assert {(line["product"], line["defect"]) for line in lines(tmp_path / "d")} == {
        ("A", "spot"),
        ("B", "spot"),
    }


def test_what_the_model_takes_for_another_defect_is_drawn_again(root: Path, tmp_path: Path) -> None:
    model = FakeModel(info(root), doubts=lambda number: number in (1, 2))
    synthesize(model=model, product="A", defect="spot", n=6, out=tmp_path / "out")
    assert [line.get("redraws", 0) for line in lines(tmp_path / "out")] == [0, 1, 1, 0, 0, 0]
    stubborn = FakeModel(info(root), doubts=lambda number: True)
    synthesize(model=stubborn, product="A", defect="spot", n=1, out=tmp_path / "s")
    assert [line["redraws"] for line in lines(tmp_path / "s")] == [MAX_REJECTIONS]
    given = FakeModel(info(root), doubts=lambda number: number < 2)
    synthesize(model=given, product="A", defect="spot", n=6, reference=root / "B" / "spot", out=tmp_path / "r")
    made = lines(tmp_path / "r")
    assert [line.get("redraws", 0) for line in made] == [1, 1, 0, 0, 0, 0]
    sure = FakeModel(info(root))
    synthesize(model=sure, product="A", defect="spot", n=6, reference=root / "B" / "spot", out=tmp_path / "sure")
    undisturbed = [line["reference"] for line in lines(tmp_path / "sure")]
    assert [line["reference"] for line in made[2:]] == undisturbed[2:]


def test_invisible_defects_are_drawn_again(root: Path, tmp_path: Path) -> None:
    first = [derive_seed(derive_seed("item", 0, "A", "spot", k), 0) for k in range(6)]
    model = FakeModel(info(root), blind=lambda seed: seed in first[:3])
    summary = synthesize(model=model, product="A", defect="spot", n=6, out=tmp_path / "out")
    assert summary.faint == 0
    assert [line.get("redraws", 0) for line in lines(tmp_path / "out")] == [1, 1, 1, 0, 0, 0]
    blind = synthesize(
        model=FakeModel(info(root), blind=lambda seed: True),
        product="A",
        defect="spot",
        n=2,
        out=tmp_path / "b",
    )
    assert blind.faint == 2
    assert "no visible defect" in blind.describe()


def test_unreadable_and_small_sources_are_named_and_skipped(
    model: FakeModel, root: Path, tmp_path: Path
) -> None:
    (root / "A/normal/000.png").write_bytes(b"no image")
    whole = (root / "A/normal/001.png").read_bytes()
    (root / "A/normal/001.png").write_bytes(whole[: len(whole) // 2])  # its header is sound
    save(root / "A/normal/002.png", surface(0, (15, 40)))
    said: list[str] = []
    synthesize(model=model, product="A", defect="spot", n=6, out=tmp_path / "out", log=said.append)
    used = {Path(line["source"]).name for line in lines(tmp_path / "out")}
    assert used == {"003.png", "004.png"}
    for name in ("000.png", "001.png", "002.png"):
        assert sum(name in line for line in said) == 1, said


def test_all_sources_too_small_is_an_error(root: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="64x48 pixels are less than half"):
        synthesize(model=FakeModel(info(root, image_size=128)), product="A", n=1, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_crops_change_one_window_at_native_scale(root: Path, tmp_path: Path) -> None:
    model = FakeModel(info(root, framings=dict.fromkeys("AB", Framing(32)), image_size=32))
    synthesize(model=model, product="A", defect="spot", n=4, out=tmp_path / "out", masks=True)
    for line in lines(tmp_path / "out"):
        top, left, height, width = line["window"]
        assert (height, width) == (32, 32)
        changed = np.asarray(Image.open(tmp_path / "out" / line["file"])) != np.asarray(
            Image.open(line["source"])
        )
        outside = changed.copy()
        outside[top : top + 32, left : left + 32] = False
        assert changed.any()
        assert not outside.any()


def test_windows_show_the_region_that_a_defect_may_cover(root: Path, tmp_path: Path) -> None:
    """The region is a corner that a window anywhere hardly ever meets."""
    model = FakeModel(info(root, framings=dict.fromkeys("AB", Framing(16)), image_size=16))
    for source in sorted((root / "A" / "normal").iterdir()):
        corner = np.zeros(np.asarray(Image.open(source)).shape[:2], np.uint8)
        corner[-6:, -6:] = 255
        save(tmp_path / "regions" / f"{source.stem}.png", corner)
    out, regions = tmp_path / "out", tmp_path / "regions"
    synthesize(model=model, product="A", defect="spot", n=4, out=out, region=regions, keep="all")
    for line in lines(out):
        top, left, height, width = line["window"]
        with Image.open(line["source"]) as source:
            assert top + height > source.height - 6 and left + width > source.width - 6


# Sources and references


def test_a_flat_folder_of_a_new_product(model: FakeModel, tmp_path: Path) -> None:
    for number in range(3):
        save(tmp_path / "flat" / f"{number}.png", surface(number))
    said: list[str] = []
    synthesize(
        model=model,
        source=tmp_path / "flat",
        product="C",
        defect="spot",
        n=2,
        out=tmp_path / "out",
        log=said.append,
    )
    assert len(list((tmp_path / "out/C/spot").glob("*.png"))) == 2
    assert any("C is new to model fake" in line for line in said)


def test_a_folder_of_one_product_under_another_name(tmp_path: Path) -> None:
    source = data(tmp_path / "copy_of_A", {"normal": 3, "spot": 1})
    synthesize(model=FakeModel(info()), source=source, product="A", defect="spot", n=2, out=tmp_path / "a")
    assert {line["product"] for line in lines(tmp_path / "a")} == {"A"}
    single = FakeModel(info(source, products=("tile",)))
    synthesize(model=single, n=2, out=tmp_path / "b")
    assert {line["product"] for line in lines(tmp_path / "b")} == {"tile"}
    with pytest.raises(ConfigError, match="known: A, B, copy_of_A"):
        synthesize(model=FakeModel(info()), source=source, product="Z", n=2, out=tmp_path / "c")


def test_data_that_are_gone_ask_for_a_source(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="--source"):
        synthesize(model=FakeModel(info(tmp_path / "gone")), product="A", n=1, out=tmp_path / "out")


def test_sources_that_ship_with_a_bundle_stand_in(tmp_path: Path) -> None:
    data(tmp_path / "bundle" / "sources", {"A/normal": 2})
    model = FakeModel(info(tmp_path / "gone", path=tmp_path / "bundle"))
    assert synthesize(model=model, product="A", n=1, out=tmp_path / "out").synthetic == 2


def test_wrong_names_list_the_known_ones(model: FakeModel, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(ConfigError, match=r"did you mean 'scratch'\?; known: scratch, spot"):
        synthesize(model=model, product="A", defect="scrach", n=1, out=out)
    with pytest.raises(ConfigError, match=r"--product Z.*known: A, B"):
        synthesize(model=model, product="Z", n=1, out=out)
    with pytest.raises(ConfigError, match="not synthesised"):
        synthesize(model=model, product="A", defect="normal", n=1, out=out)
    assert not out.exists()


def test_references_of_another_product(model: FakeModel, tmp_path: Path) -> None:
    save(tmp_path / "refs" / "spot" / "r.png", defective(7))
    synthesize(
        model=model, product="A", defect="spot", n=3, reference=tmp_path / "refs", out=tmp_path / "out"
    )
    for line in lines(tmp_path / "out"):
        assert line["guide"] == "reference"
        assert Path(line["reference"]).name == "r.png"
        changed = np.asarray(Image.open(tmp_path / "out" / line["file"])).astype(int) - np.asarray(
            Image.open(line["source"])
        )
        assert changed[18, 24] > 90  # in the reference's square
        assert changed[40, 10] == 0


def test_references_in_a_data_tree_and_flat(model: FakeModel, root: Path, tmp_path: Path) -> None:
    synthesize(model=model, product="A", defect="spot", n=2, reference=root, out=tmp_path / "a")
    assert {Path(line["reference"]).parent.name for line in lines(tmp_path / "a")} == {"spot"}
    synthesize(
        model=model, product="A", defect="spot", n=2, reference=root / "B" / "scratch", out=tmp_path / "b"
    )
    assert {Path(line["reference"]).parent.name for line in lines(tmp_path / "b")} == {"scratch"}


def test_references_of_an_unknown_defect(model: FakeModel, tmp_path: Path) -> None:
    save(tmp_path / "refs" / "dent" / "r.png", defective(7))
    with pytest.raises(ConfigError, match=r"does not know the defect 'dent'; known: scratch, spot"):
        synthesize(model=model, product="A", n=1, reference=tmp_path / "refs", out=tmp_path / "out")
    with pytest.raises(DataError, match=r"no image of 'spot'.*dent"):
        synthesize(
            model=model, product="A", defect="spot", n=1, reference=tmp_path / "refs", out=tmp_path / "out"
        )


# Balance


def test_balance_gives_back_the_real_images_and_fills_the_categories(
    model: FakeModel, root: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    summary = synthesize(model=model, out=out, masks=True)
    assert summary.real == 15
    counts = {f"{p.parent.parent.name}/{p.parent.name}": 0 for p in out.rglob("*.png")}
    for path in out.rglob("*.png"):
        counts[f"{path.parent.parent.name}/{path.parent.name}"] += 1
    assert counts == {"A/normal": 5, "A/scratch": 5, "A/spot": 5, "B/normal": 4, "B/scratch": 5, "B/spot": 5}
    for line in lines(out):
        if not line["synthetic"]:
            assert (out / line["file"]).read_bytes() == Path(line["source"]).read_bytes()
            assert (line["seed"], line["guide"], line["reference"]) == (None, None, None)
    assert not np.asarray(Image.open(tmp_path / "out.masks/A/normal/000.png")).any()
    assert [line["index"] for line in lines(out)] == list(range(len(lines(out))))
