"""The page to look synthetic images through, in a real browser where there is one."""

from __future__ import annotations

import html
import json
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import BROWSER, Browser
from fake_model import FakeModel, contents, lines
from PIL import Image

from defectaug.errors import OutputError
from defectaug.io import manifest
from defectaug.io.images import NativeImage, write_png
from defectaug.io.masks import write_mask
from defectaug.synthesis.api import refill, synthesize
from defectaug.synthesis.formats.export import Exports

needs_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")


def data_of(page: Path) -> dict[str, Any]:
    """What the page tells of the images."""
    found = re.search(r'id="data">(.*?)</script>', page.read_text(encoding="utf-8"), re.DOTALL)
    assert found
    return json.loads(html.unescape(found[1]))


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
    classes, titles = "className", "title"
    with Browser(tmp_path / "profile") as browser:

        def cards(what: str) -> list[str]:
            return browser.run(f"[...document.querySelectorAll('.card')].map(card => card.{what})")

        browser.open(order["report"].as_uri())
        browser.press("k", "j", "k", "u", "ArrowRight", "k", "o")
        assert browser.run("text()").split("\n") == [files[0], files[3], ""]
        assert browser.run("getComputedStyle(document.querySelector('.card svg')).display") == "block"
        assert browser.run("$('marked').textContent") == "1 kept, 2 rejected"
        assert cards(classes) == ["card rejected", "card kept", "card", "card rejected", "card here", "card"]
        browser.run("$('sort').value = 'down'; $('sort').dispatchEvent(new Event('change'))")
        assert cards(titles) == files[::-1]
        browser.press("Enter")
        assert files[-1] in browser.run("$('large').textContent")
        browser.press("k")
        marked = browser.run("text()")
        assert marked.split("\n") == [files[0], files[3], files[5], ""]
        browser.resize(390, 800, phone=True)
        browser.reload()
        assert browser.run("text()") == marked  # marks outlive the page
        assert browser.run("document.documentElement.scrollWidth") <= 390
        assert browser.errors == []


@needs_browser
def test_what_is_rejected_and_saved_is_dropped(order: dict[str, Any], tmp_path: Path) -> None:
    synthesize(**order)
    before = [line["file"] for line in lines(order["out"])]
    with Browser(tmp_path / "profile") as browser:
        browser("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
        browser.open(order["report"].as_uri())
        browser.press("j", "k", "k")
        browser.run("$('save').click()")
        end = time.monotonic() + 60
        while not (tmp_path / "rejected.txt").exists() and time.monotonic() < end:
            time.sleep(0.05)
        assert browser.run("$('command').textContent") == data_of(order["report"])["command"]
    refill(tmp_path / "rejected.txt", order["out"], model=order["model"])
    after = [line["file"] for line in lines(order["out"])]
    assert set(before) - set(after) == set(before[1:3])
    assert len(after) == len(before)
    assert [image["file"] for image in data_of(order["report"])["images"]] == after


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
    times = []
    with Browser(tmp_path / "profile") as browser:
        for _ in range(3):
            browser.open((tmp_path / "page.html").as_uri())
            times.append(browser.run("performance.now()"))
        browser.run("go(4999)")
        assert browser.run("document.querySelectorAll('.card').length") == 5000
        assert browser.run("document.querySelector('.here').title") == "P1/spot/04999.png"
    print("milliseconds until the page was there:", times)
    assert min(times) < 2000  # the least: what else the machine does is not the page's
