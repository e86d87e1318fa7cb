"""Copies, relabelled normal images and near-duplicates are found; what is new is not accused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from evaluation_data import line, painted, real, save, strokes, surface, synthetic, write_manifest
from PIL import Image

from defectaug.data.near_duplicates import Gallery, details, dilated, mean_image, nearest
from defectaug.metrics.changes import visible_change
from defectaug.reporting.api import EvaluationResult, evaluate

pytestmark = pytest.mark.usefixtures("no_network")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return real(tmp_path / "data")


def memory(root: Path, out: Path, **options: object) -> dict:
    return numbers(evaluate(root, out, only=["memorisation"], **options), "Memorisation")  # type: ignore[arg-type]


def numbers(result: EvaluationResult, title: str) -> dict:
    return next(dict(section.numbers) for section in result.sections if section.title.startswith(title))


def test_new_defects_on_training_backgrounds_are_no_copies(root: Path, tmp_path: Path) -> None:
    found = memory(root, synthetic(tmp_path / "out", root))
    assert (found["images"], found["copies"], found["unchanged"]) == (8, 0, 0)
    assert not found["defects"]["scratch"]["repeated"]
    assert {one["file"][-7:]: one["painted on"] for one in found["neighbours"]} == {
        f"{number:03d}.png": str(root / f"A/normal/{number:03d}.png") for number in range(8)
    }


def test_so_they_are_without_a_manifest(root: Path, tmp_path: Path) -> None:
    found = memory(root, synthetic(tmp_path / "out", root, listed=False))
    assert (found["copies"], found["unchanged"]) == (0, 0)
    assert {Path(one["painted on"]).parent.name for one in found["neighbours"]} == {"normal"}


@pytest.mark.parametrize("listed", [True, False])
def test_another_defect_on_a_background_that_a_real_defect_has_too(root: Path, tmp_path: Path, listed: bool) -> None:
    lines = []
    for number in range(3):
        source = root / f"A/normal/{number:03d}.png"
        ground = np.asarray(Image.open(source))
        for place, seed in ((root / "A/spot", 70), (tmp_path / "out/A/spot", 80)):  # faint: alike in all
            save(place / f"same_{number}.png", np.where(strokes(seed + number, "spot"), ground - 20, ground))
        lines.append(line(f"A/spot/same_{number}.png", source, number))
    if listed:
        write_manifest(tmp_path / "out", lines)
    found = memory(root, tmp_path / "out")
    assert (found["copies"], found["unchanged"]) == (0, 0)


@pytest.mark.parametrize("change", ["none", "jpeg", "brighter", "mirrored", "shifted"])
def test_copies_of_training_defects_are_memorised(root: Path, tmp_path: Path, change: str) -> None:
    for path in sorted((root / "A/scratch").glob("*.png")):
        pixels = np.asarray(Image.open(path))
        if change == "brighter":
            pixels = np.clip(1.1 * pixels + 5, 0, 255).astype(np.uint8)
        elif change == "mirrored":
            pixels = pixels[:, ::-1].copy()
        elif change == "shifted":
            pixels = np.pad(pixels, 4, mode="edge")[2:-6, 7:-1]
        suffix = "jpg" if change == "jpeg" else "png"
        save(tmp_path / f"out/A/scratch/{path.stem}_copy.{suffix}", pixels)
    result = evaluate(root, tmp_path / "out", only=["memorisation"])
    found = numbers(result, "Memorisation")
    assert (found["copies"], found["unchanged"]) == (12, 0)
    assert found["exact"] == (12 if change == "none" else 0)
    assert "MEMORISED: 12 of 12" in result.describe()


def test_a_copy_under_a_line_of_the_manifest_and_of_another_class_is_found(root: Path, tmp_path: Path) -> None:
    out = synthetic(tmp_path / "out", root)
    lines = []
    for index, path in enumerate(sorted((root / "A/scratch").glob("*.png"))[:3]):
        save(out / f"A/spot/{index}.png", np.asarray(Image.open(path)))
        lines.append(line(f"A/spot/{index}.png", root / "A/normal/000.png", 100 + index))
    write_manifest(out, lines)
    assert memory(root, out)["copies"] == 3


def test_normal_images_labelled_as_defects_are_the_wrong_defect(root: Path, tmp_path: Path) -> None:
    for path in sorted((root / "A/normal").glob("*.png"))[:6]:
        save(tmp_path / f"out/A/scratch/{path.stem}.jpg", np.asarray(Image.open(path)), quality=92)
    result = evaluate(root, tmp_path / "out", only=["memorisation"])
    found = numbers(result, "Memorisation")
    assert (found["copies"], found["unchanged"]) == (0, 6)
    assert "WRONG DEFECT: 6 of 6" in result.describe()


def test_a_training_defect_moved_to_another_background(root: Path, tmp_path: Path) -> None:
    out, lines = tmp_path / "out", []
    masks = root.with_name("data.masks")
    for index in range(4):
        source = root / f"A/normal/{index:03d}.png"
        known = np.asarray(Image.open(masks / f"A/spot/{index:03d}.png")) > 0
        pixels = np.asarray(Image.open(source)).copy()
        pixels[known] = np.asarray(Image.open(root / f"A/spot/{index:03d}.png"))[known]
        file = f"A/spot/{index}.png"
        save(out / file, pixels)
        save(out.with_name("out.masks") / file, known.astype(np.uint8) * 255)
        reference = str(root / f"A/spot/{index:03d}.png") if index == 0 else None
        lines.append(line(file, source, index, reference=reference))
    write_manifest(out, lines)
    found = memory(root, out)
    assert (found["copies"], found["by_reference"]) == (0, 1)
    assert min(found["defects"]["spot"]["similarities"].synthetic) > 0.9


def test_without_masks_that_is_not_known(tmp_path: Path) -> None:
    root = real(tmp_path / "data", masks=False)
    text = evaluate(root, synthetic(tmp_path / "out", root), only=["memorisation"]).describe()
    assert "Whether defects 'scratch' repeat real ones elsewhere is not known" in text


def test_near_duplicates_within_and_between_sets(root: Path, tmp_path: Path) -> None:
    out = synthetic(tmp_path / "out", root)
    again = np.asarray(Image.open(out / "A/scratch/new_003.png"))
    save(tmp_path / "other/A/scratch/again.jpg", again, quality=95)
    save(tmp_path / "other/A/scratch/new.png", painted(surface(999), 999, "scratch")[0])
    result = evaluate(root, [out, tmp_path / "other"], only=["memorisation"])
    (pair,) = numbers(result, "Near-duplicates")["pairs"]
    assert [Path(file).name for file in pair["files"]] == ["new_003.png", "again.jpg"]
    lines = next(section.lines for section in result.sections if section.title == "Near-duplicates")
    assert lines[0] == "No near-duplicates between synthetic and real images."
    assert lines[-1].startswith("1 pair of near-duplicates between the synthetic sets")
    save(tmp_path / "third/A/scratch/copy.jpg", np.asarray(Image.open(root / "A/scratch/000.png")), quality=95)
    copied = evaluate(root, tmp_path / "third", only=["memorisation"])
    assert "1 pair of near-duplicates between synthetic and real images." in copied.describe()


def test_comparing_all_pairs_shows_its_progress(root: Path, tmp_path: Path) -> None:
    out, shown = synthetic(tmp_path / "out", root), dict[str, list[tuple[int, int]]]()
    evaluate(
        root, out, only=["memorisation"],
        stages=lambda stage: lambda done, total: shown.setdefault(stage, []).append((done, total)),
    )  # fmt: skip
    total = 20 + 12 + 12 + 8
    assert shown["near-duplicates"] == [(done, total) for done in range(1, total + 1)]


def test_names_and_order_of_files_change_nothing(root: Path, tmp_path: Path) -> None:
    out = synthetic(tmp_path / "out", root, listed=False)
    before = memory(root, out)
    for folder in (root / "A/scratch", root / "A/normal", out / "A/scratch"):
        files = sorted(folder.glob("*.png"))
        for place, path in enumerate(reversed(files)):
            path.rename(folder / f"renamed_{place:03d}.png")
    after = memory(root, out)
    likeness = [sorted(one["likeness"] for one in found["neighbours"]) for found in (before, after)]
    assert likeness[0] == pytest.approx(likeness[1])


def test_likeness_takes_away_what_a_product_shares() -> None:
    rng = np.random.default_rng(0)
    shape = np.zeros((64, 64), np.float32)
    shape[20:44, 20:44] = 100
    parts = [(shape + rng.normal(0, 4, (64, 64))).astype(np.float32) for _ in range(20)]
    gallery = Gallery.of(parts[:10], mean_image(parts))
    alone = nearest(details(parts[10:]), gallery)
    assert max(match.similarity for match in alone) < 0.5
    copies = nearest(details([one[::-1] + 9 for one in parts[:10]]), gallery)
    assert [match.number for match in copies] == list(range(10))
    assert min(match.similarity for match in copies) > 0.99
    assert {match.flip for match in copies} == {(-1, 1)}


def test_widened_loses_no_pixel() -> None:
    mask = np.zeros((512, 512), bool)
    mask[300, 100] = True
    small = dilated(mask)
    assert small.shape == (64, 64)
    assert small[37, 12]
    assert not small[10, 10]


def test_a_change_of_brightness_is_not_visible() -> None:
    signed = np.full((20, 20), 9.0, np.float32)
    assert not visible_change(signed).any()
    signed[5:9, 5:9] += 10
    assert visible_change(signed).sum() >= 16
