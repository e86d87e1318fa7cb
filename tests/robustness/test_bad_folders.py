"""Names of every kind, links, folders that cannot be read, files that go away: used, or refused in one line."""

from __future__ import annotations

import json
import os
import subprocess
import unicodedata
from pathlib import Path

import pytest
from command_line import Run
from fake_model import FakeModel, contents, data, defective, info, lines, save, surface
from hypothesis import given, settings
from hypothesis import strategies as st
from small_networks import small_config

from defectaug.bundle import TrainedOn, read_config, write_config
from defectaug.cli.failures import printable
from defectaug.data import header_cache as cache
from defectaug.data.index import index_folder
from defectaug.data.survey import survey
from defectaug.errors import ConfigError, DataError, OutputError
from defectaug.io.manifest import encode, read_lines
from defectaug.synthesis.api import synthesize

NAMES = {
    "composed": unicodedata.normalize("NFC", "Löcher é"),
    "decomposed": unicodedata.normalize("NFD", "Löcher é"),
    "spaces": " a b ",
    "newline": "a\nb",
    "line separator": "a\u2028b\x85c",
    "dash": "-rf",
    "long": "x" * 255,
    "long in bytes": "ü" * 127,
    "reserved": "CON",
    "reserved file": "aux.png",
    "dot at the end": "spot.",
    "colon": "a:b",
    "not Unicode": os.fsdecode(b"f\xff\xfe"),
    "right to left": "\u202eabc",
    "home": "~",
    "pattern": "*?[a]",
    "quotes": "a\"b'c",
    "format": "%s{x}",
    "escape": "\x1b[31mred",
    "null": "null",
    "number": "01",
}


@pytest.mark.parametrize("kind", NAMES)
def test_names_go_through(tmp_path: Path, kind: str) -> None:
    """As product, defect and file, through an interrupted run to a data set that is read again."""
    name, root, out = NAMES[kind], tmp_path / "data", tmp_path / "out"
    for number in range(3):
        save(root / name / "normal" / f"{name[:80]}{number}.png", surface(number))
        save(root / name / name / f"{name[:80]}{number}.png", defective(number))
    index = index_folder(root)
    survey(index)
    model = FakeModel(info(root, products=index.products, defects=index.defects))

    def stop(done: int, total: int) -> None:
        if done == 7:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        synthesize(model=model, n=5, out=out, masks=True, progress=stop, batch_size=1)
    summary = synthesize(model=model, n=5, out=out, masks=True)
    assert summary.complete and summary.kept >= 7
    files = [line["file"] for line in lines_of(out)]
    assert len(files) == len(set(files)) == 8
    assert all((out / file).is_file() for file in files)
    assert len(index_folder(out)) == 8


def lines_of(out: Path) -> list[dict]:
    """The manifest as any reader of JSON lines would read it."""
    return [json.loads(line) for line in (out / "manifest.jsonl").read_bytes().split(b"\n") if line]


@pytest.mark.parametrize("kind", NAMES)
def test_names_survive_the_bundle(tmp_path: Path, kind: str) -> None:
    name = unicodedata.normalize("NFC", NAMES[kind])
    there = TrainedOn((name,), ("normal", f"d{name}"), {f"{name}/normal": 1}, "native", root=f"../{name}")
    write_config(tmp_path, small_config(), there)
    assert read_config(tmp_path)[1] == there


@given(st.lists(st.text(st.characters(blacklist_characters="\0"), min_size=1), min_size=1, max_size=4))
@settings(deadline=None, max_examples=100, derandomize=True)
def test_any_name_survives_the_manifest(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> None:
    path = tmp_path_factory.mktemp("m") / "manifest.jsonl"
    written = [{"file": name, "index": number} for number, name in enumerate(names)]
    path.write_text("".join(map(encode, written)) + '{"file": "cut sh', encoding="utf-8")
    assert read_lines(path) == written


def test_the_order_of_files_does_not_depend_on_how_accents_are_written(tmp_path: Path) -> None:
    orders = []
    for form in ("NFC", "NFD"):
        root = tmp_path / form
        for name in ("ä", "z", "a", "é"):
            save(root / "A" / "normal" / f"{unicodedata.normalize(form, name)}.png", surface(1))
        save(root / "A" / "scratch" / "x.png", defective(1))
        orders.append([unicodedata.normalize("NFC", sample.path.name) for sample in index_folder(root).samples])
    assert orders[0] == orders[1]


def test_terminals_are_safe_from_names() -> None:
    assert printable("a\x1b[31m\u202eb\n\udcffé") == "a\\x1b[31m\\u202eb\\n\\udcff\xe9"


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "x" * 300],
        ["train", "x/" * 3000],
        ["train", "~nobody-of-this-name/x"],
        ["train", ""],
        ["train", "loop"],
        ["train", "file"],
        ["train", "data", "--map", "x" * 300],
        ["train", "data", "--map", "."],
        ["train", "data", "--config", "x" * 300],
        ["train", "data", "--config", "."],
        ["train", "data", "--map", "loop"],
        ["transfer", "x" * 300, "y"],
        ["transfer", "loop", "loop"],
        ["transfer", "data", "data", "--out", "data/new"],
        ["synthesize", "--model", "x" * 300],
        ["synthesize", "--model", "loop"],
    ],
)
def test_paths_that_cannot_be_used(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list) -> None:
    monkeypatch.chdir(tmp_path)
    data(tmp_path / "data")
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    code, _, err = run(*arguments)
    assert code == 2
    assert err.splitlines()[-1].startswith("error: ") and "Traceback" not in err


def test_deep_folders(tmp_path: Path) -> None:
    root = data(tmp_path / "data")
    before = os.open(".", os.O_RDONLY)
    try:
        os.chdir(root / "A" / "normal")
        for _ in range(1200):  # deeper than Python may call itself
            os.mkdir("d")
            os.chdir("d")
    finally:
        os.fchdir(before)
        os.close(before)
    try:
        assert len(index_folder(root)) == 15
    finally:
        subprocess.run(["rm", "-rf", root], check=True)  # Python itself would call itself too often


def test_links_in_circles(tmp_path: Path) -> None:
    root = data(tmp_path / "data")
    (root / "A/normal/loop").symlink_to(root / "A")
    (root / "A/up").symlink_to("..")
    (root / "B/self").symlink_to("self")
    assert len(index_folder(root)) == 15


def test_the_source_is_only_read(tmp_path: Path, run: Run) -> None:
    """Neither by a run that ends well nor by those that are refused."""
    root = data(tmp_path / "data")
    before = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in [root, *root.rglob("*")]}
    model = FakeModel(info(root))
    synthesize(model=model, n=6, out=tmp_path / "out", masks=True)
    for out in (root / "models", root):
        small = ("--preset", "paper", "--image-size", 32, "--config", one(tmp_path))
        code, _, err = run("train", root, "--out", out, *small)
        assert code == 2 and "lies in the data folder" in err
    with pytest.raises(OutputError, match="overlaps"):
        synthesize(model=model, defect="scratch", n=1, out=root / "A/scratch/new", reference=root / "A/scratch")
    assert {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in [root, *root.rglob("*")]} == before


def one(folder: Path) -> Path:
    path = folder / "one.yaml"
    path.write_text("data: {min_images: 1}\n")
    return path


def test_masks_never_land_among_the_sources(tmp_path: Path) -> None:
    root = data(tmp_path / "x.masks")
    with pytest.raises(OutputError, match="overlaps"):
        synthesize(model=FakeModel(info(root)), product="A", n=1, out=tmp_path / "x", masks=True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_folders(tmp_path: Path) -> None:
    root = data(tmp_path / "data")
    (root / "A/normal").chmod(0)
    try:
        with pytest.raises(DataError, match="cannot be listed"):
            index_folder(root)
    finally:
        (root / "A/normal").chmod(0o755)


def test_files_that_go_away_while_they_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = data(tmp_path / "data", {"A/normal": 4, "A/scratch": 4})
    index = index_folder(root)
    real = cache.probe
    monkeypatch.setattr(cache, "probe", lambda path: (real(path), path.name == "001.png" and path.unlink())[0])
    found = survey(index)
    assert [path.name for path, _ in found.unreadable] == ["001.png", "001.png"]


# What an output folder or a map could make us touch elsewhere


@pytest.mark.parametrize("file", ["../victim.png", "/victim.png", "A/../../victim.png", "link/victim.png", "a\0b", ""])
def test_a_manifest_leads_nowhere_else(tmp_path: Path, file: str) -> None:
    root = data(tmp_path / "data")
    victim = save(tmp_path / "victim.png", surface(0))
    out = tmp_path / "out"
    out.mkdir()
    (out / "link").symlink_to(tmp_path)
    file = str(victim) if file.startswith("/") else file
    (out / "manifest.jsonl").write_text(json.dumps({"file": file, "index": 0}) + "\n")
    synthesize(model=FakeModel(info(root)), product="A", defect="spot", n=1, out=out, overwrite=True)
    assert victim.exists()
    assert len(lines(out)) == 1


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    root = data(tmp_path / "data")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out/A").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutputError, match="a link that leads out of"):
        synthesize(model=FakeModel(info(root)), product="A", defect="spot", n=1, out=tmp_path / "out", overwrite=True)
    assert not list((tmp_path / "elsewhere").iterdir())


@pytest.mark.parametrize("record", ["[]", "5", '{"files": 5, "settings": 7}', "[" * 5000, "{", '{"files": [1, null]}'])
def test_a_record_that_is_not_ours(tmp_path: Path, record: str) -> None:
    root = data(tmp_path / "data")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/.defectaug-run.json").write_text(record)
    model = FakeModel(info(root))
    with pytest.raises(OutputError, match="--overwrite"):
        synthesize(model=model, product="A", defect="spot", n=1, out=tmp_path / "out")
    assert synthesize(model=model, product="A", defect="spot", n=1, out=tmp_path / "out", overwrite=True).complete


@pytest.mark.parametrize("name", ["..", "../x", "/etc", "a/b", "a\\b", ".hidden", "", " ", "a\nb", "CON", "nul.txt"])
def test_maps_name_plain_folders(tmp_path: Path, name: str) -> None:
    root = data(tmp_path / "data")
    path = tmp_path / "map.yaml"
    path.write_text(json.dumps({"defects": {"scratch": name}}))
    with pytest.raises(ConfigError, match=r"map\.yaml: 'defects' maps to"):
        index_folder(root, class_map=path)


def test_a_backslash_is_refused_before_the_training(tmp_path: Path) -> None:
    """The bundle could not be loaded again."""
    root = data(tmp_path / "data", {"A/normal": 2, "A/a\\b": 2})
    with pytest.raises(DataError, match="holds a backslash; rename it, or map it"):
        index_folder(root)
    path = tmp_path / "map.yaml"
    path.write_text("defects: {'a\\b': b}\n")
    assert index_folder(root, class_map=path).defects == ("normal", "b")


def test_numbers_of_images_that_no_memory_holds(tmp_path: Path) -> None:
    root = data(tmp_path / "data")
    with pytest.raises(ConfigError, match="more than one run can plan"):
        synthesize(model=FakeModel(info(root)), product="A", defect="spot", n=10**12, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_folder_of_a_million_files(tmp_path: Path) -> None:
    root = data(tmp_path / "data")
    first = root / "A/normal/000.png"
    for number in range(1_000_000):
        if number % 60_000 == 0:  # file systems bound the links to one file
            first = Path(save(root / f"A/normal/{number:07d}.png", surface(number)))
        else:
            os.link(first, root / f"A/normal/{number:07d}.png")
    index = index_folder(root)
    assert len(index) == 1_000_000 + 15
    assert contents(root / "B")  # still a data folder like any other
