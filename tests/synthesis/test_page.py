"""The page to look synthetic images through, in a real browser where there is one."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_model import FakeModel, contents, lines
from PIL import Image

from defectaug.errors import OutputError
from defectaug.io import manifest
from defectaug.io.images import NativeImage, write_png
from defectaug.io.masks import write_mask
from defectaug.synthesis.api import synthesize
from defectaug.synthesis.formats.export import Exports

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")


def data_of(page: Path) -> dict[str, Any]:
    """What the page tells of the images."""
    found = re.search(r'id="data">(.*?)</script>', page.read_text(encoding="utf-8"), re.DOTALL)
    assert found
    return json.loads(html.unescape(found[1]))


def opened(page: Path, script: str, profile: Path, width: int = 1200) -> dict[str, Any]:
    """What `script` returns, run in the page once it is there; also how long that took and what went wrong."""
    drive = page.with_name("drive.html")
    asked = f"""<script>
      const errors = [];
      addEventListener("error", event => errors.push(event.message));
      const press = (...keys) => keys.forEach(key => document.body.dispatchEvent(
        new KeyboardEvent("keydown", {{ key, bubbles: true }})));
      const cards = () => [...document.querySelectorAll(".card")];
      addEventListener("load", () => setTimeout(() => {{
        const ready = performance.now();
        const found = (() => {{ {script} }})();
        const told = JSON.stringify({{ ready, errors, found }});
        document.body.innerHTML = '<pre id="told"></pre>';
        document.getElementById("told").textContent = told;
      }}));
    </script></body>"""
    drive.write_text(page.read_text(encoding="utf-8").replace("</body>", asked), encoding="utf-8")
    command = [str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}"]
    command += [f"--window-size={width},900", "--timeout=8000", "--dump-dom", drive.as_uri()]
    page_then = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    told = re.search(r'<pre id="told">(.*?)</pre>', page_then, re.DOTALL)
    assert told, page_then[-2000:]
    return json.loads(html.unescape(told[1]))


@pytest.fixture
def order(model: FakeModel, tmp_path: Path) -> dict[str, Any]:
    page = tmp_path / "page's <b>.html"
    return {"model": model, "product": "A", "n": 3, "out": tmp_path / "o's <i>", "report": page}


def test_the_page_tells_of_every_synthetic_image(order: dict[str, Any], tmp_path: Path) -> None:
    synthesize(**order)
    data = data_of(order["report"])
    made = lines(order["out"])
    assert [image["file"] for image in data["images"]] == [line["file"] for line in made]
    assert data["command"].startswith("defectaug synthesize --drop rejected.txt --out '")
    for image, line in zip(data["images"], made, strict=True):
        thumb = order["report"].parent / image["thumb"].replace("%27", "'").replace("%20", " ").replace("%3C", "<")
        assert Image.open(str(thumb).replace("%3E", ">")).size == (image["width"], image["height"])
        assert image["outline"].startswith("M")
        assert dict(image["facts"])["source"] == line["source"]
    assert order["report"].read_text().count("<b>") == 0  # names are text


def test_a_page_of_a_balanced_set_leaves_real_images_out(model: FakeModel, tmp_path: Path) -> None:
    synthesize(model=model, n=6, out=tmp_path / "out", report=tmp_path / "page.html")
    synthetic = [line["file"] for line in lines(tmp_path / "out") if line["synthetic"]]
    assert [image["file"] for image in data_of(tmp_path / "page.html")["images"]] == synthetic


def test_outlines_of_small_defects_on_large_deep_images_stay(tmp_path: Path) -> None:
    mask = np.zeros((400, 600), bool)
    mask[100, 50] = True
    write_png(tmp_path / "out/P/spot/a.png", NativeImage(np.full((400, 600), 2048, np.uint16)))
    write_mask(tmp_path / "out.masks/P/spot/a.png", mask)
    line = {"file": "P/spot/a.png", "product": "P", "defect": "spot", "synthetic": True, "index": 0}
    manifest.write_lines(tmp_path / "out" / manifest.NAME, [line])
    Exports((), tmp_path / "page.html", "normal", ("spot",), 4095, lambda line: None).write(tmp_path / "out")
    (image,) = data_of(tmp_path / "page.html")["images"]
    assert (image["width"], image["height"]) == (160, 107)
    assert re.fullmatch(r"M1[34] 2[67]([hv]-?\d){3}z", image["outline"])
    thumb = np.asarray(Image.open(tmp_path / image["thumb"]))
    assert abs(int(thumb.mean()) - 128) <= 1  # white is what the model was trained with


def test_files_of_others_are_spared(order: dict[str, Any], tmp_path: Path) -> None:
    order["report"].write_text("mine")
    with pytest.raises(OutputError, match="no synthesis has left it"):
        synthesize(**order)
    assert not order["out"].exists()
    order["report"].unlink()
    synthesize(**order)
    synthesize(**order, overwrite=True)
    thumbnails = order["report"].with_name("page's <b>.thumbnails")
    (thumbnails / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="not ours"):
        synthesize(**order, overwrite=True)
    assert contents(thumbnails)["mine.txt"] == b"mine"


def test_a_page_among_the_images_is_refused(model: FakeModel, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="lies in --out"):
        synthesize(model=model, product="A", n=1, out=tmp_path / "out", report=tmp_path / "out/page.html")


@needs_browser
def test_images_are_gone_through_by_keyboard(order: dict[str, Any], tmp_path: Path) -> None:
    synthesize(**order)
    files = [line["file"] for line in lines(order["out"])]
    for score, line in enumerate(made := lines(order["out"])):
        line["score"] = score / 10
    manifest.write_lines(order["out"] / manifest.NAME, made)
    Exports((), order["report"], "normal", ("scratch", "spot"), 255, lambda line: None).write(order["out"])
    script = """
      press("k", "j", "k", "u", "ArrowRight", "k", "o");
      const list = text(), outlines = getComputedStyle(document.querySelector(".card svg")).display;
      const classes = cards().map(card => card.className), count = document.getElementById("marked").textContent;
      $("sort").value = "down"; $("sort").dispatchEvent(new Event("change"));
      const sorted = cards().map(card => card.title);
      press("Enter");
      const large = $("large").textContent;
      press("k");
      return { list, outlines, classes, count, sorted, large, then: text() };
    """
    told = opened(order["report"], script, tmp_path / "profile")
    found = told["found"]
    assert told["errors"] == []
    assert found["list"].split("\n") == [files[0], files[3], ""]
    assert (found["outlines"], found["count"]) == ("block", "1 kept, 2 rejected")
    assert found["classes"] == [
        "card rejected", "card kept", "card", "card rejected", "card here", "card",
    ]  # fmt: skip
    assert found["sorted"] == files[::-1]
    assert files[-1] in found["large"]
    assert found["then"].split("\n") == [files[0], files[3], files[5], ""]
    again = opened(order["report"], "return text();", tmp_path / "profile", width=390)
    assert again["found"] == found["then"]  # marks outlive the page


@needs_browser
@pytest.mark.slow
def test_five_thousand_images_open_within_two_seconds(tmp_path: Path) -> None:
    out, entries = tmp_path / "out", []
    rng = np.random.default_rng(0)
    for index in range(5000):
        file = f"P{index % 3}/spot/{index:05d}.png"
        write_png(out / file, NativeImage(rng.integers(0, 255, (128, 128), np.uint8)))
        write_mask(tmp_path / "out.masks" / file, rng.random((128, 128)) > 0.999)
        line = {"file": file, "product": f"P{index % 3}", "defect": "spot", "synthetic": True, "index": index}
        entries.append({**line, "score": index % 100 / 100})
    manifest.write_lines(out / manifest.NAME, entries)
    Exports((), tmp_path / "page.html", "normal", ("spot",), 255, lambda line: None).write(out)
    script = "go(4999); return [cards().length, document.querySelector('.here').title];"
    told = opened(tmp_path / "page.html", script, tmp_path / "profile")
    assert told["found"] == [5000, "P1/spot/04999.png"]
    assert told["ready"] < 2000
