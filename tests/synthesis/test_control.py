"""Place, strength, size and number: options, region masks, and what comes of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import Run
from fake_model import FakeModel, contents, defective, info, lines, save, surface
from PIL import Image
from scipy.ndimage import label

from defectaug.data.framing import Framing
from defectaug.errors import ConfigError, DataError
from defectaug.io.masks import read_mask
from defectaug.io.windows import Window
from defectaug.methods.base import Painted, SourceFeatures
from defectaug.methods.placement import Placement, Seen, Variety, adjusted
from defectaug.synthesis.api import synthesize
from defectaug.synthesis.control.acceptance import Verdict
from defectaug.synthesis.control.options import Control, Range, parse_range
from defectaug.synthesis.control.parts import Part, Task, kinds_of
from defectaug.synthesis.plan import Item

# Options


def test_ranges_are_read_and_drawn() -> None:
    assert parse_range("--size", "0.5:2") == parse_range("--size", (0.5, 2.0)) == Range(0.5, 2)
    assert parse_range("--size", "2") == parse_range("--size", 2) == Range(2, 2)
    drawn = [Range(0.5, 2).draw(seed) for seed in range(400)]
    assert 0.5 <= min(drawn) < 0.55 and 1.9 < max(drawn) <= 2
    assert np.median(drawn) == pytest.approx(1, abs=0.1)
    assert drawn[7] == Range(0.5, 2).draw(7)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("2:1", r"--size 2:1: the first factor is above the second; did you mean 1:2\?"),
        ("0:1", "--size 0:1: factors must be from 0.05 to 20"),
        ("-1:1", "factors must be from"),
        ("1:inf", "factors must be from"),
        ("nan", "give two factors LO:HI"),
        ("a:b", "give two factors LO:HI"),
        ("1:2:3", "give two factors LO:HI"),
        ("", "give two factors LO:HI"),
        (":", "give two factors LO:HI"),
    ],
)
def test_factors_that_cannot_be(value: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_range("--size", value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"region": "atuo"}, r"--region atuo: no such folder or file; did you mean 'auto'\?"),
        ({"region": ""}, r"--region \(empty\): no such folder or file; give auto, none"),
        ({"max_defects": 0}, "--max-defects 0: must be from 1"),
        ({"max_defects": 21}, "--max-defects 21"),
        ({"keep": "best"}, "--keep best: must be good or all"),
    ],
)
def test_words_that_cannot_be(changes: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Control.of(**({"region": "auto", "strength": "1", "size": "1", "max_defects": 1, "keep": "good"} | changes))


def test_a_wrong_factor_is_one_line_and_code_2(run: Run, root: Path, tmp_path: Path) -> None:
    code, _, err = run("synthesize", "--strength", "2:1", "--source", str(root), "--out", str(tmp_path / "out"))
    assert code == 2 and "--strength 2:1" in err.splitlines()[-1]
    assert not (tmp_path / "out").exists()


# Regions


def halves(root: Path, folder: Path, suffix: str = ".png") -> Path:
    """For each normal image of A a mask of its right half, in the folders of the sources."""
    allowed = np.zeros((48, 64), np.uint8)
    allowed[:, 32:] = 255
    for source in (root / "A" / "normal").glob("*.png"):
        save(folder / "A" / "normal" / source.with_suffix(suffix).name, allowed)
    return folder


def changed(line: dict, out: Path) -> np.ndarray:
    image, source = (np.asarray(Image.open(path)).astype(int) for path in (out / line["file"], line["source"]))
    return image != source


def test_defects_lie_in_the_masks(model: FakeModel, root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    masks = halves(root, tmp_path / "where", ".bmp")
    synthesize(model=model, product="A", defect="spot", n=24, region=masks, out=out, masks=True)
    for line in lines(out):
        assert line["accepted"] is True and line["score"] >= 0.5
        assert changed(line, out)[:, 32:].any() and not changed(line, out)[:, :32].any()
        assert not read_mask(tmp_path / "out.masks" / line["file"])[:, :32].any()


def test_one_mask_for_all_and_masks_by_name_alone(model: FakeModel, root: Path, tmp_path: Path) -> None:
    masks = halves(root, tmp_path / "where")
    one = masks / "A" / "normal" / "000.png"
    for number, region in enumerate((one, masks / "A" / "normal")):
        synthesize(model=model, product="A", defect="spot", n=4, region=region, out=tmp_path / str(number))
    assert contents(tmp_path / "0" / "A") == contents(tmp_path / "1" / "A")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda mask: mask.unlink(), r"no mask for .*A/normal/001.png; it would be called A/normal/001.png"),
        (lambda mask: save(mask, np.full((8, 9), 255, np.uint8)), r"001.png has 9x8 pixels, its source .* 64x48"),
        (lambda mask: save(mask, np.zeros((48, 64), np.uint8)), r"001.png allows no place; draw it white \(255\)"),
        (lambda mask: mask.write_bytes(b"no image"), r"--region .*where: .*001.png: cannot be read as an image"),
        (lambda mask: mask.write_bytes(mask.read_bytes()[:-60]), r"--region .*where: .*001.png: cannot be read"),
    ],
)
def test_masks_that_do_not_fit(model: FakeModel, root: Path, tmp_path: Path, spoil, message: str) -> None:
    spoil(halves(root, tmp_path / "where") / "A" / "normal" / "001.png")
    with pytest.raises(DataError, match=message):
        synthesize(model=model, product="A", n=2, region=tmp_path / "where", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_mask_that_is_no_image(model: FakeModel, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("the left half")
    with pytest.raises(DataError, match=r"^--region \S*notes.txt: cannot be read as an image"):
        synthesize(model=model, product="A", n=2, region=tmp_path / "notes.txt", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_without_masks(model: FakeModel, tmp_path: Path) -> None:
    (tmp_path / "where").mkdir()
    with pytest.raises(DataError, match="no masks in this folder"):
        synthesize(model=model, product="A", n=2, region=tmp_path / "where", out=tmp_path / "out")


def on_a_table(seed: int) -> np.ndarray:
    """A dark part on the left, and a light table beside it."""
    pixels = surface(seed)
    pixels[:, 50:] = 225
    return pixels


def test_the_product_is_found_and_what_is_found_is_said(tmp_path: Path) -> None:
    for number in range(6):
        save(tmp_path / "data" / "A" / "normal" / f"{number}.png", on_a_table(number))
        save(tmp_path / "data" / "B" / "normal" / f"{number}.png", surface(number))
    said: list[str] = []
    model = FakeModel(info(tmp_path / "data"))
    synthesize(model=model, defect="spot", n=40, out=tmp_path / "out", log=said.append)
    assert any("A: surroundings cover 2" in line and "--region none" in line for line in said)
    assert any("B: no surroundings found" in line for line in said)
    of_a, of_b = ([changed(line, tmp_path / "out") for line in lines(tmp_path / "out") if line["product"] == name]
                  for name in "AB")  # fmt: skip
    assert not any(one[:, 51:].any() for one in of_a) and all(one[:, :50].any() for one in of_a)
    assert any(one[:, 51:].any() for one in of_b)
    synthesize(model=model, product="A", defect="spot", n=20, out=tmp_path / "free", region="none", log=said.append)
    assert any(changed(line, tmp_path / "free")[:, 51:].any() for line in lines(tmp_path / "free"))


def test_an_image_does_not_depend_on_its_neighbours_wishes(tmp_path: Path) -> None:
    for number in range(6):
        save(tmp_path / "data" / "A" / "normal" / f"{number}.png", on_a_table(number))
        save(tmp_path / "data" / "B" / "normal" / f"{number}.png", surface(number))
    model = FakeModel(info(tmp_path / "data"))
    for name, options in {"all": {"batch_size": 5}, "one": {"batch_size": 1}, "B": {"product": "B"}}.items():
        synthesize(model=model, defect="spot", n=6, strength="0.5:2", out=tmp_path / name, **options)
    assert contents(tmp_path / "all" / "A") == contents(tmp_path / "one" / "A")
    assert contents(tmp_path / "all" / "B") == contents(tmp_path / "one" / "B") == contents(tmp_path / "B" / "B")


# Strength, size, number


def made(model: FakeModel, out: Path, **options: object) -> tuple[list[dict], np.ndarray, np.ndarray]:
    """Manifest, mean changes and areas of images of one category; masks have a soft rim besides."""
    synthesize(model=model, product="A", defect="spot", n=12, keep="all", out=out, masks=True, **options)
    found = lines(out)
    masks = [read_mask(out.parent / f"{out.name}.masks" / line["file"]) for line in found]
    pairs = [(np.asarray(Image.open(out / line["file"])).astype(float), np.asarray(Image.open(line["source"])))
             for line in found]  # fmt: skip
    changes = [(image - source) * mask for (image, source), mask in zip(pairs, masks, strict=True)]
    cores = [change > change.max() / 2 for change in changes]
    contrasts = [change[core].mean() for change, core in zip(changes, cores, strict=True)]
    return found, np.array(contrasts), np.array([core.sum() for core in cores])


class VaryingModel(FakeModel):
    """Varies new defects by itself, and remembers the factors that it is asked for."""

    def __init__(self, root: Path, variety: Variety) -> None:
        super().__init__(info(root))
        self.varied, self.factors = variety, list[tuple[float, float]]()

    def variety(self, defect: int, product: int) -> Variety:
        assert self.info.defects[defect] == "spot" and self.info.products[product] == "A"
        return self.varied

    def paint_placed(self, sources: Sequence[SourceFeatures], codes: object, placement: Placement) -> Painted:
        size = placement.size if placement.varied is None else placement.size * placement.varied
        self.factors += zip(placement.strength.tolist(), size.tolist(), strict=True)
        return adjusted(self.paint_on(sources, codes), placement)  # type: ignore[arg-type]


def test_new_defects_are_varied_by_the_model_too_and_references_not(root: Path, tmp_path: Path) -> None:
    model = VaryingModel(root, Variety(strength=(0.6, 1.3), size=(0.9, 1.1)))
    found, *_ = made(model, tmp_path / "a", strength="2:2")
    factors = np.array(model.factors[:12])
    assert [len(np.unique(one)) for one in factors.T] == [12, 12]
    assert {(line["strength"], line["size"]) for line in found} == {(2.0, 1.0)}
    low, high = factors.min(0), factors.max(0)
    assert (low >= (1.2, 0.9)).all() and (high <= (2.6, 1.1)).all()
    assert ((high - low) > 0.5 * np.array([1.4, 0.2])).all()
    again = VaryingModel(root, model.varied)
    made(again, tmp_path / "b", strength="2:2", batch_size=5)
    assert sorted(again.factors) == sorted(model.factors)
    guided = VaryingModel(root, model.varied)
    made(guided, tmp_path / "c", strength="2:2", reference=root)
    assert set(guided.factors) == {(2.0, 1.0)}


def test_strength_and_size_are_factors(model: FakeModel, tmp_path: Path) -> None:
    _, contrast, area = made(model, tmp_path / "plain")
    found, weak, _ = made(model, tmp_path / "weak", strength="0.5:0.5")
    assert weak / contrast == pytest.approx(0.5, abs=0.05)
    assert {(line["strength"], line["size"]) for line in found} == {(0.5, 1.0)}
    found, _, large = made(model, tmp_path / "large", size="2:2")
    assert np.median(large / area) == pytest.approx(4, rel=0.1)
    found, *_ = made(model, tmp_path / "drawn", strength="0.5:2", size="0.8:1.25")
    assert len({line["strength"] for line in found}) == 12 and all(0.5 <= line["strength"] <= 2 for line in found)
    again, *_ = made(model, tmp_path / "again", strength="0.5:2", size="0.8:1.25", batch_size=5)
    assert again == found


def test_options_that_leave_nothing_of_defects_are_named(model: FakeModel, tmp_path: Path) -> None:
    made = synthesize(model=model, product="A", defect="spot", n=4, strength="0.05", size="0.05", out=tmp_path / "out")
    assert made.faint == 4 and "--region, --strength or --size leave nothing" in made.describe()


def test_up_to_k_defects_lie_apart(model: FakeModel, root: Path, tmp_path: Path) -> None:
    synthesize(model=model, product="A", defect="spot", n=30, max_defects=3, out=tmp_path / "out", masks=True)
    counts = [
        label(read_mask(tmp_path / "out.masks" / line["file"]), np.ones((3, 3)))[1] for line in lines(tmp_path / "out")
    ]
    assert set(counts) == {1, 2, 3}
    assert counts == [len(line["boxes"]) for line in lines(tmp_path / "out")]
    synthesize(model=model, product="A", defect="spot", n=30, out=tmp_path / "one")
    first = {line["file"]: changed(line, tmp_path / "one") for line in lines(tmp_path / "one")}
    kept = [first[line["file"]] & changed(line, tmp_path / "out") for line in lines(tmp_path / "out")]
    assert all((one == first[line["file"]]).all() for one, line in zip(kept, lines(tmp_path / "out"), strict=True))


def test_more_defects_than_fit_are_left_out(model: FakeModel, root: Path, tmp_path: Path) -> None:
    allowed = np.zeros((48, 64), np.uint8)
    allowed[12:24, 16:32] = 255
    save(tmp_path / "small.png", allowed)
    out = tmp_path / "out"
    synthesize(model=model, product="A", defect="spot", n=6, max_defects=20, region=tmp_path / "small.png", out=out)
    assert all(len(line["boxes"]) <= 3 for line in lines(out))


def test_a_category_of_several_kinds_mixes_them() -> None:
    defects = ("normal", "scratch", "spot", "combined", "scratch+spot")
    assert kinds_of("spot", defects) == ("spot",)
    assert kinds_of("combined", defects) == ("scratch", "spot", "scratch+spot")
    assert kinds_of("scratch+spot", defects) == ("scratch", "spot")
    assert kinds_of("a+b", (*defects, "a+b")) == ("a+b",)
    part = Part(np.zeros((1, 4, 4), np.float32), None, None, None, Window(0, 0, 4, 4), Verdict(1.0, None))
    items = [Item(0, "A", "combined", None, "f", seed) for seed in range(30)]
    assert {Task(item).kind(defects[:4]) for item in items} == {"combined"}
    assert {Task(item, (part,)).kind(defects[:4]) for item in items} == {"scratch", "spot"}


# Keeping


def test_what_is_kept_and_why(root: Path, tmp_path: Path) -> None:
    stubborn = FakeModel(info(root), doubts=lambda number: True)
    summary = synthesize(model=stubborn, product="A", defect="spot", n=2, out=tmp_path / "good")
    assert {line["accepted"] for line in lines(tmp_path / "good")} == {"taken for another defect, or for none"}
    assert all(line["score"] < 0.5 for line in lines(tmp_path / "good"))
    assert "8 defects were rejected and drawn anew" in summary.describe()
    assert "2 kept that the acceptance test does not accept (2 taken for another defect, or for none)" in (
        summary.describe()
    )
    one = replace(summary, synthetic=1, redrawn=1, kept=1)
    assert "; 1 was there already" in one.describe()
    assert one.describe().startswith("1 synthetic image in ") and "1 defect was rejected" in one.describe()
    summary = synthesize(model=stubborn, product="A", defect="spot", n=2, out=tmp_path / "all", keep="all")
    assert summary.redrawn == 0 and sum(summary.doubtful.values()) == 2
    assert not any("redraws" in line for line in lines(tmp_path / "all"))


def test_defects_are_painted_where_they_were_seen_on_the_product(tmp_path: Path) -> None:
    class Knowing(FakeModel):
        def seen_in(self, defect: int, seed: int, product: int) -> Seen | None:
            return Seen((0.7, 0.2, 0.8, 0.3)) if (defect, product) == (2, 0) else None

    for number in range(4):
        save(tmp_path / "data" / "A" / "normal" / f"{number}.png", surface(number, (200, 160)))
    model = Knowing(info(tmp_path / "data", framings={"A": Framing(32)}))
    synthesize(model=model, product="A", defect="spot", n=6, out=tmp_path / "out", keep="all")
    middles = {(line["window"][0] + 16, line["window"][1] + 16) for line in lines(tmp_path / "out")}
    assert len(middles) > 1 and all(abs(y - 150) <= 9 and abs(x - 40) <= 9 for y, x in middles)


@pytest.mark.parametrize("keep", ["all", "good"])
def test_defects_of_references_are_painted_about_their_places(tmp_path: Path, keep: str) -> None:
    """In the middle of what is seen; of the one that is painted, where further ones are tried."""
    for number in range(3):
        save(tmp_path / "data" / "A" / "normal" / f"{number}.png", surface(number, (200, 160)))
        save(tmp_path / "shown" / "A" / "spot" / f"{number}.png", surface(number, (200, 160)))
        mask = np.zeros((200, 160), np.uint8)
        mask[30 + 50 * number : 34 + 50 * number, 118:122] = 255
        save(tmp_path / "shown.masks" / "A" / "spot" / f"{number}.png", mask)
    model = FakeModel(info(tmp_path / "data", framings={"A": Framing(32)}), doubts=lambda number: keep == "good")
    wish: dict[str, Any] = {"model": model, "product": "A", "defect": "spot", "n": 6, "keep": keep}
    synthesize(**wish, reference=tmp_path / "shown", out=tmp_path / "out")
    made = lines(tmp_path / "out")
    middles = {Path(line["reference"]).stem: line["window"][0] + 16 for line in made}
    assert len(middles) == 3 and all(abs(row - 32 - 50 * int(name)) <= 2 for name, row in middles.items())
    assert all(abs(line["window"][1] + 16 - 120) <= 2 for line in made)


@pytest.mark.parametrize(("shown", "verdict"), [("A", "smaller than real ones"), ("B", True)])
def test_defects_of_another_product_are_compared_with_those_of_it(tmp_path: Path, shown: str, verdict: object) -> None:
    """Spots cover half of A, and little of what the references show."""
    for number in range(4):
        large = surface(number)
        large[4:40, 4:52] = 240
        save(tmp_path / "data/A/spot" / f"{number}.png", large)
        save(tmp_path / "data/A/normal" / f"{number}.png", surface(10 + number))
        save(tmp_path / "shown" / shown / "spot" / f"{number}.png", defective(20 + number))
    model = FakeModel(info(tmp_path / "data"))
    wish: dict[str, Any] = {"model": model, "product": "A", "defect": "spot", "n": 4, "keep": "all"}
    synthesize(**wish, reference=tmp_path / "shown", out=tmp_path / "out")
    assert {line["accepted"] for line in lines(tmp_path / "out")} == {verdict}
