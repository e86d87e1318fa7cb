"""Names of files to write: one that says another kind of file, a pipe, a home folder that no shell has put in."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from command_line import Run
from data_helpers import save
from fake_model import FakeModel, data, defective, info, surface

import defectaug
from defectaug.errors import BundleError
from defectaug.io.masks import write_mask
from defectaug.synthesis.api import refill

COUNTS = ("--only", "counts")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder, and a stand-in model that was trained on it."""
    folder = data(tmp_path / "data")
    for module in ("api", "transfer"):
        monkeypatch.setattr(f"defectaug.synthesis.{module}.as_model", lambda model, device: FakeModel(info(folder)))
    return folder


def error_of(run: Run, *arguments: object) -> str:
    """The line of a command that is refused."""
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    (line,) = err.splitlines()
    return line


@pytest.mark.parametrize("name", ["page.txt", "page", "page.pdf", "page.html.gz", "numbers.json", "-", ".html"])
def test_a_page_has_the_name_of_a_page(run: Run, root: Path, tmp_path: Path, name: str) -> None:
    before = set(tmp_path.iterdir())
    for command in (["evaluate", root, *COUNTS], ["synthesize", "--n", "1", "--out", tmp_path / "out"]):
        line = error_of(run, *command, "--report", tmp_path / name if name != "-" else name)
        assert f"{name}: a page is written as HTML; give a name that ends in .html" in line
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize("name", ["page.html", "PAGE.HTM"])
def test_a_page_may_be_named_as_browsers_know_it(run: Run, root: Path, tmp_path: Path, name: str) -> None:
    assert run("evaluate", root, *COUNTS, "--report", tmp_path / name)[0] == 0
    assert run("synthesize", "--n", "1", "--out", tmp_path / "out", "--report", tmp_path / f"look-{name}")[0] == 0
    assert (tmp_path / name).is_file() and (tmp_path / f"look-{name}").is_file()


def test_numbers_are_not_named_as_a_page_nor_as_standard_output(
    run: Run, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    page = tmp_path / "page.html"
    assert "written as JSON" in error_of(run, "evaluate", root, *COUNTS, "--json", page)
    assert "name one" in error_of(run, "evaluate", root, *COUNTS, "--json", "-")
    assert not page.exists() and not Path("-").exists()
    assert run("evaluate", root, *COUNTS, "--json", tmp_path / "numbers.txt")[0] == 0  # JSON is text


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names")
def test_a_pipe_is_refused_and_not_read(run: Run, root: Path, tmp_path: Path) -> None:
    for name in ("pipe.json", "pipe.html"):
        os.mkfifo(tmp_path / name)
    pipes = [os.open(tmp_path / name, os.O_RDWR) for name in ("pipe.json", "pipe.html")]
    try:
        for pipe in pipes:
            os.write(pipe, b"x" * 5000)  # else whoever reads waits for ever
        for option, name in (("--json", "pipe.json"), ("--report", "pipe.html")):
            line = error_of(run, "evaluate", root, *COUNTS, option, tmp_path / name)
            assert "is a pipe or a device; name a file" in line
        out = ["--n", "1", "--out", tmp_path / "out"]
        assert "is a pipe or a device" in error_of(run, "synthesize", *out, "--report", tmp_path / "pipe.html")
    finally:
        for pipe in pipes:
            os.close(pipe)


def test_a_folder_whose_page_was_named_otherwise_is_still_refilled(root: Path, tmp_path: Path) -> None:
    """By a version that took any name."""
    order = {"model": FakeModel(info(root)), "product": "A", "n": 2, "out": tmp_path / "out"}
    defectaug.synthesize(**order, report=tmp_path / "page.html")
    memory = tmp_path / "out/defectaug-made.json"
    memory.write_text(memory.read_text().replace("page.html", "page.txt"))
    listed = tmp_path / "rejected.txt"
    listed.write_text(f"{next((tmp_path / 'out/A/spot').iterdir()).relative_to(tmp_path / 'out')}\n")
    refill(listed, tmp_path / "out", model=FakeModel(info(root)))
    assert (tmp_path / "page.txt").is_file()


def test_the_home_folder_is_meant_where_the_shell_has_not_put_it_in(
    run: Run, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shells leave `--out=~/x` alone, and Python knows no shell."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    made = ["synthesize", "--n=1", "--masks", "--source=~/data", "--reference=~/data", "--out=~/out"]
    assert run(*made, "--report=~/look.html")[0] == 0
    measured = ["evaluate", "~/data", "~/out", *COUNTS, "--masks=~/out.masks", "--json=~/n.json", "--report=~/p.html"]
    assert run(*measured)[0] == 0
    assert {"out", "out.masks", "n.json", "p.html", "look.html"} <= {path.name for path in tmp_path.iterdir()}
    assert json.loads((tmp_path / "n.json").read_text())["kind"] == "evaluation"
    save(tmp_path / "s.png", surface(1))
    save(tmp_path / "spot/r.png", defective(2))
    write_mask(tmp_path / "m.png", np.ones((48, 64)))
    code, _, err = run("transfer", "~/s.png", "~/spot/r.png", "--out=~/o.png", "--region=~/m.png")
    assert code == 0, err
    assert (tmp_path / "o.png").is_file() and not (tmp_path / "~").exists()
    assert f"{tmp_path}/m: nothing to resume" in error_of(run, "train", "~/data", "--out=~/m", "--resume")
    assert "lies in the data folder" in error_of(run, "train", "~/data", f"--out={tmp_path}/data/m")
    assert f"{tmp_path}/c.yaml" in error_of(run, "train", "~/data", "--config=~/c.yaml")
    with pytest.raises(BundleError, match=f"{tmp_path}/none: no bundle there"):
        defectaug.load_model("~/none")
