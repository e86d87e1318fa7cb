"""What users type: exit codes, one-line errors, what is printed where, and a `--help` that is quick."""

from __future__ import annotations

import inspect
import itertools
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import tomllib
from command_line import Run
from fake_model import FakeModel, data, defective, info, save, surface

import defectaug
from defectaug.cli import evaluate, synthesize, train, transfer
from defectaug.cli.progress import Progress, Stages, duration
from defectaug.errors import DataError

HEAVY = ("torch", "torchvision", "numpy", "PIL", "scipy", "pydantic")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder, and a stand-in model that was trained on it."""
    folder = data(tmp_path / "data")
    for module in ("api", "transfer"):
        monkeypatch.setattr(
            f"defectaug.synthesis.{module}.as_model", lambda model, device: FakeModel(info(folder))
        )
    return folder


def one_error(err: str) -> str:
    """The single line of an error, after nothing but lines of other kinds."""
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, err
    assert err.rstrip().endswith(errors[0])
    assert "Traceback" not in err
    return errors[0]


@pytest.mark.parametrize("command", [[], ["train"], ["synthesize"], ["transfer"], ["evaluate"]])
def test_help_imports_nothing_heavy(command: list[str]) -> None:
    code = (
        "import sys\n"
        "from defectaug.cli.main import main\n"
        "try:\n"
        f"    main({[*command, '--help']!r})\n"
        "except SystemExit as left:\n"
        f"    print('HEAVY', [name for name in {HEAVY!r} if name in sys.modules], left.code)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Usage: defectaug" in done.stdout
    assert "HEAVY [] 0" in done.stdout


def test_import_of_the_package_is_light() -> None:
    code = f"import sys, defectaug; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_module_and_exit_code_in_a_process(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "defectaug"]
    both = ["--steps", "1", "--minutes", "1"]  # said before torch is imported
    done = subprocess.run([*command, "train", str(tmp_path / "no"), *both], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stdout == ""
    one_error(done.stderr)


def test_version(run: Run) -> None:
    pyproject = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    assert run("--version") == (0, f"defectaug {pyproject['project']['version']}\n", "")
    assert defectaug.__version__ == pyproject["project"]["version"]


def test_public_names() -> None:
    assert set(defectaug.__all__) <= set(dir(defectaug))
    assert defectaug.synthesize.__name__ == "synthesize"
    with pytest.raises(AttributeError):
        defectaug.nothing  # noqa: B018


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["synthesize", "--foo"], "--foo"),
        (["synthesize", "--n", "x"], "--n"),
        (["synthesize", "--n", "0"], "--n"),
        (["synthesize", "--shard", "5/2"], "--shard"),
        (["transfer", "a"], "REF"),
        (["paint"], "paint"),
        (["train", "x", "--steps", "5", "--minutes", "1"], "--minutes"),
        (["evaluate", "x", "--only", "beauty"], "--only"),
        (["transfer", "no.png", "nor.png"], "no.png"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(run: Run, arguments: list[str], said: str) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert said in one_error(err)
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("command", [train, synthesize, transfer, evaluate])
def test_help_shows_examples_and_no_value_for_flags(command: ModuleType, run: Run) -> None:
    name = command.__name__.rpartition(".")[2]
    code, text, _ = run(name, "--help")
    assert code == 0
    assert "bool" not in text and "<str>" not in text
    options = set(inspect.signature(getattr(command, name)).parameters)
    for line in command.EXAMPLES:
        assert " ".join(line.split()) in " ".join(text.split())
        words = shlex.split(line)
        assert words[:2] == ["defectaug", name]
        given = {word[2:].replace("-", "_") for word in words if word.startswith("--")}
        assert given - {"map"} <= options


def test_the_first_help_shows_an_example_of_each_command_and_how_the_shell_completes(run: Run) -> None:
    _, text, _ = run("--help")
    words = " ".join(text.split())
    assert all(command.EXAMPLES[0] in words for command in (train, synthesize, transfer, evaluate))
    assert "--install-completion" in words


def test_every_recipe_is_named_in_the_help_of_training(run: Run) -> None:
    text = " ".join(run("train", "--help")[1].replace("│", " ").split())
    recipes = {path.stem for path in (Path(train.__file__).parents[1] / "config/recipes").glob("*.yaml")}
    left_out = {"ablation_b", "ablation_c", "ablation_d"}  # named by their range
    assert all(name in text for name in recipes - left_out)


def test_the_shell_completes_options() -> None:
    asked = {"COMP_WORDS": "defectaug synthesize --exp", "COMP_CWORD": "2", "_DEFECTAUG_COMPLETE": "complete_bash"}
    command = [sys.executable, "-c", "from defectaug.cli.main import main; main()"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | asked)
    assert done.stdout.split() == ["--export"]


def test_no_command_shows_the_help(run: Run) -> None:
    code, _, _ = run()
    assert code == 2


def raising(error: BaseException) -> Callable[..., None]:
    def function(*arguments: object, **options: object) -> None:
        raise error

    return function


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (DataError("a.png: cannot be read\nat all"), 2, "error: a.png: cannot be read at all"),
        (PermissionError(13, "Permission denied", "x/y"), 2, "error: Permission denied: x/y"),
        (OSError(28, "No space left on device", "x"), 2, "No space left"),
        (KeyboardInterrupt(), 130, "error: interrupted"),
        (ZeroDivisionError("oops"), 1, "defect of defectaug"),
        (FileNotFoundError(2, "No such file", "x"), 1, "defect of defectaug"),
    ],
)
def test_exit_codes(
    run: Run, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, said: str
) -> None:
    monkeypatch.setattr("defectaug.reporting.api.evaluate", raising(error))
    got, out, err = run("evaluate", "x")
    assert (got, out) == (code, "")
    assert said in one_error(err)


def test_an_interrupt_in_a_destructor_is_not_lost(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    class Deaf:
        def __del__(self) -> None:
            raise KeyboardInterrupt

    def busy(*arguments: object, **options: object) -> None:
        Deaf()
        for _ in range(1000):
            time.sleep(0.01)

    monkeypatch.setattr("defectaug.reporting.api.evaluate", busy)
    before = sys.unraisablehook
    code, _, err = run("evaluate", "x")
    assert (code, err) == (130, "error: interrupted\n")
    assert sys.unraisablehook is before


@pytest.mark.parametrize("arguments", [["--debug", "evaluate", "x"], ["evaluate", "x", "--debug"]])
def test_debug_shows_the_traceback(run: Run, arguments: list[str]) -> None:
    code, _, err = run(*arguments)
    assert code == 2
    assert "Traceback" in err
    assert err.splitlines()[-1].startswith("error: ")


def test_train_passes_on_what_was_given(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: dict[str, object] = {}

    class Module:
        @staticmethod
        def train(data: Path, **options: object) -> Path:
            seen.update(options, data=data)
            return tmp_path / "model"

    monkeypatch.setitem(sys.modules, "defectaug.training.api", Module)  # type: ignore[misc]
    code, out, _ = run("train", "d", "--image-size", 64, "--minutes", "0.5", "--map", "m.yaml", "--dry-run")
    assert (code, out) == (0, f"{tmp_path / 'model'}\n")
    assert callable(seen.pop("log"))
    assert callable(seen.pop("stages"))
    assert seen == {
        "data": Path("d"),
        "resume": False,
        "dry_run": True,
        "strict": False,
        "image_size": 64,
        "minutes": 0.5,
        "class_map": Path("m.yaml"),
    }


def test_synthesize(run: Run, root: Path, tmp_path: Path) -> None:
    out_folder = tmp_path / "out"
    arguments = ["synthesize", "--product", "A", "--defect", "spot", "--n", 3, "--masks", "--out", out_folder]
    code, out, err = run(*arguments)
    assert (code, out) == (0, f"{out_folder}\n")
    assert "native layout: 2 products, 2 defects, 15 images" in err
    assert "3 synthetic images" in err
    assert len(list(out_folder.rglob("*.png"))) == len(list((tmp_path / "out.masks").rglob("*.png"))) == 3
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert "not empty" in one_error(err)


def test_synthesize_balances_by_itself(
    run: Run, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, _ = run("synthesize", "--seed", 2)
    assert (code, out) == (0, "out/fake-balanced-seed2\n")
    assert len(list((tmp_path / "out/fake-balanced-seed2").rglob("*.png"))) == 5 * 5 + 4


def test_synthesize_names_the_known_defects(run: Run, root: Path, tmp_path: Path) -> None:
    code, _, err = run("synthesize", "--defect", "dent", "--out", tmp_path / "out")
    assert code == 2
    assert "scratch, spot" in one_error(err)
    assert not (tmp_path / "out").exists()


def test_transfer(run: Run, root: Path, tmp_path: Path) -> None:
    source = save(tmp_path / "s.png", surface(1))
    reference = save(tmp_path / "spot" / "r.png", defective(2))
    mask = tmp_path / "m.png"
    code, out, _ = run(
        "transfer", source, reference, "--out", tmp_path / "o.png", "--mask", mask, "--n-styles", 2
    )
    assert code == 0
    assert [Path(line).name for line in out.splitlines()] == ["o_style00.png", "o_style01.png"]
    assert (tmp_path / "m_style01.png").exists()


def test_evaluate(run: Run, root: Path, tmp_path: Path) -> None:
    run("synthesize", "--product", "A", "--n", 2, "--out", tmp_path / "out")
    code, out, err = run("evaluate", root, tmp_path / "out", "--only", "counts", "--json", tmp_path / "r.json")
    assert code == 0
    assert "A/spot" in out
    assert "reading 15 real images" in err
    assert (tmp_path / "r.json").exists()


def test_progress_in_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("work", every=0.0) as progress:
        progress(10, 30)
        progress(20, 30)
        progress(30, 30)
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.split(",")[0] for line in err.splitlines()] == ["work: 10/30", "work: 20/30", "work: 30/30"]
    with Progress("work") as progress:
        progress(0, 30)
        progress(1, 30)
    assert capsys.readouterr().err == "work: 0/30\n"  # the next one is not due yet


def test_the_time_left_is_not_told_from_the_first_step(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which reads images, compiles and warms up: here it takes a minute, the others a second."""
    now = iter([0.0, 60.0, 61.0, 62.0, 162.0])
    monkeypatch.setattr("defectaug.cli.progress.time.monotonic", lambda: next(now))
    progress = Progress("work", every=0.0)
    for done in (0, 1, 2, 3, 103):
        progress(done, 203)
    said = [line.partition(", ")[2] for line in capsys.readouterr().err.splitlines()]
    assert said == ["", "", "3 min 21 s left", "3 min 20 s left", "1 min 40 s left"]


def test_the_time_left_is_told_from_the_later_steps(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first ten take a minute each, as those of a study do that look at the images; the others a second."""
    now = iter([60.0 * min(n, 10) + max(0, n - 10) for n in range(29)])
    monkeypatch.setattr("defectaug.cli.progress.time.monotonic", lambda: next(now))
    progress = Progress("work", every=0.0)
    for done in range(29):
        progress(done, 30)
    assert capsys.readouterr().err.splitlines()[-1].endswith("28/30, 2 s left")


def test_short_stages_show_nothing_and_long_ones_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = itertools.count()
    monkeypatch.setattr("defectaug.cli.progress.time.monotonic", lambda: float(next(now)))
    with Stages(patience=3.5, working="step") as stages:
        for name, count in (("short", 2), ("long", 30), ("working", 1)):
            show = stages(name)
            for done in range(count):
                show(done + 1, count)
    said = [line.partition(",")[0] for line in capsys.readouterr().err.splitlines()]
    assert said[0].startswith("long: ")
    assert said[-2:] == ["long: 30/30", "working: 1/1"]
    assert len(said) < 8  # ten seconds between two of them


def test_a_bar_of_minutes_gets_its_new_total(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first step is slow; by its pace few would fit."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with Progress("training", unit="step") as progress:
        progress(1, 6)
        progress(100, 600)
    assert "100/600" in capsys.readouterr().err.split("\r")[-1]


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("options", [["--dry-run"], ["--holdout", "0.3", "--steps", "1"]])
def test_training_tells_how_far_it_has_read(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, terminal: bool, options: list[str]
) -> None:
    """A folder of thousands of photographs is read for minutes before the first step."""
    root, settings = data(tmp_path / "data"), tmp_path / "settings.yaml"
    settings.write_text("data: {min_images: 1}")
    now = itertools.count()
    monkeypatch.setattr("defectaug.cli.progress.time.monotonic", lambda: float(next(now)))
    monkeypatch.setattr("defectaug.training.api.Loop.go", lambda loop: None)
    if terminal:
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    code, _, err = run("train", root, "--preset", "tiny", "--config", settings, "--out", tmp_path / "m", *options)
    assert code == 0, err
    stages = ["reading images"]
    if "--holdout" in options:
        stages += ["looking for near-duplicates", "comparing images"]
    for stage in stages:
        assert re.search(rf"{stage}:.* 15/15 " if terminal else rf"{stage}: 15/15\n", err), err
    if terminal:
        assert "img/s]" in err or "s/img]" in err
        assert err.count("15/15 ") == len(stages)  # lines that come after a bar do not draw it again
    assert ("%|" in err) == terminal


def test_training_on_a_small_folder_adds_no_lines(run: Run, tmp_path: Path) -> None:
    code, _, err = run("train", data(tmp_path / "data"), "--preset", "tiny", "--dry-run")
    assert code == 0
    assert len(err.splitlines()) == 1, err  # the layout


def test_duration() -> None:
    assert [duration(s) for s in (4.4, 185, 7800)] == ["4 s", "3 min 05 s", "2 h 10 min"]
