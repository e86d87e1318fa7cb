"""Annotations beside an output folder give back its masks, read as the formats' own tools read them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from data_helpers import save
from fake_model import FakeModel, contents, info, lines, surface
from PIL import Image, ImageDraw
from pycocotools.coco import COCO

from defectaug.data.index import index_folder
from defectaug.errors import ConfigError, OutputError
from defectaug.io import manifest
from defectaug.io.images import NativeImage, read_image, write_png
from defectaug.io.masks import read_mask, write_mask
from defectaug.io.regions import one_ring, regions
from defectaug.synthesis.api import synthesize
from defectaug.synthesis.formats.export import Exports, export_folder

Masks = dict[str, np.ndarray]
FORMATS = ("coco", "yolo", "mvtec")


def iou(one: np.ndarray, other: np.ndarray) -> float:
    union = (one | other).sum()
    return 1.0 if union == 0 else float((one & other).sum() / union)


def shapes(size: tuple[int, int] = (37, 53)) -> Masks:
    """What goes wrong elsewhere: holes, a hole in a part within a hole, parts that touch at corners, single pixels."""
    rings, parts, dots, corner = (np.zeros(size, bool) for _ in range(4))
    rings[2:30, 3:40] = True
    rings[5:27, 6:30] = False
    rings[9:20, 10:24] = True
    rings[12:14, 12:15] = rings[16, 20] = rings[15, 19] = False
    parts[0:5, 0:7] = parts[20:37, 30:53] = parts[10, 3:40] = True
    parts[np.arange(12, 30), np.arange(2, 20)] = True  # a line of pixels that touch at their corners alone
    dots[0, 0] = dots[36, 52] = dots[17, 20] = True
    corner[0:1, 0:53] = corner[0:37, 52:53] = True
    return {"rings": rings, "parts": parts, "dots": dots, "corner": corner, "all": np.ones(size, bool)}


def grown(seed: int, count: int = 40) -> Iterator[np.ndarray]:
    """Random masks, from dust to clouds."""
    from scipy import ndimage

    rng = np.random.default_rng(seed)
    for _ in range(count):
        noise = ndimage.gaussian_filter(rng.standard_normal(rng.integers(1, 40, 2)), rng.choice([0, 0.7, 2]))
        yield noise > np.quantile(noise, rng.uniform(0.2, 0.95))


@pytest.fixture
def finished(tmp_path: Path) -> tuple[Path, Masks]:
    """An output folder with masks that no model would paint, a 16-bit image, and names with spaces and accents."""
    out, masks, entries = tmp_path / "my out", {}, []
    products, defects = ("Tür 1", "B"), ("kratzer fein", "spot")
    for index, (name, mask) in enumerate(shapes().items()):
        product, defect = products[index % 2], defects[index // 2 % 2]
        file = f"{product}/{defect}/{name} é.png"
        depth = np.uint16 if index == 1 else np.uint8
        write_png(out / file, NativeImage(np.full(mask.shape, 7 * index, depth)))
        write_mask(tmp_path / "my out.masks" / file, mask)
        masks[file] = mask
        source = str(save(tmp_path / "sources" / f"{name}.jpg"))
        line = {"file": file, "product": product, "defect": defect, "synthetic": True, "source": source, "index": index}
        entries.append(line)
    save(out / "B/good/real.jpg", surface(1, (37, 53)))
    write_mask(tmp_path / "my out.masks/B/good/real.png", np.zeros((37, 53), bool))
    save(out / "B/spot/without.jpg", surface(2, (37, 53)))  # a real defect whose mask nobody knows
    entries += [
        {"file": "B/good/real.jpg", "product": "B", "defect": "good", "synthetic": False, "index": 5},
        {"file": "B/spot/without.jpg", "product": "B", "defect": "spot", "synthetic": False, "index": 6},
    ]
    manifest.write_lines(out / manifest.NAME, entries)
    return out, masks


def export(out: Path, *formats: str) -> list[str]:
    said: list[str] = []
    Exports(formats, None, "good", ("kratzer fein", "spot"), 255, said.append).write(out)
    return said


def test_coco_gives_back_every_mask_exactly(finished: tuple[Path, Masks], tmp_path: Path) -> None:
    out, masks = finished
    said = export(out, "coco")
    assert "1 real image has no mask" in said[0]
    coco = COCO(str(tmp_path / "my out.coco/annotations.json"))
    assert [kind["name"] for kind in coco.loadCats(coco.getCatIds())] == ["kratzer fein", "spot"]
    images = {image["file_name"]: image for image in coco.loadImgs(coco.getImgIds())}
    assert images.keys() == masks.keys() | {"B/good/real.jpg"}
    kinds = set()
    for file, image in images.items():
        assert (tmp_path / "my out.coco" / file).samefile(out / file)  # linked, not copied
        found = coco.loadAnns(coco.getAnnIds(image["id"]))
        decoded = [coco.annToMask(annotation).astype(bool) for annotation in found]
        assert iou(np.any([np.zeros((37, 53), bool), *decoded], axis=0), masks.get(file, np.zeros((37, 53), bool))) == 1
        for annotation, mask in zip(found, decoded, strict=True):
            kinds.add(type(annotation["segmentation"]))
            rows, columns = np.nonzero(mask)
            left, top, width, height = annotation["bbox"]
            assert (left, top, left + width, top + height) == (
                columns.min(), rows.min(), columns.max() + 1, rows.max() + 1,
            )  # fmt: skip
            assert annotation["area"] == mask.sum()
            assert annotation["iscrowd"] == 0
    assert kinds == {list, dict}  # polygons, and run lengths where there are holes


def filled(corners: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """As cv2.fillPoly fills: corners rounded down to pixels, the area and the pixels on the line."""
    whole = corners.astype(int)
    canvas = Image.new("1", size[::-1])
    ImageDraw.Draw(canvas).line([*map(tuple, whole.tolist()), tuple(whole[0].tolist())], fill=1)
    return np.asarray(canvas) | inside(whole + 1e-4, size, 0)


def inside(corners: np.ndarray, size: tuple[int, int], centre: float) -> np.ndarray:
    """The pixels whose centres lie within a polygon, by the even-odd rule."""
    rows, columns = np.mgrid[: size[0], : size[1]] + centre
    odd = np.zeros(size, bool)
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, 1, axis=0), strict=True):
        if y0 != y1:
            odd ^= ((y0 > rows) != (y1 > rows)) & (columns < (x1 - x0) * (rows - y0) / (y1 - y0) + x0)
    return odd


def read_yolo(labels: Path, size: tuple[int, int]) -> Iterator[tuple[int, np.ndarray]]:
    for line in labels.read_text(encoding="utf-8").splitlines():
        number, *values = line.split()
        yield int(number), np.array(values, float).reshape(-1, 2) * size[::-1]


def test_yolo_gives_back_every_mask_whichever_way_polygons_are_filled(finished: tuple[Path, Masks]) -> None:
    out, masks = finished
    export(out, "yolo")
    folder = export_folder(out, "yolo")
    content = yaml.safe_load((folder / "data.yaml").read_text(encoding="utf-8"))
    assert content["names"] == {0: "kratzer fein", 1: "spot"}
    images = sorted((folder / content["train"]).iterdir())
    assert len(images) == len(masks) + 1
    for file, mask in masks.items():
        image = next(path for path in images if path.samefile(out / file))
        labels = Path(str(image.with_suffix(".txt")).replace("/images/", "/labels/"))  # as Ultralytics does
        found = list(read_yolo(labels, mask.shape))
        assert {number for number, _ in found} == {0 if "kratzer" in file else 1}
        for fill in (filled, lambda corners, size: inside(corners, size, 0.5)):
            assert iou(np.any([fill(corners, mask.shape) for _, corners in found], axis=0), mask) >= 0.98
    assert (folder / "labels/train/B_good_real.txt").read_text() == ""


def test_outlines_of_any_mask_are_exact() -> None:
    for mask in grown(0):
        parts = regions(mask)
        assert sum(part.area for part in parts) == mask.sum()
        rings = [np.array(one_ring(part.outline(0.1))) for part in parts]
        assert (np.any([filled(ring, mask.shape) for ring in rings], axis=0) == mask).all()
        assert (np.any([inside(ring, mask.shape, 0.5) for ring in rings], axis=0) == mask).all()


def scratch(size: tuple[int, int], width: int, seed: int) -> np.ndarray:
    """A thin straight line, as an image's height and width allow."""
    ends = (np.random.default_rng(seed).random((2, 2)) * np.array(size[::-1])).astype(int)
    canvas = Image.new("1", size[::-1])
    ImageDraw.Draw(canvas).line([*map(tuple, ends.tolist())], fill=1, width=width)
    return np.asarray(canvas)


def test_coco_polygons_of_thin_scratches_are_exact_where_corners_are_cut_down(tmp_path: Path) -> None:
    """As many readers do, straight from the file, or from a YOLO label that Ultralytics' converter made of it."""
    masks = {f"A/scratch/{k}.png": scratch((96, 128), 1 + k % 3, k) for k in range(9)}
    masks["A/scratch/large.png"] = scratch((2048, 2448), 2, 9)
    entries = []
    for index, (file, mask) in enumerate(masks.items()):
        write_png(tmp_path / "out" / file, NativeImage(np.full(mask.shape, 7, np.uint8)))
        write_mask(tmp_path / "out.masks" / file, mask)
        entries.append({"file": file, "product": "A", "defect": "scratch", "synthetic": True, "index": index})
    manifest.write_lines(tmp_path / "out" / manifest.NAME, entries)
    Exports(("coco",), None, "normal", ("scratch",), 255, lambda line: None).write(tmp_path / "out")
    content = json.loads((tmp_path / "out.coco/annotations.json").read_text())
    for image in content["images"]:
        mask = masks[image["file_name"]]
        (found,) = (note["segmentation"] for note in content["annotations"] if note["image_id"] == image["id"])
        corners = np.array(found[0]).reshape(-1, 2)
        shares = np.array([float(f"{share:g}") for share in (corners / mask.shape[::-1]).ravel()]).reshape(-1, 2)
        read = (shares * mask.shape[::-1]).astype(np.float32)
        assert (read.astype(int) == corners.astype(int)).all()
        if mask.size < 1e5:  # a large one takes minutes
            assert iou(filled(read, mask.shape), mask) == iou(inside(corners, mask.shape, 0.5), mask) == 1


def test_the_layout_of_mvtec_is_read_as_such(finished: tuple[Path, Masks], tmp_path: Path) -> None:
    out, masks = finished
    export(out, "mvtec")
    folder = export_folder(out, "mvtec")
    index = index_folder(folder)
    assert (index.layout, index.products, index.normal) == ("MVTec AD", ("B", "Tür 1"), "good")
    assert {str(path.relative_to(folder)) for path in (folder / "B").glob("train/*/*")} == {"B/train/good/real.png"}
    assert len(index.category("Tür 1", "good")) == 3  # without normal images of its own: those that were painted on
    for file, mask in masks.items():
        product, defect, name = file.split("/")
        assert (folder / product / "test" / defect / name).samefile(out / file)
        truth = folder / product / "ground_truth" / defect / name.replace(".png", "_mask.png")
        assert (read_mask(truth) == mask).all()
    sample = next(sample for sample in index.samples if sample.defect == "spot")
    assert sample.mask is not None
    assert all(path.suffix == ".png" for path in folder.rglob("*") if path.is_file() and path.name[0] != ".")
    assert read_image(tmp_path / "my out.mvtec/B/test/kratzer fein/parts é.png").white == 65535


def test_synthesis_writes_all_formats_and_boxes(model: FakeModel, tmp_path: Path) -> None:
    out = tmp_path / "out"
    synthesize(model=model, n=6, out=out, export="coco,YOLO,mvtec")
    synthetic = [line for line in lines(out) if line["synthetic"]]
    for line in synthetic:
        mask = read_mask((tmp_path / "out.masks" / line["file"]).with_suffix(".png"))
        ((left, top, width, height),) = line["boxes"]
        assert mask[top : top + height, left : left + width].sum() == mask.sum()
        assert line["area"] == pytest.approx(mask.mean(), abs=1e-6)
    assert [line["area"] for line in lines(out) if line["defect"] == "normal"] == [0.0] * 9
    annotated = json.loads((tmp_path / "out.coco/annotations.json").read_text())
    assert [a["bbox"] for a in annotated["annotations"]] == [box for line in synthetic for box in line["boxes"]]
    assert len(list((tmp_path / "out.yolo/labels/train").iterdir())) == len(annotated["images"])
    assert index_folder(tmp_path / "out.mvtec").products == ("A", "B")


def test_an_export_folder_that_exists_is_refused_before_anything_is_made(model: FakeModel, tmp_path: Path) -> None:
    (tmp_path / "out.yolo").mkdir()
    with pytest.raises(OutputError, match=r"out\.yolo is there already"):
        synthesize(model=model, product="A", n=1, out=tmp_path / "out", export="yolo")
    assert not (tmp_path / "out").exists()


def test_overwriting_spares_an_export_folder_with_files_of_others(model: FakeModel, tmp_path: Path) -> None:
    order = {"model": model, "product": "A", "n": 1, "out": tmp_path / "out", "export": "yolo"}
    synthesize(**order)
    synthesize(**order, overwrite=True)
    (tmp_path / "out.yolo/labels/train.cache").write_bytes(b"made anew by whoever made it")
    synthesize(**order, overwrite=True)
    before = contents(tmp_path / "out.yolo")
    (tmp_path / "out.yolo/weights.pt").write_bytes(b"mine")
    with pytest.raises(OutputError, match="not ours"):
        synthesize(**order, overwrite=True)
    assert contents(tmp_path / "out.yolo") == {**before, "weights.pt": b"mine"}


def test_a_run_that_was_stopped_while_it_exported_is_finished(
    model: FakeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = {"model": model, "product": "A", "n": 2, "out": tmp_path / "out", "export": "coco"}

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("defectaug.synthesis.formats.coco.link", stop)
        with pytest.raises(KeyboardInterrupt):
            synthesize(**order)
    assert not (tmp_path / "out.coco").exists()
    assert synthesize(**order).kept == 4
    assert len(json.loads((tmp_path / "out.coco/annotations.json").read_text())["images"]) == 4


def test_shards_export_once_all_are_there(root: Path, tmp_path: Path) -> None:
    for shard in ("1/2", "2/2"):
        assert not (tmp_path / "out.coco").exists()
        synthesize(model=FakeModel(info(root)), product="A", n=2, out=tmp_path / "out", export="coco", shard=shard)
    assert len(json.loads((tmp_path / "out.coco/annotations.json").read_text())["images"]) == 4


def test_unknown_formats_are_refused(model: FakeModel, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--export koco: no such format; did you mean 'coco'\?"):
        synthesize(model=model, product="A", n=1, out=tmp_path / "out", export="yolo,koco")
