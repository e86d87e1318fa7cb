"""Sections as text, JSON and HTML."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from defectaug.evaluation import plots
from defectaug.evaluation.report import as_html
from defectaug.evaluation.sections import (
    Figure,
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
from defectaug.evaluation.terminal import as_text

NASTY = '<b>&"[red]'


def section(tmp_path: Path) -> Section:
    svg = plots.bars(["A", NASTY], {"one": [1.0, None], NASTY: [2.0, 3.0]}, errors={"one": [0.5, None]}, y_label=NASTY)
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
    assert show(Spread(1.924, 0.11)) == "1.92 ± 0.110"
    assert show(Interval(1.0, 0.5, 2.25)) == "1 [0.500, 2.25]"
    assert show(np.float32(0.5)) == "0.500"


def test_text_is_not_taken_for_markup(tmp_path: Path) -> None:
    text = as_text([section(tmp_path)])
    assert text.count(NASTY) >= 5
    assert "! beware" in text


def test_html_is_one_escaped_file(tmp_path: Path) -> None:
    page = as_html(NASTY, [section(tmp_path)], [(NASTY, NASTY)])
    assert "<b>" not in page
    assert "&lt;b&gt;&amp;" in page
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    assert page.count("data:image/png") == 1  # the file that is gone is named instead
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
    "svg",
    [
        plots.bars([], {}),
        plots.bars(["a"], {"s": [0.0]}),
        plots.bars(["a", "b"], {"s": [-1.0, 2.0]}, errors={"s": [0.5, 0.5]}),
        plots.line([0.5, 1, 2], {"s": [3.0, 2.0, 4.0], "t": [1.0] * 3}, bands={"s": [(2, 4), (1, 3), (3, 5)]}),
        plots.line([1], {"s": [0.0]}),
        plots.histogram({"a": [0.1, 0.2, float("inf")], "b": []}, x_label="<x>"),
        plots.histogram({"a": [1.0, 1.0]}),
        plots.histogram({}),
    ],
)
def test_plots_are_well_formed_and_finite(svg: str) -> None:
    ElementTree.fromstring(svg)
    assert "nan" not in svg
    assert "inf" not in svg


def test_bars_are_as_high_as_their_values() -> None:
    tree = ElementTree.fromstring(plots.bars(["a", "b"], {"s": [1.0, 3.0]}))
    heights = [float(bar.attrib["height"]) for bar in tree.iter("{http://www.w3.org/2000/svg}rect")]
    assert heights[1] == pytest.approx(3 * heights[0], rel=1e-2)
