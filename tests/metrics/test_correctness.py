"""Wrong defects are named, masks and restoration scored, and one evaluation of everything fits together."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from evaluation_data import real, synthetic
from fake_model import FakeModel, data, info, save

from defectaug.benchmark.settings import StudySettings
from defectaug.data.index import index_folder
from defectaug.data.sample import Category
from defectaug.device import choose
from defectaug.io.images import read_image
from defectaug.io.masks import read_mask
from defectaug.metrics import naming
from defectaug.metrics.classifier import Labelled
from defectaug.metrics.context import EvaluationContext
from defectaug.metrics.folders import records_of
from defectaug.metrics.images import ImageStore, read_images
from defectaug.metrics.localisation import PixelCounts, blurred
from defectaug.metrics.naming import Hits, NamingSettings, Predictions, skill
from defectaug.reporting.api import evaluate
from defectaug.synthesis.api import synthesize

QUICK = NamingSettings(folds=2, steps=60, batch_size=24, image_size=64)


pytestmark = pytest.mark.usefixtures("no_network")


def test_the_wrong_defect_is_named_and_the_right_one_is_not(tmp_path: Path) -> None:
    root = real(tmp_path / "data", {"A/normal": 24, "A/scratch": 24, "A/spot": 24})
    good = synthetic(tmp_path / "good", root, "spot", 12)
    for path in sorted((root / "A/normal").glob("*.png"))[:12]:
        (tmp_path / "bad/A/spot").mkdir(parents=True, exist_ok=True)
        shutil.copy(path, tmp_path / "bad/A/spot" / path.name)
    result = evaluate(
        root, [good, tmp_path / "bad"], only=["memorisation", "correctness"], naming=QUICK, cache=tmp_path / "cache"
    )
    right, wrong = (dict(s.numbers)["cells"]["A/spot"] for s in result.sections if s.title.startswith("Right defect"))
    assert right["right defect"].value > 0.8
    assert wrong["right defect"].value < 0.2
    assert wrong["named normal"] >= 10
    assert right["real images"] == 24
    assert right["right product"].value == 1
    said = {s.title: " ".join(s.lines) for s in result.sections}
    assert "WRONG DEFECT" in said[f"Right defect, right product: {tmp_path / 'bad'}"]
    assert "WRONG DEFECT" not in said[f"Right defect, right product: {good}"]
    again = evaluate(root, [good, tmp_path / "bad"], only=["correctness"], naming=QUICK, cache=tmp_path / "cache")
    assert dict(again.sections[0].numbers)["cells"]["A/spot"] == right


def test_no_real_image_is_named_by_a_classifier_that_has_seen_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = real(tmp_path / "data", {"A/normal": 6, "A/scratch": 5, "B/normal": 4, "B/spot": 1}, masks=False)
    for cell in ("A/scratch", "B/spot"):  # the same part photographed twice; of the spots there is no other part
        shutil.copy(root / cell / "000.png", root / cell / "again.png")
    seen: set[bytes] = set()

    def learn(classifier: object, data: Labelled, *args: object, **options: object) -> None:
        seen.clear()
        seen.update(image.numpy().tobytes() for image in data.images)

    def tell(classifier: object, images: torch.Tensor, compute: object) -> torch.Tensor:
        return torch.tensor([[float(image.numpy().tobytes() in seen)] * 4 for image in images]).reshape(-1, 4)

    monkeypatch.setattr(naming, "fit", learn)
    monkeypatch.setattr(naming, "predict", tell)
    index = index_folder(root)
    images = read_images("data", records_of(index), ImageStore(), print)
    samples = {sample.path: sample for sample in index.samples}
    index = replace(index, samples=tuple(samples[picture.path] for picture in images.records))
    settings = NamingSettings(2, 1, 4, 32, classifier="resnet18", weights="none")
    found = naming.name_images(EvaluationContext(index, images, ()), settings, choose("cpu")).real
    spots = [picture.defect == "spot" for picture in images.records]
    assert found.known.tolist() == [not spot for spot in spots]
    assert not found.shares[found.known].any()


def test_named_defect_is_the_likeliest_over_all_products() -> None:
    categories = (Category("A", "normal"), Category("A", "scratch"), Category("B", "scratch"))
    shares = np.array([[0.4, 0.3, 0.3], [0.6, 0.2, 0.2], [np.nan] * 3], np.float32)
    named = Predictions(categories, shares)
    assert named.names(1)[:2] == ["scratch", "normal"]
    assert named.names(0)[:2] == ["A", "A"]
    assert named.known.tolist() == [True, True, False]


def test_a_classifier_that_fails_on_real_defects_calls_nothing_wrong(tmp_path: Path) -> None:
    normal, defects = Category("A", "normal"), (Category("A", "scratch"), Category("B", "scratch"))
    found = {normal: Hits(9, 9, 9), defects[0]: Hits(1, 4, 4), defects[1]: Hits(3, 4, 4)}
    assert skill(found, "normal") == 0.5
    assert skill({normal: Hits(9, 9, 9), defects[0]: Hits(0, 0, 0)}, "normal") is None
    root = real(tmp_path / "data")
    for path in sorted((root / "A/normal").glob("*.png")):
        (tmp_path / "bad/A/spot").mkdir(parents=True, exist_ok=True)
        shutil.copy(path, tmp_path / "bad/A/spot" / path.name)
    untrained = NamingSettings(folds=2, steps=1, batch_size=4, image_size=32, classifier="resnet18", weights="none")
    section = evaluate(root, tmp_path / "bad", only=["correctness"], naming=untrained).sections[0]
    assert section.numbers["skill"] < 0.75
    assert "WRONG DEFECT" not in " ".join(section.lines)
    assert any("unreliable" in line for line in section.warnings)


def test_the_classifier_that_names_is_chosen_by_name(tmp_path: Path) -> None:
    root = real(tmp_path / "data", {"A/normal": 4, "A/spot": 4})
    settings = NamingSettings(2, 1, 4, 32, classifier="resnet18", weights="none")
    out = synthetic(tmp_path / "out", root, "spot", 2)
    section = evaluate(root, out, only=["correctness"], naming=settings).sections[0]
    assert section.numbers["classifier"]["name"] == "resnet18"
    assert section.method[0][1].startswith("2 resnet18 ones")


def test_pixel_scores_against_the_definition() -> None:
    rng = np.random.default_rng(0)
    mask = rng.random((40, 40)) < 0.1
    scores = np.round(rng.normal(20 + 15 * mask, 10).clip(0, 255))  # ties, too
    counts = PixelCounts()
    counts.add(scores[:20], mask[:20])
    counts.add(scores[20:], mask[20:])
    found = counts.score()
    assert found is not None
    sound, defective = scores[~mask], scores[mask]
    wins = (defective[:, None] > sound[None]).mean() + (defective[:, None] == sound[None]).mean() / 2
    assert found.auroc == pytest.approx(wins, rel=1e-9)
    levels = np.unique(scores)[::-1]
    hits = np.array([(defective >= level).sum() for level in levels])
    above = np.array([(scores >= level).sum() for level in levels])
    precision = np.diff(hits / len(defective), prepend=0) @ (hits / above)
    assert found.precision == pytest.approx(precision, rel=1e-9)
    assert found.iou == pytest.approx((hits / (above + len(defective) - hits)).max(), rel=1e-9)
    assert found.images == 2
    assert PixelCounts().score() is None


def test_blur_keeps_the_sum_and_spreads() -> None:
    point = np.zeros((21, 21), np.float32)
    point[10, 10] = 1
    soft = blurred(point, 1.5)
    assert soft.sum() == pytest.approx(1, rel=1e-5)
    assert soft[10, 10] == soft.max() < 0.1


def test_background_and_masks_against_what_changed(tmp_path: Path) -> None:
    root = data(tmp_path / "data")
    out = tmp_path / "out"
    synthesize(model=FakeModel(info(root)), n=6, masks=True, out=out)
    quick = NamingSettings(2, 4, 4, 32)
    result = evaluate(root, out, only=["correctness"], naming=quick, model=FakeModel(info(root)))
    kept = next(s for s in result.sections if s.title.startswith("Background kept"))
    masks = dict(kept.numbers)["masks"]["all"]
    assert masks.auroc > 0.9  # masks are of the smoothed change: those of sharp blocks lack the corners
    lines = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
    one = next(line for line in lines if line["synthetic"])
    before, after = read_image(Path(one["source"])).pixels.astype(float), read_image(out / one["file"]).pixels
    outside = np.abs(after - before)[~read_mask(out.with_name("out.masks") / one["file"])].mean()
    assert dict(kept.numbers)["cells"]["A/scratch"].outside == pytest.approx(outside, abs=0.1)


def test_restoring_finds_real_defects_by_given_masks(tmp_path: Path) -> None:
    root = data(tmp_path / "data")
    for path in root.glob("*/s*/*.png"):
        bright = (read_image(path).pixels > 200).astype(np.uint8) * 255
        save(tmp_path / "truth" / path.relative_to(root), bright)
    result = evaluate(root, only=["correctness"], model=FakeModel(info(root)), masks=tmp_path / "truth")
    (section,) = result.sections
    assert dict(section.numbers)["cells"]["all"].images == 6
    assert dict(section.numbers)["cells"]["all"].auroc > 0.95


def test_everything_at_once(tmp_path: Path) -> None:
    root = real(tmp_path / "data", {"A/normal": 12, "A/scratch": 9, "A/spot": 9})
    quick = StudySettings(image_size=32, steps=4, batch_size=8, checks=1)
    places = {"json": tmp_path / "r.json", "report": tmp_path / "r.html"}
    options = {"seeds": 2, "naming": NamingSettings(2, 4, 8, 32), "study": quick, **places}
    result = evaluate(root, synthetic(tmp_path / "out", root), **options)  # type: ignore[arg-type]
    titles = [section.title for section in result.sections]
    assert [title.split(":")[0].split(" /")[0] for title in titles] == [
        "Images",
        "Fidelity and diversity",
        "Near-duplicates",
        "Memorisation",
        "Right defect, right product",
        "Background kept",
        "Does it help a classifier?",
        "Verdict on",
    ]
    assert len(json.loads(places["json"].read_text())["sections"]) == len(titles)
    page = places["report"].read_text()
    assert page.count("<svg") >= 4
    assert page.count("data:image/") > 20
    assert (tmp_path / "r.json.cache").is_dir()
