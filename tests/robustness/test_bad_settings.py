"""Any settings file, class map and flags: used, or refused in one line with exit code 2; never a traceback."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml
from fake_model import FakeModel, data, info
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from defectaug.bundle import read_config
from defectaug.cli.main import main
from defectaug.config.resolve import resolve
from defectaug.config.schema import Config
from defectaug.data.class_map import ClassMap, read_class_map
from defectaug.errors import BundleError, ConfigError, DefectaugError
from defectaug.training.loop import Loop

often = settings(
    deadline=None, max_examples=150, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
seldom = settings(often, max_examples=40)

DEFAULTS = asdict(Config())
KEYS = [*DEFAULTS, *(key for section in DEFAULTS.values() if isinstance(section, dict) for key in section)]
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([0, -1, 1, 2, 3, 31, 32, 33, 10**9, 2**63, 10**30, 10**400]),
    st.floats(),
    st.text(max_size=20),
    st.dates(),
    st.binary(max_size=8),
)
NAMES = st.one_of(st.sampled_from([*KEYS, "normal", "defects", "products", "format", "<<"]), st.text(max_size=10))
TREES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4))
TOKENS = [
    "network",
    "run",
    "data",
    "defects",
    "normal",
    ":",
    ": ",
    "\n",
    "\n  ",
    "- ",
    "[",
    "]",
    "{",
    "}",
    ", ",
    "&a ",
    "*a",
    "<<",
    "'",
    '"',
    "|",
    ">",
    "!!int ",
    "!!float x",
    "!!bool x",
    "!!timestamp x",
    "!!python/object:os.system ",
    "!!binary ",
    "!!merge x",
    "!!set ",
    "!!omap ",
    "!!null x",
    "2001-13-45",
    "0b",
    "0x",
    "1:99",
    ".inf",
    ".nan",
    "1" * 5000,
    "%",
    "@",
    "`",
    "\t",
    "#",
    "---\n",
    "...\n",
    "\ufeff",
    "\x00",
    "\x85",
    "é",
    "~",
    "=",
    "?",
    "? ",
]
TEXTS = st.lists(st.sampled_from(TOKENS), max_size=25).map("".join)
SECTIONS = st.fixed_dictionaries(
    {},
    optional={
        section: st.dictionaries(st.sampled_from(sorted(values)), LEAVES | st.lists(LEAVES, max_size=70), max_size=3)
        for section, values in DEFAULTS.items()
        if isinstance(values, dict)
    },
)


def is_one_line(error: Exception) -> bool:
    return len(str(error)) < 1500


@given(SECTIONS | TREES | TEXTS)
@example({"optimizer": {"rate": 10**400}})
@example("!!bool x" + "1" * 5000)
@example({"run": {"steps": 10**400, "batch_size": 2}})
@example({"network": {"encoder_widths": [8] * 70, "generator_widths": [8] * 70}})
@often
def test_any_settings_file(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "c.yaml"
    write(path, content)
    try:
        assert isinstance(resolve("small", path), Config)
    except ConfigError as error:
        assert is_one_line(error) and str(error)


@given(TREES | TEXTS)
@often
def test_any_class_map(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "m.yaml"
    write(path, content)
    try:
        assert isinstance(read_class_map(path), ClassMap)
    except ConfigError as error:
        assert is_one_line(error)


@given(
    st.dictionaries(st.sampled_from(["format", "defectaug", "data", "settings", "versions"]), TREES),
    st.booleans(),
    TREES,
)
@often
def test_any_config_of_a_bundle(tmp_path: Path, content: dict, valid: bool, other: Any) -> None:
    if valid:  # as good as it gets, but for one entry
        entries = {"products": ["A"], "defects": ["normal", "b"], "counts": {}, "layout": "native", "white": 255}
        key = sorted([*entries, "root", "normal", "class_map"])[len(str(other)) % 8]
        content = {"format": 1, "settings": DEFAULTS, "data": entries | {key: other}}
    write(tmp_path / "config.yaml", content)
    try:
        read_config(tmp_path)
    except BundleError as error:
        assert is_one_line(error)


def write(path: Path, content: Any) -> None:
    text = content if isinstance(content, str) else yaml.safe_dump(content, allow_unicode=True)
    path.write_text(text, encoding="utf-8", errors="replace")


ALIASES = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12)
)
MERGES = "a0: &a0 {k: v}\n" + "".join(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}\n" for n in range(1, 12))
GROWING = [
    ALIASES,
    MERGES,
    "format: *a11\n".join([ALIASES, ""]),
    "[" * 20_000,
    "{a: " * 20_000,
    "a: &a [*a]",
    "- " * 20_000,
]


@pytest.mark.parametrize("number", range(len(GROWING)))
def test_files_that_grow_or_refer_to_themselves(tmp_path: Path, number: int) -> None:
    (tmp_path / "config.yaml").write_text(GROWING[number])
    start = time.process_time()
    for read in (lambda: resolve("small", tmp_path / "config.yaml"), lambda: read_config(tmp_path)):
        with pytest.raises(DefectaugError) as error:
            read()
        assert is_one_line(error.value)
    with pytest.raises(DefectaugError) as error:
        read_class_map(tmp_path / "config.yaml")
    assert is_one_line(error.value)
    assert time.process_time() - start < 20


def test_files_that_are_too_long(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    with path.open("wb") as file:
        file.truncate(1 << 40)  # takes no space
    with pytest.raises(ConfigError, match="longer than 4 MB"):
        resolve("small", path)


# Flags


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Data and a stand-in model; training stops before its first step."""
    root = data(tmp_path / "data", {"A/normal": 3, "A/scratch": 2, "B/normal": 2, "B/spot": 2})
    for module in ("api", "transfer"):
        monkeypatch.setattr(f"defectaug.synthesis.{module}.as_model", lambda model, device: FakeModel(info(root)))
    monkeypatch.setattr(Loop, "go", lambda self: None)
    monkeypatch.setattr("defectaug.training.api.describe_plan", lambda ready, minutes: [])
    monkeypatch.chdir(tmp_path)
    return tmp_path


NUMBERS = st.sampled_from(["0", "1", "-1", "2", "3.5", "nan", "inf", "1e9", "9" * 30, "", "x", "٣"])
WORDS = st.sampled_from(
    [
        "",
        "A",
        "a",
        "scratch",
        "normal",
        "nothing",
        "..",
        ".",
        "/",
        "~",
        "data",
        "data/A",
        "new",
        "data/A/normal/000.png",
        "é",
        "a\nb",
        "\udcff",
        "-",
        "--",
        "1/2",
        "2/1",
        "0/0",
        "1/x",
        "auto",
        "cpu",
        "cuda",
        "cuda:9",
        "mps",
        "cuda:x",
        "layered",
        "paper",
        "ablation_a",
        "bf16",
        "fp32",
        "x" * 300,
        "/dev/null",
        "/proc/self/mem",
        "%s",
        "$HOME",
        "*",
        "C:\\x",
    ]
)
FLAGS = {
    "train": {
        "--preset": WORDS,
        "--image-size": NUMBERS,
        "--steps": NUMBERS,
        "--minutes": NUMBERS,
        "--config": WORDS,
        "--seed": NUMBERS,
        "--device": WORDS,
        "--precision": WORDS,
        "--map": WORDS,
        "--normal": WORDS,
        "--product": WORDS,
        "--resume": None,
        "--dry-run": None,
        "--strict": None,
    },
    "synthesize": {
        "--source": WORDS,
        "--product": WORDS,
        "--defect": WORDS,
        "--n": NUMBERS,
        "--balance": None,
        "--reference": WORDS,
        "--region": WORDS,
        "--strength": WORDS,
        "--size": WORDS,
        "--max-defects": NUMBERS,
        "--keep": WORDS,
        "--masks": None,
        "--overwrite": None,
        "--seed": NUMBERS,
        "--shard": WORDS,
        "--batch-size": NUMBERS,
        "--map": WORDS,
        "--normal": WORDS,
    },
    "transfer": {
        "--defect": WORDS,
        "--mask": WORDS,
        "--n-styles": NUMBERS,
        "--region": WORDS,
        "--strength": WORDS,
        "--size": WORDS,
        "--overwrite": None,
        "--seed": NUMBERS,
    },
}


@st.composite
def command_lines(draw: Callable[..., Any]) -> list[str]:
    command = draw(st.sampled_from(sorted(FLAGS)))
    flags = FLAGS[command]
    arguments = [command]
    for flag in draw(st.lists(st.sampled_from(sorted(flags)), max_size=4, unique=True)):
        values = flags[flag]
        arguments += [flag] if values is None else [flag, draw(values)]
    count = {"train": 1, "synthesize": 0, "transfer": 2}[command]
    arguments += [
        draw(st.sampled_from(["data", "data/A/normal", "data/A/scratch/000.png"]) | WORDS) for _ in range(count)
    ]
    return arguments


@given(command_lines())
@seldom
def test_any_flags(place: Path, capsys: pytest.CaptureFixture[str], number_of_run: list[int], line: list[str]) -> None:
    number_of_run[0] += 1
    if line[0] == "train" and "--image-size" not in line:
        line += ["--image-size", "32"]
    capsys.readouterr()
    with pytest.raises(SystemExit) as left:
        main([*line, "--out", str(place / f"out{number_of_run[0]}")])
    err = capsys.readouterr().err
    assert left.value.code in (0, 2), err
    assert "Traceback" not in err
    if left.value.code == 2:
        assert err.splitlines()[-1].startswith("error: ")


@pytest.fixture
def number_of_run() -> list[int]:
    return [0]


def test_the_command_lines_reach_both_ends(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The stand-ins above let good command lines pass: code 2 is not the answer to everything."""
    lines = (
        ["train", "data", "--image-size", "32", "--out", "m", "--steps", "1"],
        ["synthesize", "--product", "A", "--n", "2", "--out", "o"],
        ["transfer", "data/A/normal/000.png", "data/A/scratch/000.png", "--out", "t.png"],
    )
    for line in lines:
        with pytest.raises(SystemExit) as left, suppress(KeyboardInterrupt):
            main(line)
        assert left.value.code == 0, capsys.readouterr().err
