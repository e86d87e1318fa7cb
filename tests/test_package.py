"""What is installed works: wheel and source distribution are built, installed and used outside of the repository."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

HERE = Path(__file__).parents[1]
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("package")]


def done(*command: object, **options: object) -> str:
    """Standard output of a command that has to succeed."""
    result = subprocess.run([*map(str, command)], capture_output=True, text=True, **options)  # type: ignore[call-overload]
    assert result.returncode == 0, result.stdout[-1000:] + result.stderr[-3000:]
    return result.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a wheel from the tree, and in `again` one from the source distribution."""
    folder = tmp_path_factory.mktemp("built")
    tree = folder / "tree"
    for name in ("defectaug", "pyproject.toml", "README.md", "LICENSE"):
        source = HERE / name
        if source.is_dir():
            shutil.copytree(source, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, tree / name)
    code = "from setuptools import build_meta; import sys; print(build_meta.build_sdist(sys.argv[1]))"
    done(sys.executable, "-c", code, folder, cwd=tree)
    (sdist,) = folder.glob("*.tar.gz")
    wheel = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir")
    done(*wheel, folder, tree)
    done(*wheel, folder / "again", sdist)
    return folder


def test_the_metadata_are_complete(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as content:
        name = next(name for name in content.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = Parser().parsestr(content.read(name).decode())
        assert any(file.endswith("licenses/LICENSE") for file in content.namelist())
    assert metadata["License-Expression"] == "MIT"
    assert metadata["Description-Content-Type"] == "text/markdown"
    classifiers = metadata.get_all("Classifier") or []
    assert {"Typing :: Typed", "Intended Audience :: Manufacturing"} <= set(classifiers)
    assert metadata.get_all("Project-URL")
    assert set(metadata.get_all("Provides-Extra") or []) >= {"dev"}


def test_wheel_and_source_distribution_hold_the_same(built: Path) -> None:
    wheels = [next(folder.glob("*.whl")) for folder in (built, built / "again")]
    listed = [sorted(name for name in zipfile.ZipFile(wheel).namelist() if "dist-info" not in name) for wheel in wheels]
    assert listed[0] == listed[1]
    tree = {
        path.relative_to(HERE).as_posix()
        for path in (HERE / "defectaug").rglob("*")
        if path.suffix in (".py", ".j2", ".yaml", ".typed") or path.name == "py.typed"
    }
    assert tree == set(listed[0])


@pytest.mark.parametrize("which", [".", "again"])
def test_what_is_installed_works(built: Path, which: str, tmp_path: Path) -> None:
    (wheel,) = (built / which).glob("*.whl")
    site = tmp_path / "site"
    done(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", site, wheel)
    environment = {**os.environ, "PYTHONPATH": str(site)}
    program = site / "bin/defectaug"
    where = done(sys.executable, "-c", "import defectaug; print(defectaug.__file__)", cwd=tmp_path, env=environment)
    assert Path(where.strip()).is_relative_to(site)
    assert done(program, "--version", cwd=tmp_path, env=environment).startswith("defectaug ")
    made = done(
        program, "synthesize", "--model", HERE / "models/demo", "--product", "A", "--defect", "spot", "--n", "2",
        "--export", "coco,yolo,mvtec", "--report", "page.html", "--out", "out", cwd=tmp_path, env=environment,
    )  # fmt: skip
    assert made.strip() == "out"
    assert (tmp_path / "page.html").is_file() and len(list((tmp_path / "out/A/spot").iterdir())) == 2
