"""Sections as text, JSON and HTML."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from defectaug.data.sample import Category
from defectaug.metrics.images import ImageSet
from defectaug.metrics.naming import CategoryNaming, Hits
from defectaug.reporting import plots
from defectaug.reporting.correctness import _shares
from defectaug.reporting.page import as_html
from defectaug.reporting.sections import (
    Figure,
    Finding,
    Interval,
    PictureRow,
    Pictures,
    Section,
    Spread,
    Table,
    as_json,
    plain,
    show,
)
from defectaug.reporting.terminal import as_text
from defectaug.reporting.verdict import verdicts

NASTY = '<b>&"[red]'


def section(tmp_path: Path) -> Section:
    series = {"one": [1.0, None], NASTY: [2.0, 3.0]}
    svg = partial(plots.bars, ["A", NASTY], series, errors={"one": [0.5, None]}, y_label=NASTY)
    return Section(
        title=NASTY,
        lines=[NASTY],
        warnings=["beware"],
        tables=[Table(NASTY, ["cell", "value"], [[NASTY, 1.5], ["x", Interval(1, 0.5, 2)], ["y", None]], NASTY)],
        figures=[Figure(NASTY, svg)],
        pictures=[
            Pictures(NASTY, [PictureRow(NASTY, [np.zeros((9, 400), np.uint8), tmp_path / "gone.png"], [NASTY])])
        ],
        numbers={"nan": float("nan"), "path": tmp_path, "array": np.arange(3), "spread": Spread(1, 2)},
    )


def test_values() -> None:
    shown = [show(value) for value in (None, 3, 1234567, 0.12345, 12.345, 123.45, 2e-5, 0.0, True, "a", float("nan"))]
    assert shown == ["-", "3", "1,234,567", "0.123", "12.35", "123.5", "2.0e-05", "0", "yes", "a", "-"]
    assert show(np.float32(0.5)) == "0.500"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (Spread(1.924, 0.11), "1.92 ± 0.11"),
        (Spread(5.913, 0.94), "5.9 ± 0.9"),
        (Spread(5.913, 0.0), "5.91 ± 0"),
        (Spread(12345.6, 1200.0), "12,346 ± 1,200"),
        (Interval(1.0, 0.676, 1.0), "1.00 [0.68, 1.00]"),
        (Interval(-3.8e-5, -0.0047, 0.0062), "0.000 [-0.005, 0.006]"),
        (Interval(-2.4, -3.52, -1.31), "-2.4 [-3.5, -1.3]"),
        (Interval(-0.794, -1.553, -0.0354), "-0.79 [-1.55, -0.04]"),  # wholly below 0, and seen to be
        (Interval(0.8, 1e-5, 1.6), "0.8 [0.0, 1.6]"),
        (Interval(1.0, 1.0, 1.0), "1 [1, 1]"),
        (Interval(float("nan"), 0.0, 1.0), "- [0, 1]"),
    ],
)
def test_what_is_not_sure_gets_no_digits(value: Spread | Interval, shown: str) -> None:
    assert show(value) == shown


def test_text_is_not_taken_for_markup(tmp_path: Path) -> None:
    text = as_text([section(tmp_path)])
    assert text.count(NASTY) >= 5
    assert "! beware" in text


def test_a_narrow_terminal_cuts_nothing_off() -> None:
    name = "traditional + " + "x" * 60
    columns = ["training", *(f"kernel distance of column {number}" for number in range(5))]
    table = Table("t", columns, [[name, *[Interval(1.23, 1.1, 1.4)] * 5]])
    text = as_text([Section("s", tables=[table])], width=100)
    assert "…" not in text
    assert (text.count("1.23"), text.count("[1.10,"), text.count("1.40]")) == (5, 5, 5)
    assert text.count("x") == 60
    assert max(map(len, text.splitlines())) <= 100


def test_html_is_one_escaped_file(tmp_path: Path) -> None:
    page = as_html(NASTY, [section(tmp_path)], [(NASTY, NASTY)])
    assert "<b>" not in page
    assert "&lt;b&gt;&amp;" in page
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    assert "&lt;b&gt;&amp;\"[red]</text>" in page
    assert page.count("data:image/") == 1  # the file that is gone is named instead
    assert "gone.png" in page


def test_json_holds_what_json_can(tmp_path: Path) -> None:
    written = json.loads(json.dumps(as_json(section(tmp_path)), allow_nan=False))
    assert written["numbers"]["nan"] is None
    assert written["numbers"]["array"] == [0, 1, 2]
    assert written["tables"][0]["rows"][1][1] == {"value": 1, "low": 0.5, "high": 2}
    assert plain({1: {Path("a")}}) == {"1": ["a"]}


def test_rows_must_fit_their_headings() -> None:
    with pytest.raises(ValueError, match="1 values under 2"):
        Table("t", ["a", "b"], [["x"]])


@pytest.mark.parametrize(
    "drawn",
    [
        partial(plots.bars, [], {}),
        partial(plots.bars, ["a"], {"s": [0.0]}),
        partial(plots.bars, ["a", "b"], {"s": [-1.0, 2.0]}, errors={"s": [0.5, 0.5]}),
        partial(
            plots.line, [0.5, 1, 2], {"s": [3.0, 2.0, 4.0], "t": [1.0] * 3}, bands={"s": [(2, 4), (1, 3), (3, 5)]}
        ),
        partial(plots.line, [1], {"s": [0.0]}),
        partial(plots.histogram, {"a": [0.1, 0.2, float("inf")], "b": []}, x_label="<x>"),
        partial(plots.histogram, {"a": [1.0, 1.0]}),
        partial(plots.histogram, {}),
    ],
)
def test_plots_are_well_formed_and_finite(drawn: Callable[[], str]) -> None:
    svg = drawn()
    ElementTree.fromstring(svg)
    assert "nan" not in svg
    assert "inf" not in svg


SVG = "{http://www.w3.org/2000/svg}"


def texts(svg: str) -> dict[str, tuple[float, float, str]]:
    """Texts of a plot: x, y and how they are set."""
    found = ElementTree.fromstring(svg).iter(f"{SVG}text")
    return {str(one.text): (float(one.attrib["x"]), float(one.attrib["y"]), one.attrib["style"]) for one in found}


def filled(svg: str) -> list[tuple[str, float]]:
    """Style and height of the filled shapes of a plot: its bars, then those of the legend."""
    shapes = [one for one in ElementTree.fromstring(svg).iter(f"{SVG}path") if "clip-path" in one.attrib]
    ends = [[float(y) for y in re.findall(r"[ML] \S+ (\S+)", one.attrib["d"])] for one in shapes]
    styles = [one.attrib["style"] for one in shapes]
    return [(style, max(y) - min(y)) for style, y in zip(styles, ends, strict=True) if "fill: #" in style]


def test_long_labels_are_turned_and_the_legend_is_below_them() -> None:
    names = [f"defect scratch {number}" for number in range(12)]
    svg = plots.bars(names, {"s": [1.0] * 12, "t": [2.0] * 12}, y_label="y")
    assert svg.count("rotate(-35") == 12
    height = float(ElementTree.fromstring(svg).attrib["viewBox"].split()[3])
    found = texts(svg)
    assert found[names[0]][1] < found["s"][1] < height
    assert "rotate(-35" not in plots.bars(["A", "B"], {"s": [1.0, 2.0]}, y_label="y")


def test_a_long_name_of_an_axis_is_not_cut_off() -> None:
    """It stands level above the axis: beside it there is room for half of it."""
    label = "Fréchet distance of EfficientNet-Lite1 features"
    svg = plots.bars(["A"], {"s": [1.0]}, y_label=label)
    (text,) = (one for one in ElementTree.fromstring(svg).iter(f"{SVG}text") if one.text == label)
    assert "rotate(-90" not in text.attrib.get("transform", "") + text.attrib.get("style", "")
    left, top, _ = texts(svg)[label]
    assert 0 <= left < 50 and top > 0


def test_the_legend_names_every_series() -> None:
    series = {f"traditional + synthetic images {number}": [1.0] for number in range(5)}
    svg = plots.bars(["a"], series)
    height = float(ElementTree.fromstring(svg).attrib["viewBox"].split()[3])
    assert all(texts(svg)[name][1] <= height for name in series)
    assert len({texts(svg)[name][:2] for name in series}) == 5


def test_a_legend_shows_every_name_in_full() -> None:
    """Long ones below one another, and those that begin with an underscore, too."""
    names = [f"traditional + {'a long name of ' * 3}set {number}" for number in range(2)]
    found = texts(plots.bars(["a"], {name: [1.0] for name in (*names, "_hidden", "<$x$>")}))
    assert {*names, "\u200b_hidden", "<$x$>"} <= set(found)
    assert {found[name][0] for name in names} == {found[names[0]][0]}
    assert "\u200b_hidden (1)" in texts(plots.histogram({"_hidden": [1.0], "seen": [2.0]}))


def test_histograms_have_round_ticks_and_counts() -> None:
    svg = plots.histogram({"a": [0.1234, 0.3], "b": [0.6789]}, x_label="x")
    found = texts(svg)
    assert {"0.2", "0.4", "0.6", "a (2)", "b (1)"} <= set(found)


def test_no_two_series_look_alike() -> None:
    svg = plots.bars(["a"], {str(number): [1.0] for number in range(12)})
    assert len({style for style, _ in filled(svg)}) == 12


def test_an_error_bar_does_not_reach_below_zero() -> None:
    ticks = texts(plots.bars(["a"], {"s": [1.0]}, errors={"s": [3.0]}))
    assert not any(tick.startswith("\N{MINUS SIGN}") for tick in ticks)


def test_plots_take_the_colour_of_the_page() -> None:
    svg = plots.line([0, 1], {"a": [1.0, 2.0]}, x_label="$x$")
    assert "currentColor" in svg
    assert not re.search("#000|black|white|#fff", svg)
    assert "$x$" in texts(svg)  # no mathematics


def test_verdicts_come_first_on_a_page_and_last_on_a_terminal() -> None:
    found = [
        Section("Copies", findings=[Finding("set", "None is a copy.", "for")], method=[("threshold", "0.9")]),
        Section("Classifier", findings=[Finding("set", "It helps.", "for", True)], method=[("threshold", "0.9")]),
    ]
    sections = [*found, *verdicts(["set", "other"], found)]
    assert [section.title for section in sections if section.is_verdict] == ["Verdict on set"]
    page = as_html("page", sections, [("command", "x"), ("note", "1"), ("note", "2")])
    assert page.index("USE: ") < page.index("<nav>") < page.index("Copies")
    assert page.count("<td>threshold</td><td>0.9</td>") == page.count("<td>note</td>") == 1
    assert page.index("It helps.") < page.index("None is a copy.")
    text = as_text(sections)
    assert text.index("Classifier") < text.index("Verdict on set")
    assert "\n- It helps." in text


def test_a_strip_of_images_stands_before_what_a_verdict_rests_on(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "a.png")
    found = Section("Copies", lines=["None at all."], findings=[Finding("set", "None is a copy.", "for")])
    strip = Pictures("", [PictureRow("synthetic", [tmp_path / "a.png"], ["A/spot"])])
    page = as_html("page", [found, *verdicts(["set"], [found], {"set": strip})], [])
    texts = ("NOT DECIDED: ", "A/spot", "None is a copy.", "What it rests on", "None at all.")
    order = [page.index(text) for text in texts]
    assert order == sorted(order)


@pytest.mark.parametrize(
    ("findings", "word"),
    [
        ([Finding("s", "helps", "for", decides=True), Finding("s", "no copy", "for")], "USE"),
        ([Finding("s", "helps", "for", decides=True), Finding("s", "copies", "against")], "USE WITH CARE"),
        ([Finding("s", "helps not", "neither", decides=True)], "NO GAIN SHOWN"),
        ([Finding("s", "helps not", "neither", decides=True), Finding("s", "copies", "against")], "LOOK BEFORE USE"),
        ([Finding("s", "none to gain", "needless", decides=True)], "NO GAIN SHOWN"),
        ([Finding("s", "hurts", "against", decides=True), Finding("s", "no copy", "for")], "DO NOT USE"),
        ([Finding("s", "few", "unknown", decides=True)], "CANNOT KNOW"),
        ([Finding("s", "no copy", "for")], "NOT DECIDED"),
        ([Finding("s", "copies", "against"), Finding("s", "near", "neither")], "LOOK BEFORE USE"),
    ],
)
def test_what_speaks_for_and_against_makes_the_verdict(findings: list[Finding], word: str) -> None:
    (section,) = verdicts(["s"], [Section("all", findings=findings)])
    assert section.lines[0].startswith(f"{word}: ")
    assert section.numbers["verdict"] == word.lower()
    against = [one.text for one in findings if one.speaks == "against" and not one.decides]
    assert all(text in section.lines[1:3] for text in against)


@pytest.mark.parametrize(
    ("own", "best", "word", "said"),
    [
        ("for", "for", "USE", "wherever its line"),
        ("for", "neither", "USE WITH CARE", "another threshold may do as much"),
        ("for", "against", "USE WITH CARE", "raise it at the best line"),
        ("neither", "for", "USE WITH CARE", "choose its threshold"),
        ("neither", "against", "NO GAIN SHOWN", "no effect"),
        ("against", "for", "DO NOT USE", "though fewer once its line"),
    ],
)
def test_the_verdict_tells_what_another_threshold_may_do(own: str, best: str, word: str, said: str) -> None:
    found = [Finding("s", "own", own, decides=True), Finding("s", "best", best, any_line=True)]  # type: ignore[arg-type]
    (section,) = verdicts(["s"], [Section("study", findings=found)])
    assert section.lines[0].startswith(f"{word}: ") and said in section.lines[0]


@pytest.mark.parametrize(
    ("right", "said"), [(30, ", fewest of pill/chip (30 of 64 right, 32 named normal)."), (60, ".")]
)
def test_a_category_that_is_seldom_named_right_is_not_lost_in_a_mean(right: int, said: str) -> None:
    """Of four real images only, none of which is named wrong, it is not shown to be wrong."""
    images = ImageSet("made", (), ())
    found = {
        Category("pill", "chip"): CategoryNaming(Hits(right, 64, 64), 32, Hits(4, 4, 4)),
        Category("pill", "dirt"): CategoryNaming(Hits(45, 48, 48), 1, Hits(8, 8, 8)),
    }
    (line,) = _shares(images, found, "normal")
    assert line.endswith(f"of real images that it has not seen 100 %{said}")


def test_a_photograph_is_a_third_as_large_and_looks_the_same(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rough = np.clip(rng.normal(120, 12, (128, 128)), 0, 255).astype(np.uint8)
    rough[60:64, 20:100] = 230
    Image.fromarray(rough).save(tmp_path / "a.png")
    page = as_html("t", [Section("s", pictures=[Pictures("p", [PictureRow("c", [tmp_path / "a.png"])])])], [])
    kind, content = re.findall(r"data:image/(\w+);base64,([^\"]+)", page)[0]
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(content)))).astype(float)
    assert kind == "jpeg"
    assert len(base64.b64decode(content)) < 0.8 * (tmp_path / "a.png").stat().st_size
    assert np.abs(shown - rough).mean() < 4


def test_images_of_16_bits_share_one_white(tmp_path: Path) -> None:
    for name, level in (("dark.png", 1000), ("bright.png", 4000)):
        Image.fromarray(np.full((8, 8), level, np.uint16)).save(tmp_path / name)
    row = PictureRow("c", [tmp_path / "dark.png", tmp_path / "bright.png"])
    page = as_html("t", [Section("s", pictures=[Pictures("p", [row])])], [], white=4095)
    files = [io.BytesIO(base64.b64decode(content)) for content in re.findall(r"base64,([^\"]+)", page)]
    assert [int(np.asarray(Image.open(file)).mean()) for file in files] == [62, 249]


def test_bars_are_as_high_as_their_values() -> None:
    heights = [height for _, height in filled(plots.bars(["a", "b"], {"s": [1.0, 3.0]}))]
    assert heights[1] == pytest.approx(3 * heights[0], rel=1e-2)
